"""In front of a driver that lags, sags and stops: the simulator's driver model below the controller."""

import time
from collections.abc import Iterator
from functools import partial

import numpy as np
from am_msgs.action import MoveCartesian
from builtin_interfaces.msg import Duration
from std_srvs.srv import SetBool
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from am_ros.cell.environment import share_directory
from am_ros.control.robot import robot_model
from am_ros.errors import AmRosError
from am_ros.faults.arm import CommandRecord
from am_ros.faults.bench import Bench, wait_for_end, wait_until
from am_ros.faults.cell import CONTROLLER, NAME, Cell
from am_ros.faults.suite import Result
from am_ros.preflight.cell import read_parameter_file
from am_ros.ros.introspection.client import GoalRun
from am_ros.ros.node.common import RELIABLE_QOS

DONE, STOPPED = MoveCartesian.Result.DONE, MoveCartesian.Result.STOPPED
ALONG = np.array([0.0, 1.0, 0.0])
STEP_M = 0.05
# What a simulator that has too much to do must not be taken for: an arm without motion.
PATIENT = {**CONTROLLER, "no_motion_s": 0.5}
SAG_RAD = (0.0, 0.004, 0.0, 0.004, 0.0, 0.0, 0.0)
STACKS = ("kuka_drivers", "lbr_fri")
# How long after the fault the arm may go on, and how far: a brake of a slow arm, and what came before it was seen.
STILL_S, NAMED_S = 1.0, 0.3
RELEASED_MM = 2.0
MOVING_M_S = 0.05
LIMITS = "the command between two periods within velocity limit and 1.2 times the acceleration limit"
FOREIGN_S = 2


def driver_set(stack: str, **changes) -> dict:
    """The parameters of the simulator that stand for a stack's driver."""
    file = share_directory() / "config" / f"driver_{stack}.yaml"
    return {**read_parameter_file(file)["/**/sim_workcell"], **changes}


def driver_cell(bench: Bench, simulated: dict, scale: float = 0.15, policy: bool = False) -> Cell:
    """The bench's cell behind that driver, as new; with a policy server and its camera only where it is asked for."""
    parts = ("policy", "camera", "controller") if policy else ("controller",)
    name, controlled = f"driver cell of {len(parts)}", {**PATIENT, "velocity_scale": scale}
    cell = bench.kept.get(name)
    if cell is None:
        cell = bench.kept[name] = Cell(bench, relayed=False, parts=parts, simulated=simulated, controlled=controlled)
    cell.simulate(**simulated)
    cell.control(**controlled)
    cell.reset()
    cell.clear_stop()
    cell.wait_for_lease("policy_server" if policy else NAME)
    return cell


def driver_follows(bench: Bench) -> Iterator[Result]:
    """The arm does what was commanded, and the command keeps the limits"""
    count = bench.pick(20, 4)
    for stack in bench.pick(STACKS, STACKS[:1]):
        cell = driver_cell(bench, driver_set(stack), scale=0.3)
        commands = bench.kept.setdefault("commands", CommandRecord(bench.client))
        start, asked, mark, refused = cell.arm.tool_now(), np.zeros(3), 0, ""
        for i in bench.rounds(count, "steps"):
            # A controller that has just come begins where the arm is measured, and the driver's command was elsewhere.
            mark = commands.now() if i == 1 else mark
            way = ALONG * STEP_M * (-1) ** i
            result = cell.send(way).result(30.0)
            refused = refused or ("" if result.end == DONE else result.reason)
            asked = asked + way * (result.end == DONE)
        time.sleep(0.3)
        off_mm = 1e3 * float(np.linalg.norm(cell.arm.tool_now() - start - asked))
        velocity, acceleration = commands.use(mark)
        yield Result(
            f"driver as that of {stack}: {count} steps left and right",
            f"the tool within 3 mm of the sum of its steps, or refused by name (state_offset); from the second step on "
            f"{LIMITS}",
            f"{off_mm:.1f} mm off; {velocity:.0%} of the velocity limit, {acceleration:.0%} of the acceleration limit"
            + (f"; '{refused}'" if refused else ""),
            (off_mm <= 3.0 if not refused else refused.startswith("state_offset"))
            and velocity <= 1.0 and acceleration <= 1.2,
        )  # fmt: skip


def driver_brakes(bench: Bench) -> Iterator[Result]:
    """Cancelled in mid-motion: the command never steps back and keeps the limits"""
    cancels = bench.pick(6, 2)
    for stack in bench.pick(STACKS, STACKS[:1]):
        cell = driver_cell(bench, driver_set(stack), scale=0.3)
        commands = bench.kept.setdefault("commands", CommandRecord(bench.client))
        cell.serves()  # a controller that has just come begins where the arm is measured
        velocity, acceleration, back_mm, said = 0.0, 0.0, 0.0, []
        for _ in bench.rounds(cancels, "cancels"):
            way, mark = cell.inward(), commands.now()
            run = begin_motion(cell, way)
            run.cancel()
            said.append(run.result(30.0).reason)
            time.sleep(0.5)
            used = commands.use(mark)
            velocity, acceleration = max(velocity, used[0]), max(acceleration, used[1])
            back_mm = max(back_mm, commands.back_mm(mark, way / np.linalg.norm(way)))
        yield Result(
            f"driver as that of {stack}: cancelled in mid-motion, {cancels} times",
            f"the command never steps back by more than 0.1 mm; {LIMITS}, brake included",
            f"'{said[-1]}'; back by {back_mm:.2f} mm; {velocity:.0%} of the velocity limit, {acceleration:.0%} of the "
            "acceleration limit",
            set(said) == {"cancelled"} and back_mm <= 0.1 and velocity <= 1.0 and acceleration <= 1.2,
        )


def driver_stops(bench: Bench) -> Iterator[Result]:
    """An arm that does not move: the episode ends by name, and nothing moves at the release"""
    for service, stops, what in (
        ("emergency_stop", True, "emergency stop, the driver goes on"),
        ("controller_active", False, "deactivated trajectory controller"),
    ):
        cell = driver_cell(bench, driver_set("kuka_drivers"), policy=True)
        seen, run = len(cell.status), cell.pursue()
        wait_until_moving(cell)
        _switch(bench, service, stops)
        stopped_s = time.monotonic()
        wait_for_end(run, 30.0, "the end of the episode")
        ended_s, reason = time.monotonic() - stopped_s, run.result().reason
        time.sleep(0.5)
        stands = cell.arm.tool_now()
        _switch(bench, service, not stops)
        time.sleep(1.0)
        moved_mm = 1e3 * float(np.linalg.norm(cell.arm.tool_now() - stands))
        stop = "".join(cell.stops(seen)[:1])
        yield Result(
            f"driver: {what}, in mid-motion; then released",
            f"the episode ends within 5 s, protective stop no_motion; at most {RELEASED_MM:.0f} mm at the release",
            f"'{reason}' after {ended_s:.1f} s; {moved_mm:.1f} mm at the release",
            "no_motion" in reason and stop.startswith("no_motion") and ended_s <= 5.0 and moved_mm <= RELEASED_MM,
        )


def driver_states(bench: Bench) -> Iterator[Result]:
    """Joint states as drivers give them: no false stop, no step that ends short"""
    cases: dict[str, dict] = {
        "velocities not-a-number, 20 urad of noise": {"driver_velocities": "nan", "driver_noise_rad": 2e-5},
        "velocities always zero": {"driver_velocities": "zero"},
        "stamps zero": {"driver_stamps": "zero"},
        "stamps 0.8 s late": {"driver_stamps": "late"},
        "velocities not-a-number, joint states 20 ms late and up to 20 ms more": {
            "driver_velocities": "nan", "driver_delay_s": 0.02, "driver_jitter_s": 0.02,
        },
        "velocities none at all": {"driver_velocities": "empty"},
    }  # fmt: skip
    count = bench.pick(5, 2)
    for what in bench.pick(tuple(cases), tuple(cases)[:3]):
        cell = driver_cell(bench, {"driver": "controller", "driver_lag_s": 0.03, **cases[what]}, scale=0.3)
        start, asked, ends = cell.arm.tool_now(), np.zeros(3), []
        for i in range(count):
            way = ALONG * STEP_M * (-1) ** i
            result = cell.send(way).result(30.0)
            ends.append(result.reason or "done")
            asked = asked + way
        off_mm = 1e3 * float(np.linalg.norm(cell.arm.tool_now() - start - asked))
        yield Result(
            f"driver: {what}, {count} steps", "every step done, the tool within 3 mm of their sum",
            f"{ends.count('done')} done; {off_mm:.1f} mm off" + "".join(f"; '{e}'" for e in ends if e != "done"),
            set(ends) == {"done"} and off_mm <= 3.0,
        )  # fmt: skip


def driver_foreign(bench: Bench) -> Iterator[Result]:
    """Somebody else's goal of the trajectory controller's action: named, at rest and in mid-motion"""
    cell = driver_cell(bench, driver_set("kuka_drivers"))
    goals = bench.client.publisher(JointTrajectory, "sim_workcell/action_trajectory", RELIABLE_QOS)
    for when in ("at rest", "in mid-motion"):
        cell.reset()
        cell.clear_stop()
        q = cell.arm.since(time.monotonic() - 1.0)[1][-1]
        position, yaw = cell.arm.kinematics.pose(q)
        to = cell.arm.kinematics.inverse(position + np.array([0.0, 0.0, 0.08]), yaw, q)
        run, seen = None if when == "at rest" else begin_motion(cell, cell.inward()), len(cell.status)
        point = JointTrajectoryPoint(positions=to.tolist(), time_from_start=Duration(sec=FOREIGN_S))
        goals.publish(JointTrajectory(joint_names=list(robot_model().joint_names), points=[point]))
        began_s = time.monotonic()
        if run is None:
            time.sleep(0.5)
            reason, named_s = cell.send(cell.inward(0.03)).result(30.0).reason, 0.0
        else:
            wait_until(partial(cell.stops, seen), 10.0, "a protective stop")
            named_s, reason = time.monotonic() - began_s, run.result(30.0).reason
        time.sleep(max(0.0, began_s + FOREIGN_S + 1.0 - time.monotonic()))
        cell.clear_stop()
        afterwards = cell.serves()
        yield Result(
            f"driver: a goal of the action by another program, {when}",
            f"foreign_motion{f' within {NAMED_S} s' if run else ''}; a step executed afterwards",
            f"'{reason}'" + (f" after {named_s:.2f} s" if run else "") + f"; afterwards {afterwards or 'executed'}",
            "foreign_motion" in reason and named_s <= NAMED_S and not afterwards,
        )  # fmt: skip
    bench.client.node.destroy_publisher(goals)


def driver_cancels(bench: Bench) -> Iterator[Result]:
    """Cancelled at any moment: a result each time, and the next step goes through"""
    cell = driver_cell(bench, driver_set("kuka_drivers"), scale=0.3)
    count, refused, lost = bench.pick(120, 12), [], 0
    for i in bench.rounds(count, "cancels"):
        try:
            run = cell.send(ALONG * 0.01 * (-1) ** i)
            time.sleep(bench.random.uniform(0.0, 0.35))
            run.cancel(3.0)
            result = run.result(5.0)
            taken = result.end in (DONE, STOPPED) or result.reason == "cancelled"  # before it moved
            refused += [] if taken else [result.reason]
        except AmRosError as error:
            lost += "no answer" in str(error)
            refused.append(str(error))
    afterwards = cell.serves()
    yield Result(
        f"driver: {count} steps cancelled at random moments, the next one sent with the result of the last",
        "a result for each, none refused, a step executed afterwards",
        f"{count - lost} results, {len(refused)} refused" + "".join(f"; '{why}'" for why in refused[:1])
        + f"; afterwards {afterwards or 'executed'}",
        not refused and not afterwards,
    )  # fmt: skip


def wait_until_moving(cell: Cell, over=lambda: False) -> None:
    """Until the arm moves, or `over()`."""
    wait_until(lambda: over() or cell.arm.speed() > MOVING_M_S, 30.0, "motion")


def begin_motion(cell: Cell, way) -> GoalRun:
    """A step that moves the arm by now; raises AmRosError with its reason if it does not."""
    run = cell.send(way)
    wait_until_moving(cell, lambda: run.done)
    if run.done:
        raise AmRosError(f"the step has ended: {run.result().reason or 'done'}")
    return run


def _switch(bench: Bench, service: str, on: bool) -> None:
    answer = bench.client.call(SetBool, f"sim_workcell/{service}", 20.0, data=on)
    if not answer.success:
        raise AmRosError(f"sim_workcell/{service}: {answer.message}")

"""Whose wish moves the arm, by which clock, in whose domain: what stops it when there is none left."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import cv2
import numpy as np
from am_msgs.action import MoveCartesian
from am_msgs.msg import CartesianAction, EpisodeEvent, Step
from geometry_msgs.msg import Vector3
from rosgraph_msgs.msg import Clock

from am_ros import topics
from am_ros.errors import AmRosError
from am_ros.faults.bench import Bench, wait_until
from am_ros.faults.cell import CONTROLLER, NAME, Cell
from am_ros.faults.driver import begin_motion, driver_cell, driver_set, wait_until_moving
from am_ros.faults.suite import Result
from am_ros.ros.node.clocks import steady_timer
from am_ros.ros.node.common import RELIABLE_QOS, from_ns

# How a motion is ended, how that is named, and within what time its result is there: the timeout of
# docs/reliability.md, and a second in which the arm brakes, stands, and the result comes.
ENDS = (
    ("cancel", "cancelled", 1.0),
    ("silent", "protective_stop: joint_states_stale", CONTROLLER["joint_state_timeout_s"] + 1.0),
    ("heartbeat", "commander_gone", 1.5),
)
ENDED_S = 2.0
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGKILL: -9}


def driver_clock(bench: Bench) -> Iterator[Result]:
    """A /clock that stands or never was: what stops the arm goes on, the next step is refused by name"""
    runs = [True]
    clock = bench.client.node.create_publisher(Clock, topics.CLOCK, RELIABLE_QOS)

    def tick() -> None:
        if runs[0]:
            clock.publish(Clock(clock=from_ns(time.time_ns())))

    ticks = steady_timer(bench.client.node, 0.01, tick)
    runs[0] = False
    cell = Cell(
        bench, parts=("controller",), simulated=driver_set("kuka_drivers"), relayed=False,
        controlled={**CONTROLLER, "use_sim_time": True},
    )  # fmt: skip
    reason = cell.send(cell.inward(0.03)).result(30.0).reason
    yield Result(
        "driver: use_sim_time, no /clock at all", "every step refused: clock_missing", f"'{reason}'",
        reason.startswith("clock_missing"),
    )  # fmt: skip
    for what, name, within in ENDS:
        runs[0] = True
        time.sleep(0.2)
        if refused := cell.serves():
            raise AmRosError(f"no step while the clock runs: {refused}")
        run = begin_motion(cell, cell.inward())
        runs[0] = False
        time.sleep(0.1)
        began_s = time.monotonic()
        if what == "cancel":
            run.cancel()
        elif what == "silent":
            cell.simulator.signal(signal.SIGSTOP)
        else:
            cell.silence()
        reason = run.result(30.0).reason
        ended_s = time.monotonic() - began_s
        if what == "silent":  # the arm is the simulator's: it stands with it
            cell.simulator.signal(signal.SIGCONT)
        elif what == "heartbeat":
            cell.silence(False)
        time.sleep(1.2)
        refused = cell.send(cell.inward(0.03)).result(30.0).reason
        runs[0] = True
        time.sleep(0.1)
        cell.clear_stop()
        yield Result(
            f"driver: /clock stops in mid-motion, then: {what}",
            f"{name}; ended within {within:g} s; the next step refused",
            f"'{reason}' after {ended_s:.2f} s; then '{refused}'",
            reason.startswith(name) and ended_s <= within
            and refused.startswith(("clock_stopped", "protective_stop")),
        )  # fmt: skip
    bench.client.node.destroy_timer(ticks)
    bench.client.node.destroy_publisher(clock)


def _wait_for_steps(run: subprocess.Popen, steps: list) -> None:
    wait_until(lambda: len(steps) >= 2 or run.poll() is not None, 60.0, "steps of am-ros reach")


def driver_clients(bench: Bench) -> Iterator[Result]:
    """`am-ros reach` that is told to end, or killed: at most the step under way, the episode ends and says why"""
    cell = driver_cell(bench, driver_set("kuka_drivers"), policy=True)
    steps = bench.client.receive(Step, topics.STEP, RELIABLE_QOS)
    events = bench.client.receive(EpisodeEvent, topics.EPISODE_EVENT, RELIABLE_QOS)
    picture = bench.folder / "goal.png"
    cv2.imwrite(str(picture), bench.random.integers(0, 255, (64, 64, 3), dtype=np.uint8))
    command = [sys.executable, "-m", "am_ros.cli", "reach", str(picture), "--max-steps", "200"]
    for number in bench.pick((*CODES,), (signal.SIGHUP, signal.SIGKILL)):
        cell.wait_for_lease("policy_server")
        cell.reset(1, "reach")  # or the arm is soon where its policy wants it, and stands
        steps.clear()
        events.clear()
        run = subprocess.Popen(command, env=bench.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        _wait_for_steps(run, steps)
        wait_until_moving(cell)
        run.send_signal(number)
        told_s, seen = time.monotonic(), len(steps)
        wait_until(lambda: any(e.type == EpisodeEvent.END for e in events), 20.0, "END")
        ended_s, reason = time.monotonic() - told_s, events[-1].reason
        said, _ = run.communicate(timeout=20)
        begun = len(steps) - seen
        yield Result(
            f"driver: {number.name} to am-ros reach in mid-motion",
            f"no step is begun afterwards, the episode ends within {ENDED_S:g} s as cancelled or client_gone, exit "
            f"code {CODES[number]}",
            f"{begun} begun; '{reason}' after {ended_s:.1f} s; exit code {run.returncode}",
            begun == 0 and ended_s <= ENDED_S and reason.startswith(("cancelled", "client_gone"))
            and run.returncode == CODES[number] and "Traceback" not in said,
        )  # fmt: skip


def driver_second_cell(bench: Bench) -> Iterator[Result]:
    """A second cell in the domain of the first: refused by name, and the first goes on"""
    words = ["record", "stack:=sim", f"goals:={bench.folder}/goals", f"bags:={bench.folder}/bags"]

    def up(name: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "am_ros.cli", "up", "--log-dir", str(bench.folder / name), *words]
        return subprocess.Popen(command, env=bench.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    first = up("first")
    try:
        assert first.stdout  # a pipe, as asked for
        said: list[str] = []
        while not (said and said[-1].startswith("up: ")):
            said.append(first.stdout.readline())
            if not said[-1]:
                raise RuntimeError(f"the first cell did not come up: {''.join(said[-3:])}")
        second = up("second")
        answer, _ = second.communicate(timeout=60)
        action = CartesianAction(translation=Vector3(z=0.03))
        name = "cartesian_controller/move_cartesian"
        step = bench.client.send_goal(MoveCartesian, name, 20.0, action=action, commander=NAME).result(30.0)
        touched = (bench.folder / "second").exists()
        yield Result(
            "driver: a second cell is started in the same domain",
            "node_twice, exit code 2, nothing started; the first goes on and takes a step",
            f"'{answer.strip().splitlines()[-1]}', exit code {second.returncode}; the first "
            f"{'runs' if first.poll() is None else 'has died'}, its step {step.reason or 'done'}",
            second.returncode == 2 and "node_twice" in answer and not touched and first.poll() is None
            and step.end == MoveCartesian.Result.DONE,
        )  # fmt: skip
    finally:
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=30)

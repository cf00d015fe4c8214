"""Processes that die, sleep or quarrel while the arm moves, and a network or a clock that cannot be trusted."""

import signal
import time
from collections.abc import Iterator

from am_msgs.msg import ControllerStatus
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from trajectory_msgs.msg import JointTrajectory

from am_ros import topics
from am_ros.errors import AmRosError
from am_ros.faults.bench import Bench, wait_for_end
from am_ros.faults.cell import NAME, Cell, cell_of
from am_ros.faults.suite import Result
from am_ros.nodes.image_relay import set_relay
from am_ros.ros.node.clocks import steady_timer
from am_ros.ros.node.common import RELIABLE_QOS, SENSOR_QOS, from_ns

# A driver finishes the trajectory it was given last: the rest of one step, 8 cm along each axis.
LONGEST_STEP_MM = 139.0
# Who is killed, how that is named, and within what time the arm has to stand [s].
VICTIMS = (
    ("policy", "commander_gone", 1.5),
    ("controller", "controller_gone", 2.5),
    ("camera", "image_stale", 3.0),
)


def process_killed(bench: Bench) -> Iterator[Result]:
    """The arm still within the stated time"""
    cell = cell_of(bench)
    kills = bench.pick(5, 1)
    for victim, name, within in VICTIMS:
        stands_s, extra_mm, said = [], [], []
        for i in bench.rounds(kills, f"kills of the {victim}"):
            cell.reset(seed=i)
            seen = len(cell.status)
            run = cell.pursue(seed=i)
            cell.wait_until_it_moves(run)
            process = getattr(cell, victim)
            process.signal(signal.SIGKILL)
            killed_s = time.monotonic()
            process.wait(10.0)
            if victim == "policy":
                time.sleep(within)
                reasons = [s.reason for s in cell.status[seen:]]
            else:
                reasons = [run.result(30.0).reason]
                time.sleep(max(0.5, within - (time.monotonic() - killed_s)))
            said.append(next((r for r in reasons if r.startswith(name)), "NOT named: " + "".join(reasons[-1:])))
            still, extra = cell.arm.stands_after(killed_s)
            stands_s.append(still)
            extra_mm.append(extra)
            cell.start(victim, ready="serving" if victim == "policy" else "")
            if victim == "camera":
                bench.client.wait_for_message(Image, topics.IMAGE, 30.0)
            if victim == "controller":
                cell.wait_for_state(ControllerStatus.IDLE)
        cell.clear_stop()
        time.sleep(0.5)
        afterwards = cell.policy_serves()
        yield Result(
            f"kill -9 of the {victim} in mid-motion, {kills} times",
            f"{name}; the arm still within {within} s, at most the rest of a step ({LONGEST_STEP_MM:.0f} mm) further; "
            "a goal served afterwards",
            f"'{said[-1]}'; still after {max(stands_s):.2f} s, {max(extra_mm):.0f} mm further; "
            f"afterwards {afterwards or 'served'}",
            all(s.startswith(name) for s in said) and max(stands_s) <= within and max(extra_mm) <= LONGEST_STEP_MM
            and not afterwards,
        )  # fmt: skip


def controller_suspended(bench: Bench) -> Iterator[Result]:
    """No jump on resume"""
    cell = cell_of(bench)
    jumps_mm, extra_mm, named = [], [], []
    count, most_mm = bench.pick(5, 1), 1.0
    for i in bench.rounds(count, "suspensions"):
        cell.reset(seed=i)
        cell.wait_for_lease(NAME)
        seen = len(cell.status)
        run = cell.send(cell.inward())
        cell.wait_until_it_moves(run)
        cell.controller.signal(signal.SIGSTOP)
        stopped_s = time.monotonic()
        time.sleep(2.0)
        cell.controller.signal(signal.SIGCONT)
        resumed_s = time.monotonic()
        reason = run.result(30.0).reason
        time.sleep(1.0)
        extra_mm.append(cell.arm.stands_after(stopped_s)[1])
        jumps_mm.append(cell.arm.stands_after(resumed_s)[1])
        named.append(next((stop for stop in cell.stops(seen) if stop.startswith("suspended")), f"NOT named: {reason}"))
        cell.clear_stop()
    afterwards = cell.serves()
    yield Result(
        f"SIGSTOP of the controller for 2 s in mid-motion, {count} times",
        f"suspended; at most {most_mm:.0f} mm of motion after it resumes; a step executed afterwards",
        f"'{named[-1]}'; {max(jumps_mm):.1f} mm after it resumed, {max(extra_mm):.0f} mm since it was stopped; "
        f"afterwards {afterwards or 'executed'}",
        all(n.startswith("suspended") for n in named) and max(jumps_mm) <= most_mm
        and max(extra_mm) <= LONGEST_STEP_MM and not afterwards,
    )  # fmt: skip


def two_commanders(bench: Bench) -> Iterator[Result]:
    """The second refused by name"""
    cell = cell_of(bench)
    cell.wait_for_lease(NAME)
    first = cell.send(cell.inward())
    cell.wait_until_it_moves(first)
    try:
        during = cell.send(cell.inward(), commander="intruder").result(30.0).reason
    except AmRosError as error:
        during = str(error).rsplit(": ", 1)[-1]
    finished = first.result(30.0)
    after = cell.send(cell.inward(0.03), commander="intruder").result(30.0).reason
    yield Result(
        "two commanders", "the second refused, the first named and undisturbed",
        f"during a step '{during}'; right after it '{after}'; the first one's step {finished.reason or 'done'}",
        after.startswith("not_commander: faults") and ("not_commander" in during or "reject" in during)
        and finished.end == 0,
    )  # fmt: skip
    before_s = time.monotonic()
    second = bench.client.node.create_publisher(JointTrajectory, topics.JOINT_TRAJECTORY, RELIABLE_QOS)
    time.sleep(0.5)
    result = cell.send(cell.inward(0.03)).result(30.0)
    time.sleep(0.3)
    stopped = bool(cell.status) and cell.status[-1].state == ControllerStatus.PROTECTIVE_STOP
    moved = cell.arm.stands_after(before_s)[1]
    bench.client.node.destroy_publisher(second)
    time.sleep(0.5)
    cell.clear_stop()
    afterwards = cell.serves()
    yield Result(
        "a second publisher of joint_trajectory", "second_publisher; nothing moves until it is gone and reset",
        f"'{result.reason}'; {moved:.1f} mm moved; afterwards {afterwards or 'a step executed'}",
        "second_publisher" in result.reason and stopped and moved < 1.0 and not afterwards,
    )  # fmt: skip


def messages_dropped(bench: Bench) -> Iterator[Result]:
    """30 % of images and joint states dropped: goals still served, no protective stop"""
    cell, share = cell_of(bench), 0.3
    set_relay(bench.client, drop_share=share)
    goals, steps, faults, began_s, seen = bench.pick(10, 1), bench.pick(10, 3), [], time.monotonic(), len(cell.status)
    for i in bench.rounds(goals, "goals"):
        cell.reset(seed=i)
        fault = cell.policy_serves(steps)
        faults += [fault] if fault else []
    stops = cell.stops(seen)
    set_relay(bench.client, drop_share=0.0)
    yield Result(
        f"{share:.0%} of images and joint states dropped", "every goal served, no protective stop",
        f"{goals - len(faults)} of {goals} goals of {steps} steps served in {time.monotonic() - began_s:.0f} s, "
        f"{len(stops)} protective stops" + "".join(f"; {what}" for what in (faults + stops)[:1]),
        not faults and not stops,
    )  # fmt: skip


def clock_jump(bench: Bench) -> Iterator[Result]:
    """Wall clock +-1 h: named, no extra motion, a goal served afterwards"""
    clock = bench.client.node.create_publisher(Clock, "/clock", SENSOR_QOS)
    offset_ns = 0
    steady_timer(bench.client.node, 0.01, lambda: clock.publish(Clock(clock=from_ns(time.time_ns() + offset_ns))))
    cell = Cell(bench, use_sim_time=True)
    within = 2.0
    for hours in (1, -1):
        cell.reset()
        run = cell.pursue()
        cell.wait_until_it_moves(run)
        jumped_s = time.monotonic()
        offset_ns += hours * 3600 * 1_000_000_000
        wait_for_end(run, 30, "the end of the goal")
        reason = run.result().reason
        time.sleep(1.0)
        still, extra = cell.arm.stands_after(jumped_s)
        cell.clear_stop()
        afterwards = cell.policy_serves()
        yield Result(
            f"the clock of all nodes jumps by {hours:+d} h in mid-motion",
            f"clock_jump; the arm still within {within:.0f} s; a goal served afterwards",
            f"'{reason}'; still after {still:.2f} s, {extra:.0f} mm further; afterwards {afterwards or 'served'}",
            "clock_jump" in reason and still <= within and not afterwards,
        )

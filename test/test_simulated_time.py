"""use_sim_time with a /clock that stops or never was: what stops the arm goes on, what cannot be is refused by name."""

import re
import time
from pathlib import Path

import pytest
from am_msgs.action import MoveCartesian
from am_msgs.msg import CartesianAction, ControllerStatus, Heartbeat
from conftest import wait_until
from geometry_msgs.msg import Vector3
from rosgraph_msgs.msg import Clock
from test_cartesian_controller import MOVE, ExactArm, wait_for_state, way_from_home

import am_ros
from am_ros.ros.node.clocks import steady_timer
from am_ros.ros.node.common import RELIABLE_QOS, from_ns

RESULT = MoveCartesian.Result


class SimulatedTime:
    """Publishes /clock as long as `runs`."""

    def __init__(self, ros, runs=True):
        self.runs = runs
        self._clock = ros.node.create_publisher(Clock, "/clock", RELIABLE_QOS)
        steady_timer(ros.node, 0.01, self._tick)

    def _tick(self):
        if self.runs:
            self._clock.publish(Clock(clock=from_ns(time.time_ns())))


def send(ros, y, commander=""):
    action = CartesianAction(translation=Vector3(y=y))
    return ros.send_goal(MoveCartesian, MOVE, action=action, commander=commander)


@pytest.fixture
def cell(ros, start_node):
    """A slow controller in simulated time that runs, its arm, and the clock."""
    clock, arm = SimulatedTime(ros), ExactArm(ros)
    start_node("cartesian_controller", velocity_scale=0.05, use_sim_time=True)
    wait_for_state(ros, ControllerStatus.IDLE)
    return arm, clock


# What ends a motion, the reason, and within what time the arm stands after it: the timeout, the brake, a busy machine.
@pytest.mark.parametrize(
    ("what", "reason", "within_s"),
    [
        ("cancel", "cancelled", 0.8),
        ("silent", "protective_stop: joint_states_stale", 1.3),
        ("heartbeat", "commander_gone", 1.3),
    ],
)
@pytest.mark.needs_quiet(0.2)
def test_what_stops_the_arm_does_so_though_the_clock_stands(ros, cell, what, reason, within_s):
    arm, clock = cell
    heart = ros.publisher(Heartbeat, "commander_heartbeat")
    beats = steady_timer(ros.node, 0.1, lambda: heart.publish(Heartbeat(name="policy_server")))
    if what != "heartbeat":
        beats.cancel()
    run = send(ros, 0.08, commander="policy_server")
    wait_until(lambda: way_from_home(arm) > 0.01, what="motion")
    clock.runs = False
    time.sleep(0.2)
    began_s = time.monotonic()
    if what == "cancel":
        run.cancel()
    elif what == "silent":
        arm.silent = True
    else:
        beats.cancel()
    result = run.result(10)
    wait_until(lambda: not arm.state()[1].any(), what="standstill")
    assert time.monotonic() - began_s < within_s
    assert result.end == RESULT.STOPPED and result.reason.startswith(reason)
    assert way_from_home(arm) < 0.07  # of 0.08


def test_a_clock_that_stands_or_never_came_is_refused_and_named_until_it_runs(ros, start_node):
    clock, arm = SimulatedTime(ros, runs=False), ExactArm(ros)
    start_node("cartesian_controller", velocity_scale=0.9, use_sim_time=True)
    wait_for_state(ros, ControllerStatus.IDLE)
    result = send(ros, 0.03).result()
    assert (result.end, result.reason) == (
        RESULT.REFUSED, "clock_missing: use_sim_time is set, and nothing has come on topic /clock"
    )  # fmt: skip
    clock.runs = True
    wait_until(lambda: send(ros, 0.03).result().end == RESULT.DONE, what="a step once the clock runs")
    clock.runs = False
    time.sleep(1.5)
    at = way_from_home(arm)
    result = send(ros, 0.03).result()
    assert result.end == RESULT.REFUSED and result.reason.startswith("clock_stopped: use_sim_time is set, and topic")
    assert way_from_home(arm) == at


def test_nothing_is_configured_without_a_clock(start_node):
    start_node("cartesian_controller", autostart=False, use_sim_time=True)
    bringup = start_node("bringup", nodes=["cartesian_controller"], use_sim_time=True, clock_wait_s=1.0)
    assert bringup.wait(20.0) == 2
    assert bringup.lines[-1] == "bringup: clock_missing: use_sim_time is set, and nothing has come on topic /clock"
    assert "configured" not in bringup.output


def test_no_timer_of_a_node_follows_the_clock_of_the_stamps():
    """`node.create_timer` stands when /clock stands: all go through am_ros.ros.node.clocks.steady_timer."""
    root = Path(am_ros.__file__).parent
    found = {
        str(file.relative_to(root))
        for file in root.rglob("*.py")
        if re.search(r"\.(create_timer|create_rate|sleep_for|sleep_until)\(", file.read_text())
    }
    assert found == {"ros/node/clocks.py"}

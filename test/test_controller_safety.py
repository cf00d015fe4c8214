"""What stops the arm, with the controller as a real process."""

import re
import signal
import time

import numpy as np
import pytest
from action_msgs.msg import GoalStatus, GoalStatusArray
from am_msgs.action import MoveCartesian
from am_msgs.msg import CartesianAction, ControllerStatus, Heartbeat
from conftest import wait_until
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import Vector3
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from std_srvs.srv import Trigger
from test_cartesian_controller import MOVE, ExactArm, wait_for_state, way_from_home
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMsg

from am_ros.ros.introspection.names import NAMELESS
from am_ros.ros.introspection.publisher_watch import foreign
from am_ros.ros.node.common import LATCHED_QOS, RELIABLE_QOS, from_ns

RESULT = MoveCartesian.Result
RESET = "cartesian_controller/reset"


class Cell:
    """A controller that is ready to move, slowly, and the arm it moves."""

    def __init__(self, ros, start_node, **parameters):
        self.ros, self.arm = ros, ExactArm(ros)
        self.trajectories = ros.receive(JointTrajectoryMsg, "joint_trajectory", RELIABLE_QOS)
        self.process = start_node("cartesian_controller", **{"velocity_scale": 0.1, **parameters})

    def ready(self):
        wait_for_state(self.ros, ControllerStatus.IDLE)
        return self

    def send(self, *way, commander="", age_s=None):
        now_ns = self.ros.node.get_clock().now().nanoseconds
        stamp = from_ns(0 if age_s is None else now_ns - round(age_s * 1e9))
        action = CartesianAction(translation=Vector3(**dict(zip("xyz", map(float, way), strict=False))))
        return self.ros.send_goal(MoveCartesian, MOVE, action=action, commander=commander, stamp=stamp)

    def move(self, *way, **options):
        result = self.send(*way, **options).result()
        return result.end, result.reason

    def in_motion(self, **options):
        """A step of 8 cm in every direction, under way."""
        start = self.arm.state()[0]
        run = self.send(0.08, 0.08, 0.08, **options)
        wait_until(lambda: np.abs(self.arm.state()[0] - start).max() > 0.01, what="motion")
        return run

    def reset(self):
        response = self.ros.call(Trigger, RESET)
        return response.success, response.message

    def change(self, transition):
        request = Transition(id=transition)
        return self.ros.call(ChangeState, "cartesian_controller/change_state", transition=request).success


@pytest.fixture
def cell(ros, start_node):
    """A function that starts a Cell."""
    return lambda **parameters: Cell(ros, start_node, **parameters)


def test_one_commander_at_a_time_and_no_step_that_comes_too_late(cell, ros):
    cell = cell(velocity_scale=0.9, lease_s=1.0).ready()
    assert cell.move(0.01, commander="policy_server", age_s=0.1) == (RESULT.DONE, "")
    assert wait_for_state(ros, ControllerStatus.IDLE).commander == "policy_server"
    for name in ("expert", ""):
        end, reason = cell.move(0.01, commander=name)
        assert end == RESULT.REFUSED
        assert reason == f"not_commander: policy_server holds the arm (asked by {name or 'operator'})"
    status = wait_for_state(ros, ControllerStatus.IDLE)
    assert status.commander == "policy_server" and status.reason.startswith("not_commander") and not status.reduced
    for age_s, sign, when in ((2.1, 1, r"([\d.]+) s ago"), (-7.0, -1, r"([\d.]+) s in the future"), (1e9, 1, "")):
        began_s = time.monotonic()
        end, reason = cell.move(0.01, commander="policy_server", age_s=age_s)
        under_way_s = time.monotonic() - began_s
        assert end == RESULT.REFUSED and reason.startswith("command_stale: decided")
        if when:  # as old as it was sent, and at most as much older as the answer took
            older_s = sign * float(re.search(when, reason)[1]) - age_s
            assert -0.051 < older_s < under_way_s + 0.051, reason
    assert cell.move(0.01, commander="bad\nname")[1].startswith("commander_invalid: ")
    time.sleep(0.5)
    wait_until(lambda: cell.move(0.01, commander="expert")[0] == RESULT.DONE, 5, "the end of the lease")
    assert wait_for_state(ros, ControllerStatus.IDLE).commander == "expert"


def test_a_protective_stop_holds_until_its_cause_is_gone_and_it_is_reset(cell, ros):
    cell = cell().ready()
    said = ros.receive(DiagnosticArray, "/diagnostics", RELIABLE_QOS)
    run = cell.in_motion()
    other = ros.node.create_publisher(JointTrajectoryMsg, "joint_trajectory", RELIABLE_QOS)
    result = run.result()
    # A publisher may be found before its node's name.
    causes = [f"second_publisher: {who} publishes /joint_trajectory too" for who in ("/test_client", NAMELESS)]
    cause = result.reason.removeprefix("protective_stop: ")
    assert cause in causes
    assert (result.end, result.reason) == (RESULT.STOPPED, f"protective_stop: {cause}")
    assert wait_for_state(ros, ControllerStatus.PROTECTIVE_STOP).reason == cause
    statuses = [s for array in said for s in array.status if s.name == "/cartesian_controller: arm"]
    assert statuses[-1].level == DiagnosticStatus.ERROR and statuses[-1].message == f"protective stop: {cause}"
    assert {v.key: v.value for v in statuses[-1].values}["protective_stops"] == "1"
    done, why = cell.reset()
    assert not done and why in causes
    ros.node.destroy_publisher(other)
    assert cell.move(0.01)[1] == f"protective_stop: call ~/reset first ({cause})"  # it is latched all the same
    wait_until(lambda: cell.reset()[0], 5, "the end of the second publisher")
    assert cell.move(-0.05, -0.05, -0.05) == (RESULT.DONE, "")

    # An arm that leaves its path, and one that is where it cannot be.
    run, follow = cell.in_motion(), cell.arm.state
    cell.arm.state = lambda: (follow()[0] + np.eye(7)[1] * 0.25, follow()[1])
    result = run.result()
    assert result.end == RESULT.STOPPED
    assert result.reason.startswith("protective_stop: tracking_error: joint_a2 is 0.2")
    time.sleep(0.2)
    assert cell.reset() == (True, "")  # it stands still, wherever that is
    cell.arm.state = lambda: (np.eye(7)[3] * 2.2, np.zeros(7))
    status = wait_for_state(ros, ControllerStatus.PROTECTIVE_STOP)
    assert status.reason == "joint_position: joint_a4 is at 2.200 rad, limit 2.094 rad"
    assert cell.reset() == (False, status.reason)
    cell.arm.state = follow
    wait_until(lambda: cell.reset()[0], what="reset")


@pytest.mark.needs_quiet(0.05)
def test_another_program_that_uses_the_trajectory_controllers_action_is_named_at_once(cell, ros):
    cell = cell().ready()
    goals = ros.publisher(GoalStatusArray, "follow_joint_trajectory/_action/status", LATCHED_QOS)
    run = cell.in_motion()
    goals.publish(GoalStatusArray(status_list=[GoalStatus(status=GoalStatus.STATUS_EXECUTING)]))
    began_s = time.monotonic()
    wait_for_state(ros, ControllerStatus.PROTECTIVE_STOP)
    assert time.monotonic() - began_s < 0.3
    cause = "foreign_motion: another program moves the arm through the action /follow_joint_trajectory"
    assert run.result().reason == f"protective_stop: {cause}"
    assert cell.reset() == (False, cause)
    goals.publish(GoalStatusArray(status_list=[GoalStatus(status=GoalStatus.STATUS_SUCCEEDED)]))
    wait_until(lambda: cell.reset()[0], what="the end of the other program's goal")
    assert cell.move(-0.01) == (RESULT.DONE, "")
    assert "another program moved the arm through its trajectory controller's action" in cell.process.output


def test_a_controller_of_the_same_name_is_a_second_publisher_too():
    assert foreign("/a/controller", ["/a/controller"]) == foreign("/a/controller", []) == []
    assert foreign("/controller", ["/bag_player", "/controller"]) == ["/bag_player"]
    assert foreign("/controller", ["/controller"] * 3) == ["another /controller"]


def test_a_controller_that_was_suspended_in_mid_motion_holds_the_arm_where_it_is_and_forgets_old_steps(cell, ros):
    cell = cell(velocity_scale=0.2).ready()
    run = cell.in_motion()
    cell.process.signal(signal.SIGSTOP)
    time.sleep(1.0)
    wait_until(lambda: not cell.arm.state()[1].any(), what="the end of what the arm was told")
    before, commanded = cell.arm.state()[0], len(cell.trajectories)
    time.sleep(0.1)
    cell.process.signal(signal.SIGCONT)
    result = run.result()
    assert result.end == RESULT.STOPPED
    assert result.reason.startswith("protective_stop: suspended: the controller did not run for ")
    hold = cell.trajectories.wait(commanded + 1)[-1]
    assert all(np.allclose(point.positions, before, atol=2e-3) for point in hold.points)
    time.sleep(0.3)
    assert np.allclose(cell.arm.state()[0], before, atol=2e-3)
    assert cell.move(0.01)[1].startswith("protective_stop: call ~/reset first (suspended: ")
    assert cell.reset() == (True, "")

    cell.process.signal(signal.SIGSTOP)
    late = cell.ros.node  # a step that waits while the controller is suspended is not executed afterwards
    stamp = late.get_clock().now().to_msg()
    client = cell.ros._actions[MOVE][0]
    goal = MoveCartesian.Goal(action=CartesianAction(translation=Vector3(x=0.02)), stamp=stamp)
    sent = client.send_goal_async(goal)
    time.sleep(1.3)
    cell.process.signal(signal.SIGCONT)
    wait_until(sent.done, what="the answer to the late step")
    answer = sent.result().get_result_async()
    wait_until(answer.done, what="the result of the late step")
    assert answer.result().result.reason.startswith("command_stale: decided ")
    assert np.allclose(cell.arm.state()[0], before, atol=2e-3)
    assert cell.move(-0.01) == (RESULT.DONE, "")  # suspended at rest: nothing to reset


def test_transitions_decide_when_the_controller_moves_the_arm_and_it_brakes_before_it_ends(cell, ros):
    cell = cell(autostart=False, reduced=True)
    assert cell.change(Transition.TRANSITION_CONFIGURE)
    status = wait_for_state(ros, ControllerStatus.INACTIVE)
    assert status.reason.startswith("inactive: ") and status.reduced
    assert cell.move(0.01) == (RESULT.REFUSED, "inactive: activate the controller first")
    assert cell.change(Transition.TRANSITION_ACTIVATE)
    cell.ready()
    run = cell.in_motion()
    assert cell.change(Transition.TRANSITION_DEACTIVATE)
    result = run.result()
    assert (result.end, result.reason) == (RESULT.STOPPED, "inactive: deactivated in mid-motion")
    wait_until(lambda: not cell.arm.state()[1].any(), what="standstill")
    assert way_from_home(cell.arm) < 0.13
    for transition in ("CLEANUP", "CONFIGURE", "ACTIVATE"):
        assert cell.change(getattr(Transition, f"TRANSITION_{transition}"))
    assert cell.move(-0.05, -0.05, -0.05)[0] == RESULT.DONE
    cell.in_motion()
    assert cell.process.stop() == 0
    way = way_from_home(cell.arm)
    time.sleep(0.3)
    assert not cell.arm.state()[1].any() and way_from_home(cell.arm) < min(way + 0.01, 0.13)



@pytest.mark.needs_quiet(0.1)
def test_a_commander_that_falls_silent_in_mid_motion_stops_the_arm(cell, ros):
    cell = cell().ready()
    heart = ros.publisher(Heartbeat, "commander_heartbeat")
    timer = ros.node.create_timer(0.1, lambda: heart.publish(Heartbeat(name="policy_server")))
    run = cell.in_motion(commander="policy_server")
    assert cell.move(0.01, commander="expert") == (
        RESULT.REFUSED, "not_commander: policy_server holds the arm (asked by expert)"
    )  # fmt: skip
    time.sleep(0.7)  # longer than the timeout: the heartbeats keep it going
    assert cell.arm.state()[1].any()
    timer.cancel()
    result, stopped_s = run.result(), time.monotonic()
    assert result.end == RESULT.STOPPED
    assert result.reason.startswith("commander_gone: policy_server was not heard for 0.")
    wait_until(lambda: not cell.arm.state()[1].any(), what="standstill")
    assert time.monotonic() - stopped_s < 1.0 and way_from_home(cell.arm) < 0.13
    assert cell.move(-0.01, commander="policy_server") == (RESULT.DONE, "")  # nothing is latched

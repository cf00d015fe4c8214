"""What a gripper was told, what its driver answers and what is measured: each kind of gripper, and those that fail."""

import re
import time

import numpy as np
import pytest
from am_msgs.action import MoveCartesian
from am_msgs.msg import ControllerStatus
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from test_cartesian_controller import ExactArm, move, wait_for_state

from am_ros.control.gripper import GripperConfig, GripperWatch
from am_ros.control.joint_states import JointStateBuffer
from am_ros.episode import gripper_opening
from am_ros.ros.node.common import RELIABLE_QOS

RESULT = MoveCartesian.Result
OPEN, CLOSE = 1, 2


def watched(goal, openings, config=None, before=(), answers=()):
    """What a watch says of a command while these openings are measured, 20 ms apart; `before`: commands before it."""
    watch = GripperWatch(config or GripperConfig())
    for told, reached in before:
        watch.told(told, 1 - told, -10.0)
        assert watch.verdict(reached, -9.0) == "" or watch.verdict(reached, -7.0) == ""
    watch.told(goal, openings[0], 0.0)
    for k, opening in enumerate(openings):
        for at, failure in answers:
            if at == k:
                watch.answer(failure)
        verdict = watch.verdict(opening, 0.02 * k)
        if verdict is not None:
            return verdict
    return None


def ramp(start, end, steps=25, then=200):
    return [*np.linspace(start, end, steps), *[end] * then]


def test_a_gripper_that_does_what_it_is_told_or_holds_something_is_well():
    assert watched(0.0, ramp(1.0, 0.0)) == watched(1.0, ramp(0.0, 1.0)) == watched(0.0, ramp(1.0, 0.45)) == ""
    assert watched(0.0, [0.45] * 300, before=[(0.0, 0.45)]) == ""  # it holds that, and is told to close again
    assert watched(0.0, [0.45] * 300) == ""  # held since before we began
    assert watched(0.0, [1.0] * 40 + ramp(1.0, 0.0)) == ""  # it begins late
    assert watched(0.0, ramp(1.0, 0.5, steps=240)) == ""  # it is slow
    assert watched(1.0, [1.0] * 100) == ""  # it is there already


@pytest.mark.parametrize(
    ("goal", "openings", "sentence"),
    [
        (0.0, [1.0] * 300, "told to close: its fingers have not moved; opening 1.00 is measured, 1.00 before"),
        (1.0, [0.0] * 300, "told to open: its fingers have not moved; opening 0.00 is measured, 0.00 before"),
        (0.0, ramp(0.0, 1.0), "told to close: it moved the other way"),  # values the wrong way round
        (1.0, ramp(1.0, 0.0), "told to open: it moved the other way"),
        (1.0, ramp(0.0, 0.5), "told to open: it has not opened; opening 0.50 is measured, 0.00 before"),
    ],
)
def test_a_gripper_that_does_not_is_named_with_what_is_measured(goal, openings, sentence):
    assert watched(goal, openings).startswith(f"gripper_failed: {sentence}")


@pytest.mark.parametrize("kind", ["action", "parallel"])
def test_an_answer_of_the_driver_counts_also_where_nothing_is_measured(kind):
    for measured in (True, False):
        config = GripperConfig(gripper=kind, gripper_measured=measured)
        verdict = watched(0.0, [1.0] * 50, config, answers=[(2, "the action x rejected it")])
        where = "opening 1.00 is measured" if measured else "nothing measures its opening"
        assert verdict.startswith(f"gripper_failed: told to close: the action x rejected it; {where}")
    config = GripperConfig(gripper=kind, gripper_measured=False)
    assert watched(0.0, [1.0] * 50, config, answers=[(2, "")]) == ""
    assert "its action does not answer" in watched(0.0, [1.0] * 300, config)
    assert watched(0.0, [1.0] * 10, GripperConfig(gripper="switch", gripper_measured=False)) == ""


def buffer(opened, closed):
    return JointStateBuffer(["a"], ["finger"], (opened, closed), 0.5)


def test_a_joint_that_grows_while_closing_is_told_by_its_open_and_closed_values():
    for position, opening in ((0.0, 1.0), (0.79, 0.0), (0.395, 0.5), (0.85, 0.0)):
        state = buffer(0.0, 0.79)
        state.update(["finger"], [position], [], 0, 0.0)
        assert state.opening == pytest.approx(opening) and not state.gripper_fault
        assert gripper_opening(["finger"], [position], ["finger"], 0.0, 0.79) == pytest.approx(opening)


def test_values_that_contradict_what_is_measured_are_refused_by_name():
    state = buffer(0.045, 0.0)
    state.update(["finger"], [0.79], [], 0, 0.0)  # a Robotiq that was not told
    said = "gripper_values: finger at 0.790, but finger_open is 0.045 and finger_closed 0:"
    assert state.gripper_fault.startswith(said)
    state.update(["finger"], [0.02], [], 0, 0.1)
    assert not state.gripper_fault


class Gripper:
    """A driver's gripper with one joint on gripper_states: 0 open, 0.79 closed, in a quarter of a second."""

    def __init__(self, ros):
        self.position, self.goal, self.stuck = 0.0, 0.0, False
        self._node = ros.node
        self._pub = ros.node.create_publisher(JointState, "gripper_states", RELIABLE_QOS)
        ros.node.create_subscription(Float64MultiArray, "gripper_positions", self._on_positions, RELIABLE_QOS)
        ros.node.create_timer(0.02, self._publish)

    def _on_positions(self, msg):
        self.goal = msg.data[0]

    def _publish(self):
        if not self.stuck:
            self.position += float(np.clip(self.goal - self.position, -0.06, 0.06))
        msg = JointState(name=["robotiq_85_left_knuckle_joint"], position=[self.position])
        msg.header.stamp = self._node.get_clock().now().to_msg()
        self._pub.publish(msg)


ROBOTIQ = {
    "finger_names": ["robotiq_85_left_knuckle_joint"],
    "finger_open": 0.0,
    "finger_closed": 0.79,
    "gripper": "positions",
    "gripper_open": 0.0,
    "gripper_closed": 0.79,
}


def test_a_gripper_that_does_not_move_ends_the_step_with_what_was_measured(ros, start_node):
    arm, gripper = ExactArm(ros), Gripper(ros)
    arm.fingers = False
    start_node("cartesian_controller", **ROBOTIQ)
    wait_for_state(ros, ControllerStatus.IDLE)
    done = move(ros, x=0.01, gripper=CLOSE).result()
    assert (done.end, done.gripper_opening) == (RESULT.DONE, pytest.approx(0.0, abs=0.05)), done.reason
    assert move(ros, gripper=OPEN).result().gripper_opening == pytest.approx(1.0, abs=0.05)
    gripper.stuck = True
    began_s = time.monotonic()
    failed = move(ros, x=0.01, gripper=CLOSE).result()
    assert failed.end == RESULT.STOPPED and failed.gripper_opening == pytest.approx(1.0, abs=0.05)
    # The fingers may have stood a little before they were all open.
    said = r"gripper_failed: told to close: its fingers have not moved; opening (1\.00|0\.9\d) is measured"
    assert re.match(said, failed.reason), failed.reason
    assert time.monotonic() - began_s < 5
    assert move(ros, x=0.01).result().end == RESULT.DONE  # told once, to the step that it belongs to
    gripper.stuck = False
    assert move(ros, gripper=CLOSE).result().end == RESULT.DONE


def test_an_arm_without_a_gripper_takes_every_step(ros, start_node):
    arm = ExactArm(ros)
    arm.fingers = False
    start_node("cartesian_controller", gripper="none")
    wait_for_state(ros, ControllerStatus.IDLE)
    for gripper in (CLOSE, OPEN, 0):
        assert move(ros, x=0.005, gripper=gripper).result().end == RESULT.DONE


def test_values_that_tell_nothing_end_the_node(start_node):
    for node in ("cartesian_controller", "goal_registry"):
        process = start_node(node, finger_open=0.1, finger_closed=0.1)
        assert process.wait(20) == 2
        assert "parameters finger_open and finger_closed: both are 0.1" in process.output

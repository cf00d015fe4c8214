"""Grippers behind control_msgs' actions: a driver in a process of its own, with the real interfaces generated anew."""

import subprocess
import sys

import pytest
from am_msgs.action import MoveCartesian
from am_msgs.msg import ControllerStatus
from generated_interfaces import generate
from std_msgs.msg import String
from test_cartesian_controller import ExactArm, move, wait_for_state

from am_ros.cell.environment import child_environment
from am_ros.ros.node.common import RELIABLE_QOS

RESULT = MoveCartesian.Result
OPEN, CLOSE = 1, 2
FILES = {
    "msg/GripperCommand.msg": "float64 position\nfloat64 max_effort\n",
    "action/GripperCommand.action": "GripperCommand command\n---\nfloat64 position\nfloat64 effort\nbool stalled\n"
    "bool reached_goal\n---\nfloat64 position\nfloat64 effort\nbool stalled\nbool reached_goal\n",
    "action/ParallelGripperCommand.action": "sensor_msgs/JointState command\n---\nsensor_msgs/JointState state\n"
    "bool stalled\nbool reached_goal\n---\nsensor_msgs/JointState state\n",
}
VALUES = {"finger_names": ["knuckle"], "finger_open": 0.0, "finger_closed": 0.79, "gripper_open": 0.0,
          "gripper_closed": 0.79}  # fmt: skip

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]


@pytest.fixture(scope="module")
def interfaces(tmp_path_factory):
    """The environment of a process that finds control_msgs."""
    folder = tmp_path_factory.mktemp("control_msgs")
    return generate("control_msgs", FILES, folder, "std_msgs geometry_msgs sensor_msgs")


@pytest.fixture
def driver(ros, ros_env, interfaces):
    """A function that starts the driver with an action of that kind; returns what sets its mood."""
    started = []

    def start(kind):
        env = child_environment({**ros_env, **interfaces})
        started.append(subprocess.Popen([sys.executable, "-m", "gripper_stand_in", kind], env=env))
        moods = ros.publisher(String, "gripper_mood", RELIABLE_QOS)
        return lambda mood: moods.publish(String(data=mood))

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize("kind", ["action", "parallel"])
def test_what_the_action_answers_and_what_is_measured_decide(ros, start_node, driver, interfaces, kind):
    arm, mood = ExactArm(ros), driver(kind)
    arm.fingers = False
    start_node("cartesian_controller", gripper=kind, env=interfaces, **VALUES)
    wait_for_state(ros, ControllerStatus.IDLE, 30)
    closed = move(ros, x=0.005, gripper=CLOSE).result()
    assert (closed.end, closed.gripper_opening) == (RESULT.DONE, pytest.approx(0.0, abs=0.03)), closed.reason
    assert move(ros, gripper=OPEN).result().gripper_opening == pytest.approx(1.0, abs=0.03)
    for word in ("reject", "abort"):
        mood(word)
        failed = move(ros, x=0.005, gripper=CLOSE).result()
        assert failed.end == RESULT.STOPPED
        said = f"gripper_failed: told to close: the action gripper_controller/gripper_cmd {word}ed it"
        assert failed.reason.startswith(said) and "opening 1.00 is measured" in failed.reason
        assert failed.gripper_opening == pytest.approx(1.0, abs=0.03)  # not what was commanded
    mood("holds")
    holding = move(ros, gripper=CLOSE).result()
    assert (holding.end, holding.gripper_opening) == (RESULT.DONE, pytest.approx(0.5, abs=0.05)), holding.reason


@pytest.mark.parametrize(("kind", "other"), [("action", "parallel"), ("parallel", "action")])
def test_an_action_of_the_other_type_is_refused_by_its_name(ros, start_node, driver, interfaces, kind, other):
    arm = ExactArm(ros)
    driver(other)
    arm.fingers = False
    start_node("cartesian_controller", gripper=kind, env=interfaces, **VALUES)
    wait_for_state(ros, ControllerStatus.IDLE, 30)
    refused = move(ros, x=0.005).result()
    name = {"action": "GripperCommand", "parallel": "ParallelGripperCommand"}
    assert refused.end == RESULT.REFUSED and refused.reason == (
        f"gripper_kind: the action /gripper_controller/gripper_cmd is a control_msgs/action/{name[other]}, gripper: "
        f"{kind} sends a control_msgs/action/{name[kind]}: set gripper: {other}"
    )

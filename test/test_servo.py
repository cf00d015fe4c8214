"""The backend `servo` against a process that plays MoveIt Servo's part, with Servo's own interfaces generated anew."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from am_msgs.action import MoveCartesian
from am_msgs.msg import ControllerStatus, Heartbeat
from conftest import wait_until
from generated_interfaces import generate
from std_msgs.msg import String
from test_cartesian_controller import MOVE, STEPPER, move, position_of, wait_for_state

from am_ros.cell.environment import child_environment
from am_ros.ros.node.common import RELIABLE_QOS

ROOT = Path(__file__).parents[1]
RESULT = MoveCartesian.Result
# moveit_msgs comes with ROS from apt only. These are its two interfaces, field by field.
STATUS = "int8 code\nstring message\n"
SWITCH = "int8 JOINT_JOG = 0\nint8 TWIST = 1\nint8 POSE = 2\nint8 command_type\n---\nbool success\n"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def interfaces(tmp_path_factory):
    """The environment of a process that finds moveit_msgs."""
    files = {"msg/ServoStatus.msg": STATUS, "srv/ServoCommandType.srv": SWITCH}
    return generate("moveit_msgs", files, tmp_path_factory.mktemp("moveit_msgs"))


@pytest.fixture
def servo(ros_env, interfaces, tmp_path):
    """Starts the stand-in; returns its process and the function that gives it a fault."""
    started, fault = [], tmp_path / "fault"

    def start(units="speed_units", **parameters):
        env = child_environment({**ros_env, **interfaces}, SERVO_FAULT=str(fault))
        command = [sys.executable, "-m", "servo_stand_in", "--ros-args", "-p", f"moveit_servo.command_in_type:={units}"]
        for name, value in parameters.items():
            command += ["-p", f"moveit_servo.{name.replace('__', '.')}:={value}"]
        started.append(subprocess.Popen(command, env=env))
        return started[-1], fault.write_text

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def controller(ros, start_node, interfaces):
    """Starts a controller that speaks to Servo; returns its process and the log of what Servo hears."""

    def start(**parameters):
        log = ros.receive(String, "servo_log", RELIABLE_QOS)
        process = start_node("cartesian_controller", backend="servo", env=interfaces, velocity_scale=0.2, **parameters)
        wait_for_state(ros, ControllerStatus.IDLE, timeout_s=30.0)
        return process, log

    return start


def heard(log):
    return [message.data for message in log]


def in_motion(ros, log, **goal):
    before = len(log)
    run = move(ros, x=0.08, y=0.08, z=0.05) if not goal else ros.send_goal(MoveCartesian, MOVE, **goal)
    wait_until(lambda: len(log) > before + 15, what="a motion under way")
    return run


def test_servo_is_switched_first_led_to_the_goal_and_told_to_stand_still(ros, servo, controller):
    process, fault = servo()
    _, log = controller(lease_s=0.0)
    start = STEPPER.kinematics.pose(STEPPER.kinematics.home((0.55, 0.0, 0.15)))[0]
    result = move(ros, x=0.04, y=-0.03, z=-0.03, turn=0.2).result()
    assert (result.end, result.reason) == (RESULT.DONE, "")
    assert np.allclose(position_of(result), start + [0.04, -0.03, -0.03], atol=4e-3)
    lines = heard(log)
    assert lines[0] == "switch 1" and lines[1].startswith("twist") and lines[1].endswith(" base_link")
    assert not any("not taken" in x for x in lines)
    time.sleep(0.6)
    lines = heard(log)
    assert lines[-1] == lines[-5] == "zero base_link"
    silent = len(lines)
    time.sleep(0.3)
    assert len(log) == silent  # a controller at rest leaves Servo alone

    # The commander falls silent in mid-motion.
    heart = ros.publisher(Heartbeat, "commander_heartbeat")
    timer = ros.node.create_timer(0.1, lambda: heart.publish(Heartbeat(name="policy_server")))
    action = MoveCartesian.Goal().action
    action.translation.x = action.translation.y = -0.08
    run = in_motion(ros, log, action=action, commander="policy_server")
    timer.cancel()
    result = run.result()
    assert result.end == RESULT.STOPPED and result.reason.startswith("commander_gone: policy_server")
    wait_until(lambda: heard(log)[-3:] == ["zero base_link"] * 3, what="zero twists")
    # Servo is led to rest, twist by twist.
    lines = heard(log)
    last = max(k for k, line in enumerate(lines) if line.startswith("twist"))
    speeds = [float(line.split()[1]) for line in lines[last - 20 : last + 1]]
    assert max(speeds) > 0.05 and speeds[-1] < 0.5 * max(speeds)

    # Servo halts, refuses, and dies.
    run = in_motion(ros, log)
    fault("collision")
    result = run.result()
    assert (result.end, result.reason) == (RESULT.STOPPED, "servo_halted: Collision detected, emergency stop")
    fault("refuses")
    assert move(ros, x=0.01).result().reason == "servo_refused: /servo_node takes no commands of type twist"
    fault("")
    run = in_motion(ros, log)
    fault("approaches")
    result = run.result()
    assert result.end == RESULT.STOPPED
    assert result.reason.startswith("servo_halted: Close to a collision, decelerating; the tool is ")
    fault("paused")
    time.sleep(0.6)
    assert move(ros, x=0.01).result().reason.startswith("backend_gone: topic /servo_node/status last came ")
    fault("")
    wait_until(lambda: move(ros, x=0.005).result().end == RESULT.DONE, what="a Servo that goes on")
    run = in_motion(ros, log)
    process.send_signal(signal.SIGSTOP)
    result = run.result()
    # Joint states of this arm come from the same process: whichever is missed first.
    assert result.end == RESULT.STOPPED and re.search("backend_gone|joint_states_stale", result.reason)


def test_in_pose_mode_servo_gets_poses(ros, servo, controller):
    servo("unitless")  # poses are metres whatever the units of twists
    _, log = controller(servo_command="pose")
    result = move(ros, x=0.04, y=0.03, turn=-0.2).result()
    assert (result.end, result.reason) == (RESULT.DONE, "")
    assert heard(log)[:2] == ["switch 2", "pose base_link"]


def test_a_servo_that_is_slower_than_the_step_gets_a_slower_line(ros, servo, controller):
    servo(scale__linear=0.05, scale__rotational=0.1)
    _, log = controller()
    began_s = time.monotonic()
    result = move(ros, x=0.05, y=-0.05, turn=0.2).result()
    assert (result.end, result.reason) == (RESULT.DONE, "")
    assert time.monotonic() - began_s > 0.07 / 0.05
    speeds = [float(line.split()[1]) for line in heard(log) if line.startswith("twist")]
    assert 0.03 < max(speeds) < 0.0501  # Servo would cut the rest


def test_a_servo_that_would_go_on_for_long_after_the_last_command_is_refused(ros, servo, controller):
    servo(incoming_command_timeout=3.0)
    _, log = controller()
    assert move(ros, x=0.02).result().reason == (
        "servo_settings: moveit_servo.incoming_command_timeout of /servo_node is 3 s, expected 0.05 ... 1 s"
    )
    assert heard(log) == []


def test_twists_in_units_of_a_joystick_are_refused(ros, servo, controller):
    servo("unitless")
    _, log = controller()
    result = move(ros, x=0.02).result()
    assert result.end == RESULT.REFUSED
    assert result.reason == (
        "servo_units: moveit_servo.command_in_type of /servo_node is unitless, twists are sent in speed_units"
    )
    assert heard(log) == []

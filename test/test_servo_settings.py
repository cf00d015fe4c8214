"""What MoveIt Servo's parameters must be for our commands to mean to it what they mean to us."""

import math

import pytest

from am_ros.control.backends.servo_settings import ServoSettings, read_settings
from am_ros.errors import AmRosError

SETTINGS = {
    "use_sim_time": False,
    "moveit_servo.command_in_type": "speed_units",
    "moveit_servo.scale.linear": 0.4,
    "moveit_servo.scale.rotational": 0.0,
    "moveit_servo.incoming_command_timeout": 0.1,
    "moveit_servo.apply_twist_commands_about_ee_frame": True,
    "moveit_servo.cartesian_command_in_topic": "~/delta_twist_cmds",
    "moveit_servo.pose_command_in_topic": "/lbr/servo_node/pose_target_cmds",
    "moveit_servo.status_topic": "~/status",
    "moveit_servo.command_out_type": "trajectory_msgs/JointTrajectory",
    "moveit_servo.max_expected_latency": 0.1,
}


def settings_of(command="twist", use_sim_time=False, **values):
    values = SETTINGS | {k if k == "use_sim_time" else f"moveit_servo.{k}": v for k, v in values.items()}
    topic = {"twist": "delta_twist_cmds", "pose": "pose_target_cmds"}[command]
    return read_settings(values, "/lbr/servo_node", command, f"/lbr/servo_node/{topic}", use_sim_time)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"command_in_type": "unitless"},
            "servo_units: moveit_servo.command_in_type of /lbr/servo_node is unitless, twists are sent in speed_units",
        ),
        (
            {"apply_twist_commands_about_ee_frame": False},
            "servo_settings: moveit_servo.apply_twist_commands_about_ee_frame of /lbr/servo_node is false, twists are "
            "sent about the end effector",
        ),
        (
            {"cartesian_command_in_topic": "/twists"},
            "servo_settings: moveit_servo.cartesian_command_in_topic of /lbr/servo_node is /twists, the controller's "
            "is /lbr/servo_node/delta_twist_cmds",
        ),
        (
            {"status_topic": "~/state"},
            "servo_settings: moveit_servo.status_topic of /lbr/servo_node is /lbr/servo_node/state, the controller's "
            "is /lbr/servo_node/status",
        ),
        ({"use_sim_time": True}, "servo_settings: use_sim_time of /lbr/servo_node is false, of the controller true"),
        (
            {"incoming_command_timeout": 5.0},
            "servo_settings: moveit_servo.incoming_command_timeout of /lbr/servo_node is 5 s, expected 0.05 ... 1 s",
        ),
        (
            {"scale.linear": None},
            "servo_settings: /lbr/servo_node has no parameter moveit_servo.scale.linear: "
            "is it MoveIt Servo of ROS 2 Jazzy?",
        ),
    ],
)
def test_a_servo_that_would_take_our_commands_for_something_else_is_refused(values, sentence):
    with pytest.raises(AmRosError) as error:
        settings_of(**values)
    assert str(error.value) == sentence


def test_servo_tells_how_fast_it_goes_and_how_late():
    assert settings_of() == ServoSettings(0.4, math.inf, 0.1)
    assert settings_of(command_out_type="std_msgs/Float64MultiArray").latency_s == 0.0


def test_poses_need_no_units():
    assert settings_of("pose", command_in_type="unitless", apply_twist_commands_about_ee_frame=False).speed_m_s == 0.4
    with pytest.raises(AmRosError, match="use_sim_time of /lbr/servo_node is false, of the controller true"):
        settings_of("pose", use_sim_time=True)

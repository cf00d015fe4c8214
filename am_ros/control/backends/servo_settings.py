"""Parameters of MoveIt Servo that decide what a command means to it: asked for once, and what does not fit is named."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from am_ros.errors import AmRosError

PREFIX = "moveit_servo."
TOPICS = {"twist": "cartesian_command_in_topic", "pose": "pose_command_in_topic"}
# All are declared by Servo in every release for ROS 2 Jazzy (2.12.0 ... 2.12.4: its config/servo_parameters.yaml).
NAMES = (
    "use_sim_time",
    *(
        PREFIX + name
        for name in (
            "command_in_type", "scale.linear", "scale.rotational", "incoming_command_timeout",
            "apply_twist_commands_about_ee_frame", *TOPICS.values(), "status_topic", "command_out_type",
            "max_expected_latency",
        )
    ),
)  # fmt: skip
# Commands come each 10 ms; five may be lost. And so long Servo goes on with the last one if the controller dies.
TIMEOUT_S = (0.05, 1.0)


@dataclass(frozen=True)
class ServoSettings:
    """What Servo does with a command."""

    speed_m_s: float = math.inf  # of its tip, to which it cuts what it is sent; inf: it does not
    turn_rad_s: float = math.inf
    latency_s: float = 0.0  # so much later, by the stamps of its trajectories, the arm does what it is told


def read_settings(
    values: Mapping[str, Any], node: str, command: str, topic: str, use_sim_time: bool
) -> ServoSettings:
    """Servo's values of NAMES -> what is to be kept to; `topic` is the full name of what `command` is sent on.

    Raises AmRosError "servo_units: ..." or "servo_settings: ...".
    """
    missing = [name for name in NAMES if values.get(name) is None]
    if missing:
        raise AmRosError(f"servo_settings: {node} has no parameter {missing[0]}: is it MoveIt Servo of ROS 2 Jazzy?")

    def setting(name: str) -> Any:
        return values[PREFIX + name]

    if command == "twist":  # poses are metres whatever the units
        if setting("command_in_type") != "speed_units":
            raise AmRosError(
                f"servo_units: {PREFIX}command_in_type of {node} is {setting('command_in_type')}, "
                "twists are sent in speed_units"
            )
        if not setting("apply_twist_commands_about_ee_frame"):
            raise AmRosError(
                f"servo_settings: {PREFIX}apply_twist_commands_about_ee_frame of {node} is false, twists are sent "
                "about the end effector"
            )
    for name, ours in ((TOPICS[command], topic), ("status_topic", f"{node}/status")):
        theirs = setting(name).replace("~", node, 1)
        if theirs != ours:
            raise AmRosError(f"servo_settings: {PREFIX}{name} of {node} is {theirs}, the controller's is {ours}")
    if values["use_sim_time"] != use_sim_time:
        # Servo would drop all commands as too old, or never stop by itself.
        theirs, ours = (str(value).lower() for value in (values["use_sim_time"], use_sim_time))
        raise AmRosError(f"servo_settings: use_sim_time of {node} is {theirs}, of the controller {ours}")
    timeout_s = setting("incoming_command_timeout")
    if not TIMEOUT_S[0] <= timeout_s <= TIMEOUT_S[1]:
        raise AmRosError(
            f"servo_settings: {PREFIX}incoming_command_timeout of {node} is {timeout_s:g} s, expected "
            f"{TIMEOUT_S[0]:g} ... {TIMEOUT_S[1]:g} s"
        )
    stamped = setting("command_out_type") == "trajectory_msgs/JointTrajectory"
    latency_s = setting("max_expected_latency") if stamped else 0.0
    return ServoSettings(setting("scale.linear") or math.inf, setting("scale.rotational") or math.inf, latency_s)

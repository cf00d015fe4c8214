"""The cell for RViz, Foxglove and other programs: `robot_description`, and with it TF where that can be had here."""

import importlib
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import yaml
from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from geometry_msgs.msg import TransformStamped
from std_msgs.msg import String

from am_ros import topics
from am_ros.cell.processes import die_with_parent
from am_ros.configuration import parameter
from am_ros.control.frames import fixed_pose, quaternion
from am_ros.control.robot import MODELS, robot_description, robot_model, with_joint_names
from am_ros.ros.node.clocks import steady_timer
from am_ros.ros.node.common import LATCHED_QOS

STATE_PUBLISHER = "robot_state_publisher"
LOOK_S = 2.0
END_S = 2.0  # for robot_state_publisher to end; then it is killed


@dataclass(frozen=True)
class DescriptionConfig:
    """What is described. The controller's parameters of these names describe the same arm."""

    robot_model: str = parameter("iiwa14", "which of our own robot descriptions", choices=MODELS)
    robot_description: str = parameter("", "URDF text of the real cell; empty: our own description")
    joint_names: tuple[str, ...] = parameter(
        tuple(f"joint_a{i}" for i in range(1, 8)), "our description: A1 ... A7 as joint_states names them"
    )
    flange_extension_m: float = parameter(0.0, "our description: a media flange [m]", range=(0.0, 0.2))
    tool_length_m: float = parameter(
        0.14, "our description: from the plane that the gripper is mounted on to the tcp [m]", range=(0.12, 0.4)
    )
    camera_xyz: str = parameter(
        "", "our description: where the camera stands in base_link, three numbers [m]; empty: not known, no such frame"
    )
    camera_rpy: str = parameter("", "its roll, pitch and yaw; x of camera_link looks at the workspace [rad]")
    base_frame: str = parameter("base_link", "frame that the camera's is told in, where TF has no other publisher")
    camera_frame: str = parameter("camera_optical_frame", "frame of the images")


def described(config: DescriptionConfig) -> str:
    """URDF text; raises AmRosError if it cannot be made of these parameters."""
    if config.robot_description:
        return config.robot_description
    urdf = robot_description(
        config.robot_model, camera_xyz=config.camera_xyz, camera_rpy=config.camera_rpy,
        flange_extension_m=config.flange_extension_m, tool_length_m=config.tool_length_m,
        camera=bool(config.camera_xyz),
    )  # fmt: skip
    ours = robot_model(config.robot_model).joint_names
    return urdf if config.joint_names == ours else with_joint_names(urdf, ours, config.joint_names)


class Description:
    """Publishes for a node, as long as it lives: the text, latched; TF by robot_state_publisher where it is installed.

    Where it is not, the camera's frame alone, if tf2_msgs is there: the wheels of ROS have neither.
    """

    def __init__(self, node, config: DescriptionConfig):
        urdf = described(config)
        self._node = node
        self._publisher = node.create_publisher(String, "robot_description", LATCHED_QOS)
        self._publisher.publish(String(data=urdf))
        self._process = self._start_state_publisher(urdf)
        pose = None if self._process else fixed_pose(urdf, config.camera_frame, config.base_frame)
        self._transforms = None if pose is None else publish_static(node, config, pose)

    def close(self) -> None:
        """End robot_state_publisher."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()

    def _start_state_publisher(self, urdf: str) -> subprocess.Popen | None:
        try:
            folder = Path(get_package_prefix(STATE_PUBLISHER)) / "lib" / STATE_PUBLISHER
        except PackageNotFoundError:
            return None
        with tempfile.NamedTemporaryFile("w", suffix=".yaml", prefix="am_ros_", delete=False) as file:
            yaml.safe_dump({"/**": {"ros__parameters": {"robot_description": urdf}}}, file)
        self._file = Path(file.name)
        command = state_publisher_command(
            folder / STATE_PUBLISHER, self._file, self._node.get_namespace(),
            self._node.resolve_topic_name(topics.JOINT_STATES), sys.argv,
        )  # fmt: skip
        process = subprocess.Popen(command, preexec_fn=partial(die_with_parent, os.getpid()))
        self._timer = steady_timer(self._node, LOOK_S, self._look)
        return process

    def _look(self) -> None:
        """It has read its file by now; and if it ended, that is told once: the cell goes on without TF."""
        self._file.unlink(missing_ok=True)
        if self._process is not None and self._process.poll() is not None:
            self._node.get_logger().warning(f"{STATE_PUBLISHER} ended with code {self._process.returncode}: no TF")
            self._timer.cancel()


def state_publisher_command(executable: Path, file: Path, namespace: str, joint_states: str, own: list[str]) -> list:
    """Its command line; `own`: that of this process, whose enclave it shares.

    It would publish robot_description too: that is ours to do, once.
    """
    command = [str(executable), "--ros-args", "--params-file", str(file), "-r", f"joint_states:={joint_states}"]
    command += ["-r", f"robot_description:={STATE_PUBLISHER}/robot_description"]
    if namespace.strip("/"):
        command += ["-r", f"__ns:={namespace}"]
    if "--enclave" in own:
        command += ["--enclave", own[own.index("--enclave") + 1]]
    return command


def publish_static(node, config: DescriptionConfig, pose: np.ndarray):
    """The camera's frame on /tf_static, latched; returns the publisher, or None without tf2_msgs."""
    try:
        message_type = importlib.import_module("tf2_msgs.msg").TFMessage
    except ImportError:
        return None
    transform = TransformStamped(child_frame_id=config.camera_frame)
    transform.header.frame_id = config.base_frame
    transform.header.stamp = node.get_clock().now().to_msg()
    t, r = transform.transform.translation, transform.transform.rotation
    t.x, t.y, t.z = pose[:3, 3].tolist()
    r.x, r.y, r.z, r.w = quaternion(pose)
    publisher = node.create_publisher(message_type, "/tf_static", LATCHED_QOS)
    publisher.publish(message_type(transforms=[transform]))
    return publisher

"""The backend that the controller's parameter names."""

from am_ros import topics
from am_ros.control.backends import Backend
from am_ros.control.backends.moveit import MoveItBackend
from am_ros.control.backends.trajectory import TrajectoryBackend
from am_ros.control.cartesian import CartesianStepper
from am_ros.control.controller import ControllerConfig
from am_ros.control.joint_states import JointStateBuffer
from am_ros.ros.arm.commands import ArmCommands
from am_ros.ros.arm.servo import ServoBackend


def make_backend(
    node, config: ControllerConfig, stepper: CartesianStepper, arm: ArmCommands, state: JointStateBuffer
) -> Backend:
    """Raises AmRosError if what the backend needs is missing."""
    if config.backend.backend == "servo":
        return ServoBackend(node, config, stepper, state)
    if config.backend.backend == "moveit":
        sim_time = node.get_parameter("use_sim_time").value
        backend = MoveItBackend(config, stepper, arm.follow, node.resolve_topic_name(topics.JOINT_STATES), sim_time)
        node.get_logger().info(f"planner is ready: {backend.name}")
        return backend
    return TrajectoryBackend(stepper, config.tolerance, config.joint_names, arm.follow)

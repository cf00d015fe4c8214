"""Configuration of the Cartesian controller: the robot and its names, limits, tolerances, what is watched."""

from dataclasses import dataclass, field

from am_ros.action import ActionSpace
from am_ros.configuration import parameter
from am_ros.control.cartesian import CartesianStepper
from am_ros.control.collision import CollisionModel
from am_ros.control.command import CommandConfig
from am_ros.control.guard import GuardConfig, TrajectoryGuard
from am_ros.control.limits import MotionLimits
from am_ros.control.motion import ArrivalTolerance
from am_ros.control.robot import MODELS, robot_description, robot_model
from am_ros.control.watch import WatchConfig
from am_ros.errors import AmRosError


@dataclass(frozen=True)
class ControllerConfig:
    """Parameters of the Cartesian controller; those of the limits and tolerances stand beside them."""

    robot_model: str = parameter("iiwa14", "which of our own robot descriptions", choices=MODELS)
    robot_description: str = parameter("", "URDF text of the real cell; empty: our own description")
    joint_names: tuple[str, ...] = parameter(
        tuple(f"joint_a{i}" for i in range(1, 8)), "A1 ... A7 as joint_states and joint_trajectory name them"
    )
    finger_names: tuple[str, ...] = parameter(
        ("finger_left_joint", "finger_right_joint"), "finger joints as joint_states names them"
    )
    finger_stroke_m: float = parameter(0.045, "position of a finger joint when fully open [m]", range=(1e-4, 1.0))
    base_frame: str = parameter("base_link", "frame_id of ee_pose: foot of the robot, z = 0 is the table plane")
    tip_frame: str = parameter("tcp", "frame between the finger tips, in the robot description")
    joint_state_timeout_s: float = parameter(0.5, "joint states older than this are not acted on [s]", range=(0.02, 10))
    ee_pose_rate_hz: float = parameter(50.0, "ee_pose at most so often [Hz]", range=(1.0, 1000.0))
    autostart: bool = parameter(True, "configure and activate at start; false: wait for lifecycle transitions")
    limits: MotionLimits = field(default_factory=MotionLimits)
    action_space: ActionSpace = field(default_factory=ActionSpace)
    tolerance: ArrivalTolerance = field(default_factory=ArrivalTolerance)
    guard: GuardConfig = field(default_factory=GuardConfig)
    watch: WatchConfig = field(default_factory=WatchConfig)
    command: CommandConfig = field(default_factory=CommandConfig)


def make_stepper(config: ControllerConfig) -> CartesianStepper:
    """The planner for the configured robot; raises AmRosError if names and description do not fit."""
    joints = len(robot_model(config.robot_model).joint_names)
    if len(config.joint_names) != joints:
        raise AmRosError(f"parameter joint_names: expected {joints} names, got {len(config.joint_names)}")
    if not config.finger_names:
        raise AmRosError("parameter finger_names: expected at least one name")
    return CartesianStepper.for_model(
        config.robot_model,
        config.limits,
        config.action_space,
        urdf_text=config.robot_description,
        joint_names=config.joint_names,
        tip=config.tip_frame,
    )


def make_guard(config: ControllerConfig, stepper: CartesianStepper) -> TrajectoryGuard:
    """The last look at what the stepper plans; raises AmRosError if the description's shapes cannot be read."""
    collisions = None
    if config.guard.collision.collision_check:
        text = config.robot_description or robot_description(config.robot_model)
        collisions = CollisionModel(text, stepper.kinematics.joint_names, config.guard.collision)
    return TrajectoryGuard(stepper.kinematics, config.limits, config.action_space, config.guard, collisions)

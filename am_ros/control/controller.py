"""Configuration of the Cartesian controller: the robot and its names, limits, tolerances, what is watched."""

from dataclasses import dataclass, field

from am_ros.action import ActionSpace
from am_ros.configuration import parameter
from am_ros.control.backends import BackendConfig
from am_ros.control.cartesian import MAX_POSTURE_STEP_RAD, CartesianStepper
from am_ros.control.collision import CollisionModel
from am_ros.control.command import CommandConfig
from am_ros.control.gripper import GripperConfig
from am_ros.control.guard import GuardConfig, TrajectoryGuard
from am_ros.control.kinematics import Kinematics
from am_ros.control.limits import MotionLimits
from am_ros.control.motion import ArrivalTolerance
from am_ros.control.robot import MODELS, robot_description, robot_model
from am_ros.control.tool import check_tool
from am_ros.control.watch import WatchConfig
from am_ros.episode import FINGER_CLOSED, FINGER_OPEN, FINGER_RANGE, check_fingers
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
    finger_open: float = parameter(0.045, FINGER_OPEN, range=FINGER_RANGE)
    finger_closed: float = parameter(0.0, FINGER_CLOSED, range=FINGER_RANGE)
    base_frame: str = parameter("base_link", "frame_id of ee_pose: foot of the robot, z = 0 is the table plane")
    tip_frame: str = parameter("tcp", "frame between the finger tips, in the robot description")
    flange_extension_m: float = parameter(
        0.0, "our description: a media flange, beyond the 0.126 m from wrist to bare flange [m]", range=(0.0, 0.2)
    )
    tool_length_m: float = parameter(
        0.14, "our description: from the plane that the gripper is mounted on to the tcp [m]", range=(0.12, 0.4)
    )
    joint_state_timeout_s: float = parameter(0.5, "joint states older than this are not acted on [s]", range=(0.02, 10))
    ee_pose_rate_hz: float = parameter(50.0, "ee_pose at most so often [Hz]", range=(1.0, 1000.0))
    autostart: bool = parameter(True, "configure and activate at start; false: wait for lifecycle transitions")
    backend: BackendConfig = field(default_factory=BackendConfig)
    gripper: GripperConfig = field(default_factory=GripperConfig)
    limits: MotionLimits = field(default_factory=MotionLimits)
    action_space: ActionSpace = field(default_factory=ActionSpace)
    tolerance: ArrivalTolerance = field(default_factory=ArrivalTolerance)
    guard: GuardConfig = field(default_factory=GuardConfig)
    watch: WatchConfig = field(default_factory=WatchConfig)
    command: CommandConfig = field(default_factory=CommandConfig)


def make_stepper(config: ControllerConfig) -> CartesianStepper:
    """The planner for the configured robot; raises AmRosError if names and description do not fit."""
    facts = robot_model(config.robot_model)
    if len(config.joint_names) != len(facts.joint_names):
        raise AmRosError(
            f"parameter joint_names: expected {len(facts.joint_names)} names, got {len(config.joint_names)}"
        )
    if not config.finger_names:
        raise AmRosError("parameter finger_names: expected at least one name")
    check_fingers(config.finger_open, config.finger_closed)
    # Our description has names of its own; the driver's are given to messages.
    names, tip = (config.joint_names, config.tip_frame) if config.robot_description else (facts.joint_names, "tcp")
    margin_rad = config.limits.joint_margin_rad
    kinematics = Kinematics(
        description(config), names, tip, facts.comfortable_rad, margin_rad, spoken_names=config.joint_names
    )
    if config.backend.backend != "trajectory":
        planner = config.backend.planner
        # The plane that the gripper is mounted on: in the cell's own description by its name, in ours the flange.
        mount = planner.planner_tip if config.robot_description else "flange"
        check_tool(kinematics, mount, planner.tip_to_tcp)
    # Servo resolves the redundancy in its own way: a reference that pulls the elbow back would only be left behind.
    posture_step_rad = 0.0 if config.backend.backend == "servo" else MAX_POSTURE_STEP_RAD
    return CartesianStepper(kinematics, config.limits, config.action_space, posture_step_rad)


def description(config: ControllerConfig) -> str:
    """URDF text of the configured robot: the cell's, or ours with the cell's flange and tool."""
    if config.robot_description:
        return config.robot_description
    return robot_description(
        config.robot_model, flange_extension_m=config.flange_extension_m, tool_length_m=config.tool_length_m
    )


def make_guard(config: ControllerConfig, stepper: CartesianStepper) -> TrajectoryGuard:
    """The last look at what the stepper plans; raises AmRosError if the description's shapes cannot be read."""
    collisions = None
    if config.guard.collision.collision_check:
        collisions = CollisionModel(description(config), stepper.kinematics.joint_names, config.guard.collision)
    return TrajectoryGuard(stepper.kinematics, config.limits, config.action_space, config.guard, collisions)

"""How the planner in a process of its own is started, asked and waited for (backend `moveit`)."""

import math
from dataclasses import dataclass

from am_ros.configuration import parameter

PLANNERS = ("moveit", "pinocchio")


@dataclass(frozen=True)
class PlannerConfig:
    """Names are those of the cell's MoveIt configuration; config/<stack>.yaml has them for each stack."""

    planner: str = parameter(
        "moveit", "what answers in the planner's process; pinocchio: our own, to try it without MoveIt",
        choices=PLANNERS,
    )  # fmt: skip
    planner_timeout_s: float = parameter(
        2.0, "a plan may take so long; then the planner's process is killed [s]", range=(0.05, 60.0)
    )
    planner_start_s: float = parameter(40.0, "the planner's process may take so long to start [s]", range=(0.5, 600.0))
    planner_group: str = parameter("arm", "MoveIt's planning group of the arm")
    planner_tip: str = parameter("lbr_link_ee", "last link of that group: the plane that the gripper is mounted on")
    # Our gripper is turned by half a turn about the flange's axis (urdf/gripper.xacro).
    tip_to_tcp: tuple[float, ...] = parameter(
        (0.0, 0.0, 0.14, 0.0, 0.0, math.pi), "the tcp in the frame of planner_tip: x, y, z [m], roll, pitch, yaw [rad]",
        range=(-4.0, 4.0),
    )  # fmt: skip
    planner_pipeline: str = parameter("pilz_industrial_motion_planner", "MoveIt's planning pipeline")
    planner_id: str = parameter("LIN", "planner of that pipeline; LIN: a straight line")
    moveit_package: str = parameter(
        "{model}_moveit_config", "package of the MoveIt configuration; {model} is robot_model"
    )
    moveit_robot: str = parameter("{model}", "robot name that the MoveIt configuration was made for")
    moveit_urdf: str = parameter("", "PACKAGE/path of the URDF or xacro; empty: as the package says")
    moveit_srdf: str = parameter("", "PACKAGE/path of the SRDF or xacro; empty: as the package says")
    moveit_joint_limits: str = parameter(
        "", "PACKAGE/path of MoveIt's joint limits; empty: config/joint_limits.yaml of moveit_package"
    )
    moveit_namespace: str = parameter(
        "", "namespace of move_group, whose planning scene the planner sees; empty: none"
    )

"""The cell's MoveIt configuration, as the parameters that MoveItCpp takes."""

import os
from importlib import import_module

from am_ros.control.controller import ControllerConfig
from am_ros.errors import AmRosError

FIRST_STATE_S = 10.0  # MoveIt waits so long for the first joint states


def moveit_parameters(config: ControllerConfig) -> dict:
    """Parameters for MoveItCpp: the cell's MoveIt configuration, and what is needed beside it.

    Raises AmRosError naming the package or file that is missing.
    """
    utils = required("moveit_configs_utils", "moveit_configs_utils", "ros-jazzy-moveit-configs-utils")
    planner, model = config.backend.planner, config.robot_model
    robot, package = (name.format(model=model) for name in (planner.moveit_robot, planner.moveit_package))
    try:
        builder = utils.MoveItConfigsBuilder(robot, package_name=package)
        if planner.moveit_urdf:
            builder = builder.robot_description(file_path=_shared(planner.moveit_urdf.format(model=model)))
        if planner.moveit_srdf:
            builder = builder.robot_description_semantic(file_path=_shared(planner.moveit_srdf.format(model=model)))
        if planner.moveit_joint_limits:
            builder = builder.joint_limits(file_path=_shared(planner.moveit_joint_limits.format(model=model)))
        values = builder.planning_pipelines(pipelines=[planner.planner_pipeline]).to_moveit_configs().to_dict()
    except Exception as error:  # files of others, read by xacro, yaml and more: whatever it is, it is said
        said = error.args[0] if isinstance(error, KeyError) and error.args else error
        raise AmRosError(f"parameter moveit_package: {package}: {said}") from None
    if "robot_description" not in values:
        raise AmRosError(f"parameter moveit_urdf: the URDF of {package} is not found")
    return values | {
        "planning_pipelines": {"pipeline_names": [planner.planner_pipeline]},
        "plan_request_params": {"planning_pipeline": planner.planner_pipeline, "planning_attempts": 1},
        "planning_scene_monitor_options": {
            "name": "planning_scene_monitor",
            "robot_description": "robot_description",
            "wait_for_initial_state_timeout": FIRST_STATE_S,
        },
        # It plans only: without a controller manager MoveIt neither waits for controllers nor can move the arm.
        "moveit_controller_manager": "",
    }


def namespace_of(config: ControllerConfig) -> str:
    """Of move_group: "", or "/..."."""
    name = config.backend.planner.moveit_namespace.strip("/")
    return f"/{name}" if name else ""


def required(name: str, what: str, package: str):
    """The module `name`; raises AmRosError that names the package `what` it comes with."""
    try:
        return import_module(name)
    except ImportError:
        raise AmRosError(f"{what} is not installed: apt install {package} (backend moveit)") from None


def _shared(path: str) -> str:
    """PACKAGE/path -> the file in the share folder of that package."""
    from ament_index_python.packages import get_package_share_directory

    package, _, rest = path.partition("/")
    return os.path.join(get_package_share_directory(package), rest)

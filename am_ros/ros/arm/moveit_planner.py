"""MoveIt behind the planner's wire (am_ros/control/backends/wire.py), as a process of its own.

Not run here: moveit_py comes with ROS from apt only. Names and arguments are those of its bindings in ROS 2 Jazzy.
"""

import os
import sys
from importlib import import_module

import numpy as np
from geometry_msgs.msg import PoseStamped

from am_ros.configuration import from_dict
from am_ros.control.backends.wire import PlanRequest, serve
from am_ros.control.controller import ControllerConfig
from am_ros.control.trajectory import JointTrajectory
from am_ros.errors import AmRosError

NODE = "am_ros_moveit"
IK_TIMEOUT_S = 0.1
SAME_TIME_S = 1e-3  # knots that are nearer than this only rounding keeps apart


class MoveItPlanner:
    """IK and validity against the planning scene first, so that a refusal says what is wrong; then the plan."""

    def __init__(self, config: ControllerConfig, joint_states: str):
        """Starts MoveIt with the cell's configuration, which listens to the topic `joint_states`.

        Raises AmRosError if it is not installed, or if it does not start.
        """
        self._config, self._planner, self._joint_states = config, config.backend.planner, joint_states
        self._planning = _module("moveit.planning", "moveit_py", "ros-jazzy-moveit-py")
        self._states = _module("moveit.core.robot_state", "moveit_py", "ros-jazzy-moveit-py")
        try:
            self._moveit = self._planning.MoveItPy(node_name=NODE, config_dict=self._parameters())
        except RuntimeError as error:
            raise AmRosError(f"moveit: {error}") from None
        self._model = self._moveit.get_robot_model()
        self._component = self._moveit.get_planning_component(self._planner.planner_group)
        self._scene_monitor = self._moveit.get_planning_scene_monitor()

    def plan(self, request: PlanRequest) -> JointTrajectory:
        """Raises AmRosError "unreachable", "scene_collision" or "planning_failed"."""
        group, tip = self._planner.planner_group, self._planner.planner_tip
        target = self._pose(request)
        start = self._state(request.q)
        goal = self._state(request.q)
        if not goal.set_from_ik(group, target.pose, tip, IK_TIMEOUT_S):
            raise AmRosError("unreachable: MoveIt finds no joint angles for the goal")
        goal.update()
        with self._scene_monitor.read_only() as scene:
            for state, which in ((start, "where the arm is"), (goal, "the goal")):
                if not scene.is_state_valid(state, group):
                    raise AmRosError(f"scene_collision: {which} is not valid in MoveIt's planning scene")
        self._component.set_start_state(robot_state=start)
        self._component.set_goal_state(pose_stamped_msg=target, pose_link=tip)
        answer = self._component.plan(single_plan_parameters=self._how(request))
        if not answer:
            code = getattr(answer.error_code, "val", "unknown")
            raise AmRosError(f"planning_failed: {self._planner.planner_id} found no way (MoveIt's error code {code})")
        return from_message(answer.trajectory.get_robot_trajectory_msg().joint_trajectory, self._config.joint_names)

    def _how(self, request: PlanRequest):
        how = self._planning.PlanRequestParameters(self._moveit, "")
        how.planning_pipeline, how.planner_id = self._planner.planner_pipeline, self._planner.planner_id
        how.planning_attempts, how.planning_time = 1, 0.8 * request.timeout_s
        how.max_velocity_scaling_factor = how.max_acceleration_scaling_factor = request.velocity_scale
        return how

    def _state(self, q):
        state = self._states.RobotState(self._model)
        state.joint_positions = dict(zip(self._config.joint_names, q, strict=True))
        state.update()
        return state

    def _pose(self, request: PlanRequest) -> PoseStamped:
        target = PoseStamped()
        target.header.frame_id = self._config.base_frame
        position, turn = target.pose.position, target.pose.orientation
        position.x, position.y, position.z = request.position_m
        turn.x, turn.y, turn.z, turn.w = request.quaternion
        return target

    def _parameters(self) -> dict:
        """Those of the cell's MoveIt configuration, and what MoveItCpp needs beside them."""
        utils = _module("moveit_configs_utils", "moveit_configs_utils", "ros-jazzy-moveit-configs-utils")
        planner, model = self._planner, self._config.robot_model
        robot, package = (name.format(model=model) for name in (planner.moveit_robot, planner.moveit_package))
        try:
            builder = utils.MoveItConfigsBuilder(robot, package_name=package)
            if planner.moveit_urdf:
                builder = builder.robot_description(file_path=_shared(planner.moveit_urdf.format(model=model)))
            if planner.moveit_srdf:
                builder = builder.robot_description_semantic(file_path=_shared(planner.moveit_srdf.format(model=model)))
            values = builder.planning_pipelines(pipelines=[planner.planner_pipeline]).to_moveit_configs().to_dict()
        except (LookupError, OSError, RuntimeError) as error:
            raise AmRosError(f"parameter moveit_package: {package}: {error}") from None
        values["planning_pipelines"] = {"pipeline_names": [planner.planner_pipeline]}
        values["plan_request_params"] = {"planning_pipeline": planner.planner_pipeline, "planning_attempts": 1}
        values["planning_scene_monitor_options"] = {
            "name": "planning_scene_monitor",
            "robot_description": "robot_description",
            "joint_state_topic": self._joint_states,
            "attached_collision_object_topic": "/attached_collision_object",
            "publish_planning_scene_topic": "/planning_scene",
            "monitored_planning_scene_topic": f"/{NODE}/monitored_planning_scene",
            "wait_for_initial_state_timeout": 10.0,
        }
        return values


def from_message(message, joint_names) -> JointTrajectory:
    """trajectory_msgs/JointTrajectory -> JointTrajectory, joints in the order of `joint_names`.

    Positions and times are the planner's, velocities those of the smoothest way through them from rest to rest: Pilz's
    are differences to the knot before, half a sample late, and a controller that believes them jerks.
    Raises AmRosError "planner_joints: ..." if a joint is missing, "planning_failed: ..." without two knots.
    """
    missing = [name for name in joint_names if name not in message.joint_names]
    if missing:
        raise AmRosError(f"planner_joints: the plan lacks {', '.join(missing)}")
    if len(message.points) < 2:
        raise AmRosError(f"planning_failed: the plan has {len(message.points)} points")
    order = [message.joint_names.index(name) for name in joint_names]
    times = np.array([p.time_from_start.sec + p.time_from_start.nanosec * 1e-9 for p in message.points])
    positions = np.array([p.positions for p in message.points])[:, order]
    keep = np.append(np.diff(times) >= SAME_TIME_S, True)
    keep[0] = True
    times, positions = times[keep], positions[keep]
    return JointTrajectory(times, positions, smooth_velocities(times, positions))


def smooth_velocities(times: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Velocities [K, joints] at the knots of the clamped cubic spline through positions [K, joints], at rest at both
    ends: no jump of the acceleration."""
    h = np.diff(times)
    slopes = np.diff(positions, axis=0) / h[:, None]
    matrix, right = np.eye(len(times)), np.zeros_like(positions)
    for k in range(1, len(times) - 1):
        matrix[k, k - 1 : k + 2] = 1 / h[k - 1], 2 / h[k - 1] + 2 / h[k], 1 / h[k]
        right[k] = 3 * (slopes[k - 1] / h[k - 1] + slopes[k] / h[k])
    velocities = np.linalg.solve(matrix, right)
    velocities[[0, -1]] = 0.0  # to the last bit
    return velocities


def _module(name: str, what: str, package: str):
    try:
        return import_module(name)
    except ImportError:
        raise AmRosError(f"{what} is not installed: apt install {package} (backend moveit)") from None


def _shared(path: str) -> str:
    """PACKAGE/path -> the file in the share folder of that package."""
    from ament_index_python.packages import get_package_share_directory

    package, _, rest = path.partition("/")
    return os.path.join(get_package_share_directory(package), rest)


def _make(values: dict) -> tuple:
    config = from_dict(ControllerConfig, values)
    planner = config.backend.planner
    name = f"MoveIt, {planner.planner_pipeline} {planner.planner_id}"
    return name, MoveItPlanner(config, joint_states=sys.argv[1]).plan


if __name__ == "__main__":
    code = serve(_make)
    sys.stdout.flush()
    os._exit(code)  # destroying a MoveItPy may end in a segmentation fault, and all is said

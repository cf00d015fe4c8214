"""MoveIt behind the planner's wire (am_ros/control/backends/wire.py), as a process of its own.

Names, arguments and topics are those of moveit_py 2.12.4, of ROS 2 Jazzy; docs/act.md says in which of its files.
"""

import copy
import os
import signal
import sys
import tempfile

import numpy as np
import pinocchio as pin
import yaml
from geometry_msgs.msg import Pose, PoseStamped

from am_ros.configuration import from_dict
from am_ros.control.backends.wire import PlanRequest, serve
from am_ros.control.controller import ControllerConfig
from am_ros.control.trajectory import JointTrajectory
from am_ros.errors import AmRosError
from am_ros.ros.arm.moveit_parameters import FIRST_STATE_S, moveit_parameters, namespace_of, required

NODE = "am_ros_moveit"
IK_TIMEOUT_S = 0.1
SAME_TIME_S = 1e-3  # knots that are nearer than this only rounding keeps apart
# Values of moveit_msgs/MoveItErrorCodes that say what is wrong; all others are "planning_failed".
REFUSALS = {
    -31: "unreachable: MoveIt finds no joint angles for the goal",
    -10: "scene_collision: where the arm is collides in MoveIt's planning scene",
    -12: "scene_collision: the goal collides in MoveIt's planning scene",
    -2: "scene_collision: the way is not valid in MoveIt's planning scene",
}
# What the bindings raise for an exception of C++.
ERRORS = (RuntimeError, ValueError, IndexError)


class MoveItPlanner:
    """IK and validity against the planning scene first, so that a refusal says what is wrong; then the plan."""

    def __init__(self, config: ControllerConfig, joint_states: str, use_sim_time: bool = False):
        """Starts MoveIt with the cell's configuration, which listens to the topic `joint_states`.

        Raises AmRosError if it is not installed, does not start, or knows other names than the configuration.
        """
        self._config, self._planner = config, config.backend.planner
        self._planning = required("moveit.planning", "moveit_py", "ros-jazzy-moveit-py")
        values = moveit_parameters(config) | {"use_sim_time": use_sim_time}
        self._moveit = self._start(values, joint_states)
        # MoveIt's handlers would only end its context: a planner that is told to end shall end.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        self._scene_monitor = self._moveit.get_planning_scene_monitor()
        self._check_names(self._moveit.get_robot_model())
        self._component = self._moveit.get_planning_component(self._planner.planner_group)
        scene = f"{namespace_of(config)}/get_planning_scene"
        if not self._scene_monitor.request_planning_scene_state(scene):
            print(f"moveit: nobody offers {scene}: objects are seen from now on only", file=sys.stderr)

    def plan(self, request: PlanRequest) -> JointTrajectory:
        """Raises AmRosError "unreachable", "scene_collision" or "planning_failed"."""
        try:
            return self._plan(request)
        except ERRORS as error:
            raise AmRosError(f"planning_failed: MoveIt: {error}") from None

    def _plan(self, request: PlanRequest) -> JointTrajectory:
        group, tip = self._planner.planner_group, self._planner.planner_tip
        with self._scene_monitor.read_only() as scene:
            start, goal = self._state(scene, request.q), self._state(scene, request.q)
            # IK takes poses in the model's root frame, whatever the robot stands on.
            foot = pin.SE3(np.asarray(goal.get_frame_transform(self._config.base_frame)))
            tip_pose = pin.XYZQUATToSE3(np.array([*request.position_m, *request.quaternion]))
            if not goal.set_from_ik(group, pose_message(foot * tip_pose), tip, IK_TIMEOUT_S):
                raise AmRosError(REFUSALS[-31])
            goal.update()
            for state, which in ((start, "where the arm is"), (goal, "the goal")):
                if not scene.is_state_valid(state, group):
                    raise AmRosError(f"scene_collision: {which} is not valid in MoveIt's planning scene")
        self._component.set_start_state(robot_state=start)
        target = PoseStamped(pose=pose_message(tip_pose))
        target.header.frame_id = self._config.base_frame
        self._component.set_goal_state(pose_stamped_msg=target, pose_link=tip)
        answer = self._component.plan(single_plan_parameters=self._how(request))
        if not answer:
            raise AmRosError(refusal(answer.error_code, self._planner.planner_id))
        return from_message(answer.trajectory.get_robot_trajectory_msg().joint_trajectory, self._config.joint_names)

    def _how(self, request: PlanRequest):
        how = self._planning.PlanRequestParameters(self._moveit, "")
        how.planning_pipeline, how.planner_id = self._planner.planner_pipeline, self._planner.planner_id
        how.planning_attempts, how.planning_time = 1, 0.8 * request.timeout_s
        how.max_velocity_scaling_factor = how.max_acceleration_scaling_factor = request.velocity_scale
        return how

    def _state(self, scene, q):
        """The scene's state with the arm at q: other joints, and objects that the gripper holds, are the scene's."""
        state = copy.copy(scene.current_state)
        state.joint_positions = dict(zip(self._config.joint_names, q, strict=True))
        state.update()
        return state

    def _start(self, values: dict, joint_states: str):
        """MoveItPy with those parameters."""
        namespace = namespace_of(self._config)
        topics = {
            "joint_states": joint_states,
            # It listens to what move_group makes of its scene. What it publishes of its own is for nobody.
            "planning_scene": f"{namespace}/monitored_planning_scene",
            "monitored_planning_scene": f"/{NODE}/monitored_planning_scene",
        }
        # A file of ours, since MoveItPy's own is for a node without namespace, and stays behind.
        with tempfile.NamedTemporaryFile("w", prefix="am_ros_moveit_", suffix=".yaml") as file:
            yaml.safe_dump({"/**": {"ros__parameters": values}}, file)
            file.flush()
            try:
                return self._planning.MoveItPy(
                    node_name=NODE, name_space=namespace, launch_params_filepaths=[file.name],
                    provide_planning_service=False, remappings=topics,
                )  # fmt: skip
            except TypeError:
                raise AmRosError(
                    "moveit_py is older than 2.12.3, which cannot be told the driver's topics: "
                    "apt install ros-jazzy-moveit-py"
                ) from None
            except ERRORS as error:
                raise AmRosError(
                    f"moveit: {error}: its log above says why (no state of all of the model's joints on {joint_states} "
                    f"within {FIRST_STATE_S:g} s?)"
                ) from None

    def _check_names(self, model) -> None:
        """Raise AmRosError if group, joints, tip or base frame are not those of MoveIt's model."""
        name, tip, frame = self._planner.planner_group, self._planner.planner_tip, self._config.base_frame
        if not model.has_joint_model_group(name):
            groups = ", ".join(model.joint_model_group_names)
            raise AmRosError(f"parameter planner_group: MoveIt's {model.name} has no group {name!r}, but {groups}")
        group = model.get_joint_model_group(name)
        if set(group.active_joint_model_names) != set(self._config.joint_names):
            theirs, ours = ", ".join(group.active_joint_model_names), ", ".join(self._config.joint_names)
            raise AmRosError(f"parameter planner_group: joints of {name} are {theirs}, joint_names has {ours}")
        if tip not in group.link_model_names:
            links = ", ".join(group.link_model_names)
            raise AmRosError(f"parameter planner_tip: MoveIt's group {name} has no link {tip!r}, but {links}")
        with self._scene_monitor.read_only() as scene:
            if not scene.knows_frame_transform(frame):
                raise AmRosError(f"parameter base_frame: MoveIt's {model.name} has no frame {frame!r}")


def refusal(code, planner_id: str) -> str:
    """moveit_msgs/MoveItErrorCodes of a plan that failed -> the sentence."""
    names = (name for name in dir(type(code)) if name.isupper() and getattr(code, name) == code.val)
    said = ": ".join(filter(None, (next(names, str(code.val)), getattr(code, "message", ""))))
    return f"{REFUSALS.get(code.val, f'planning_failed: {planner_id} found no way')} (MoveIt: {said})"


def pose_message(pose: pin.SE3) -> Pose:
    """The same as a message."""
    message = Pose()
    position, turn = message.position, message.orientation
    position.x, position.y, position.z, turn.x, turn.y, turn.z, turn.w = pin.SE3ToXYZQUAT(pose).tolist()
    return message


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


def _make(values: dict) -> tuple:
    config = from_dict(ControllerConfig, values)
    planner = config.backend.planner
    name = f"MoveIt, {planner.planner_pipeline} {planner.planner_id}"
    return name, MoveItPlanner(config, sys.argv[1], "use_sim_time" in sys.argv[2:]).plan


if __name__ == "__main__":
    code = serve(_make)
    sys.stdout.flush()
    os._exit(code)  # destroying a MoveItPy may end in a segmentation fault, and all is said

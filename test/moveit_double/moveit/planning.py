"""MoveItPy and what it hands out, as far as they are called."""

import copy
import os
import signal
from types import SimpleNamespace

import numpy as np
import pinocchio as pin
import yaml
from builtin_interfaces.msg import Duration
from pilz import linear
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from am_ros.control.backends.planner_config import PlannerConfig
from am_ros.control.cartesian import CartesianStepper
from am_ros.control.robot import robot_model
from am_ros.control.tool import tcp_in_tip
from am_ros.errors import AmRosError
from moveit.core.robot_state import RobotState, se3

CEILING_M = 0.3  # the planning scene: a lamp hangs above
FAULT = os.environ.get("MOVEIT_DOUBLE", "")
# Topics of PlanningSceneMonitor: constants, which only a remapping changes.
TOPICS = ("joint_states", "planning_scene", "monitored_planning_scene", "attached_collision_object")


class Model:
    """The robot, by our description, on a pedestal in the world; its gripper has a joint that we know nothing of."""

    name = "iiwa14"

    def __init__(self):
        self.stepper = CartesianStepper.for_model()
        self.names = robot_model().joint_names
        self.variables = [*self.names, "tool_changer"]
        self.group, self.tip = PlannerConfig.planner_group, PlannerConfig.planner_tip
        pedestal = pin.SE3(pin.rpy.rpyToMatrix(0.0, 0.0, 0.7), np.array([0.1, -0.2, 0.5]))
        self.frames = {"world": pin.SE3.Identity(), "base_link": pedestal}
        self.joint_model_group_names = ["arm", "hand"]

    def has_joint_model_group(self, joint_model_group_name: str) -> bool:
        return joint_model_group_name in self.joint_model_group_names

    def get_joint_model_group(self, joint_model_group_name: str):
        names = self.names if joint_model_group_name == "arm" else ["tool_changer"]
        return SimpleNamespace(active_joint_model_names=list(names), link_model_names=["lbr_link_0", self.tip])

    def tip_at(self, q) -> pin.SE3:
        position, rotation = self.stepper.kinematics.forward(q)
        return pin.SE3(rotation, position) * tcp_in_tip(PlannerConfig.tip_to_tcp).inverse()

    def solve(self, q, tip):
        tcp = tip * tcp_in_tip(PlannerConfig.tip_to_tcp)
        try:
            return self.stepper.kinematics.inverse_rotation(tcp.translation, tcp.rotation, np.array(q))
        except AmRosError:
            return None


class PlanRequestParameters:
    """What to plan with; the names of its fields are those of the bindings, and there are no others."""

    __slots__ = (
        "max_acceleration_scaling_factor", "max_velocity_scaling_factor", "planner_id", "planning_attempts",
        "planning_pipeline", "planning_time",
    )  # fmt: skip

    def __init__(self, moveit_cpp, ns: str, /):
        assert isinstance(moveit_cpp, MoveItPy)


class Scene:
    """A planning scene, to be had while it is locked for reading."""

    def __init__(self, model):
        self._model, self.current_state = model, RobotState(model)
        self.current_state.joint_positions = {"tool_changer": 0.3}
        self.current_state.attached.append("block")

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        return None

    def knows_frame_transform(self, frame_id: str) -> bool:
        return frame_id in self._model.frames

    def is_state_valid(self, robot_state, joint_model_group_name: str, verbose: bool = False) -> bool:
        assert not robot_state.dirty and self._model.has_joint_model_group(joint_model_group_name)
        whole = robot_state.joint_positions["tool_changer"] == 0.3 and robot_state.attached == ["block"]
        return whole and bool(self._model.stepper.kinematics.forward(robot_state.arm())[0][2] < CEILING_M)


class PlanningComponent:
    """Plans as Pilz does in the pipeline of the same name."""

    def __init__(self, joint_model_group_name: str, moveit_py_instance):
        self._moveit, self._model = moveit_py_instance, moveit_py_instance.get_robot_model()
        assert self._model.has_joint_model_group(joint_model_group_name)
        self._start, self._goal = None, None

    def set_start_state(self, configuration_name=None, robot_state=None) -> bool:
        assert configuration_name is None
        self._start = copy.copy(robot_state)
        return True

    def set_goal_state(
        self, configuration_name=None, robot_state=None, pose_stamped_msg=None, pose_link=None,
        motion_plan_constraints=None,
    ) -> bool:  # fmt: skip
        assert (configuration_name, robot_state, motion_plan_constraints) == (None, None, None)
        if pose_stamped_msg.header.frame_id not in self._model.frames:
            raise RuntimeError(f"frame {pose_stamped_msg.header.frame_id}")
        assert pose_link == self._model.tip
        in_world = self._model.frames[pose_stamped_msg.header.frame_id] * se3(pose_stamped_msg.pose)
        self._goal = self._model.frames["base_link"].inverse() * in_world
        return True

    def plan(
        self, single_plan_parameters=None, multi_plan_parameters=None, planning_scene=None,
        solution_selection_function=None, stopping_criterion_callback=None,
    ):  # fmt: skip
        how = single_plan_parameters
        assert how.planning_pipeline in self._moveit.pipelines and 0 < how.max_velocity_scaling_factor <= 1
        assert self._start.attached == ["block"]  # the start's message replaces what the scene has attached
        if FAULT == "throws":
            raise RuntimeError("vector::_M_range_check")
        if how.planner_id != "LIN":
            return Response(-1, "No ContextLoader for planner_id")
        points = linear(
            self._model, self._start.arm(), self._goal,
            how.max_velocity_scaling_factor, how.max_acceleration_scaling_factor,
        )  # fmt: skip
        if points is None:
            return Response(-31)
        if any(self._model.stepper.kinematics.forward(point[1])[0][2] >= CEILING_M for point in points):
            return Response(-2)
        message = JointTrajectory(joint_names=list(reversed(self._model.names)))  # an order of its own
        for seconds, q, qd in points:
            when = Duration(sec=int(seconds), nanosec=int(seconds % 1 * 1e9))
            point = JointTrajectoryPoint(positions=q[::-1].tolist(), velocities=qd[::-1].tolist(), time_from_start=when)
            message.points.append(point)
        return Response(1, trajectory=message)


class MoveItErrorCodes:
    """moveit_msgs/MoveItErrorCodes, some of its constants."""

    SUCCESS, PLANNING_FAILED, INVALID_MOTION_PLAN, NO_IK_SOLUTION = 1, -1, -2, -31

    def __init__(self, val, message):
        self.val, self.message, self.source = val, message, ""


class Response:
    """A plan, or that there is none."""

    def __init__(self, val: int, message: str = "", trajectory=None):
        self.error_code = MoveItErrorCodes(val, message)
        robot = SimpleNamespace(joint_trajectory=trajectory)
        # joint_filter: all joints if it is empty
        self.trajectory = SimpleNamespace(get_robot_trajectory_msg=lambda joint_filter=(): robot)

    def __bool__(self) -> bool:
        return self.error_code.val == MoveItErrorCodes.SUCCESS


class SceneMonitor:
    """Has the planning scene, and asks move_group for its own."""

    def __init__(self, model):
        self._scene = Scene(model)

    def read_only(self) -> Scene:
        return self._scene

    def request_planning_scene_state(self, service_name: str) -> bool:
        print(f"asked {service_name}")
        return False


class MoveItPy:
    """MoveIt with the parameters of a file."""

    def __init__(
        self, node_name="moveit_py", name_space="", launch_params_filepaths=(), config_dict=None,
        provide_planning_service=True, remappings=None,
    ):  # fmt: skip
        if FAULT == "old":
            raise TypeError("__init__(): incompatible constructor arguments.")
        for number in (signal.SIGINT, signal.SIGTERM):  # as rclcpp::init does: they only end its context
            signal.signal(number, lambda *_: None)
        assert config_dict is None and not provide_planning_service  # move_group offers that service
        with open(launch_params_filepaths[0]) as file:
            values = yaml.safe_load(file)["/**"]["ros__parameters"]
        self.pipelines = values["planning_pipelines"]["pipeline_names"]
        assert all("planning_plugins" in values[name] for name in self.pipelines)
        for name in TOPICS:
            print(f"{node_name}: {name} is {remappings.get(name, f'{name_space}/{name}')}")
        print(f"use_sim_time {values['use_sim_time']}, controllers '{values['moveit_controller_manager']}'")
        assert values["planning_scene_monitor_options"]["wait_for_initial_state_timeout"] > 0
        if FAULT == "no_states":
            raise RuntimeError("Unable to configure planning scene monitor")
        self._model = Model()
        self._monitor = SceneMonitor(self._model)

    def get_robot_model(self):
        return self._model

    def get_planning_component(self, planning_component_name: str) -> PlanningComponent:
        return PlanningComponent(planning_component_name, self)

    def get_planning_scene_monitor(self):
        return self._monitor

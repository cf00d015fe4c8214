"""MoveItPy and what it hands out, as far as they are called."""

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
from builtin_interfaces.msg import Duration
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from am_ros.control.backends.planner_config import PlannerConfig
from am_ros.control.cartesian import CartesianStepper
from am_ros.control.robot import robot_model
from am_ros.control.tool import tcp_in_tip
from am_ros.errors import AmRosError

CEILING_M = 0.3  # the planning scene: a lamp hangs above


class Model:
    """The robot, by our description."""

    def __init__(self):
        self.stepper = CartesianStepper.for_model()
        self.names = robot_model().joint_names
        self.group, self.tip = PlannerConfig.planner_group, PlannerConfig.planner_tip

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

    def __init__(self, moveit_cpp, ns: str):
        assert isinstance(moveit_cpp, MoveItPy)


class Scene:
    """A planning scene that is locked for reading."""

    def __init__(self, model):
        self._model = model

    def is_state_valid(self, robot_state, joint_model_group_name: str, verbose: bool = False) -> bool:
        q = np.array(list(robot_state.joint_positions.values()))
        return bool(self._model.stepper.kinematics.forward(q)[0][2] < CEILING_M)


class PlanningComponent:
    """Plans in joint space, as OMPL might: a cubic from start to goal."""

    def __init__(self, model):
        self._model, self._start, self._goal = model, None, None

    def set_start_state(self, configuration_name=None, robot_state=None) -> bool:
        self._start = np.array(list(robot_state.joint_positions.values()))
        return True

    def set_goal_state(self, configuration_name=None, robot_state=None, pose_stamped_msg=None, pose_link=None) -> bool:
        assert pose_stamped_msg.header.frame_id == "base_link"
        state = pose_stamped_msg.pose
        from moveit.core.robot_state import RobotState

        goal = RobotState(self._model)
        goal.joint_positions = dict(zip(self._model.names, self._start, strict=True))
        goal.update()
        assert goal.set_from_ik(self._model.group, state, pose_link, 0.1)
        self._goal = np.array(list(goal.joint_positions.values()))
        return True

    def plan(self, single_plan_parameters=None, multi_plan_parameters=None, planning_scene=None):
        how = single_plan_parameters
        assert how.planning_pipeline == PlannerConfig.planner_pipeline and 0 < how.max_velocity_scaling_factor <= 1
        if how.planner_id == "PTP_that_fails":
            return Failed()
        rise, seconds = self._goal - self._start, 2.0 / how.max_velocity_scaling_factor
        message = JointTrajectory(joint_names=list(reversed(self._model.names)))  # an order of its own
        for s in np.linspace(0, 1, 6):
            q, qd = self._start + rise * (3 * s**2 - 2 * s**3), rise * 6 * s * (1 - s) / seconds + 1e-9
            when = Duration(sec=int(s * seconds), nanosec=int(s * seconds % 1 * 1e9))
            point = JointTrajectoryPoint(positions=q[::-1].tolist(), velocities=qd[::-1].tolist(), time_from_start=when)
            message.points.append(point)
        robot = SimpleNamespace(joint_trajectory=message)
        return SimpleNamespace(trajectory=SimpleNamespace(get_robot_trajectory_msg=lambda: robot))


class Failed:
    """A plan that there is none of."""

    error_code = SimpleNamespace(val=-1)

    def __bool__(self) -> bool:
        return False


class MoveItPy:
    """MoveIt with the configuration that it is given."""

    def __init__(self, node_name: str = "moveit_py", config_dict=None):
        assert config_dict["planning_pipelines"] == {"pipeline_names": [PlannerConfig.planner_pipeline]}
        print(f"{node_name} listens to {config_dict['planning_scene_monitor_options']['joint_state_topic']}")
        self._model = Model()

    def get_robot_model(self):
        return self._model

    def get_planning_component(self, planning_component_name: str) -> PlanningComponent:
        assert planning_component_name == self._model.group
        return PlanningComponent(self._model)

    def get_planning_scene_monitor(self):
        @contextmanager
        def read_only():
            yield Scene(self._model)

        return SimpleNamespace(read_only=read_only)

"""The backend that asks another program, MoveIt, for the way; where it leads and how is looked at here."""

import dataclasses
import json
import math
import sys
from collections.abc import Callable
from concurrent.futures import Future

import numpy as np
import pinocchio as pin

from am_ros.action import CartesianAction
from am_ros.control.backends.planner import PlannerProcess
from am_ros.control.backends.trajectory import TrajectoryBackend
from am_ros.control.cartesian import CartesianStepper
from am_ros.control.controller import ControllerConfig, make_stepper
from am_ros.control.kinematics import Kinematics, tool_rotation
from am_ros.control.tool import tcp_in_tip, tip_of
from am_ros.control.trajectory import JointTrajectory
from am_ros.control.types import Plan, Slack
from am_ros.errors import AmRosError

# Where a plan may end beside the goal: more means that the two programs do not speak of the same tool.
END_TOLERANCE_M = 0.002
END_TOLERANCE_RAD = 0.02
# How far the tool may lean out of the vertical on the way, beyond where it starts.
TILT_TOLERANCE_RAD = 0.05

MODULES = {"moveit": "am_ros.ros.arm.moveit_planner", "pinocchio": "am_ros.control.backends.pinocchio_planner"}


class MoveItBackend(TrajectoryBackend):
    """As the trajectory backend, but the planner's process plans."""

    def __init__(
        self,
        config: ControllerConfig,
        stepper: CartesianStepper,
        follow: Callable[[JointTrajectory], None],
        joint_states: str,
        use_sim_time: bool = False,
    ):
        """Starts the process and waits until it is ready; raises AmRosError if it does not become so.

        `joint_states` is the full name of the topic, which MoveIt listens to as well, by the same clock as the node.
        """
        super().__init__(stepper, config.tolerance, config.joint_names, follow)
        planner = config.backend.planner
        self._tcp = tcp_in_tip(planner.tip_to_tcp)
        self._velocity_scale = config.limits.velocity_scale
        # One of its own: answers come in another thread, and kinematics are not thread-safe.
        self._kinematics = make_stepper(config).kinematics
        command = [sys.executable, "-m", MODULES[planner.planner], joint_states]
        command += ["use_sim_time"] if use_sim_time else []
        text = json.dumps(dataclasses.asdict(config))
        self._process = PlannerProcess(command, text, planner.planner_timeout_s, planner.planner_start_s)
        self.name = self._process.start()

    def plan(self, q: np.ndarray, action: CartesianAction, slack_m: Slack = 0.0) -> Plan:
        """Asks the planner's process for the way to where the step leads."""
        if action.terminate or not (any(action.translation_m) or action.rotation_z_rad):
            return super().plan(q, action, slack_m)
        self._stepper.action_space.check(action)
        kinematics = self._stepper.kinematics
        start, yaw = kinematics.pose(q)
        goal = self._stepper.goal(start, np.array(action.translation_m, float), slack_m)
        rotation = tool_rotation(yaw + action.rotation_z_rad)
        asked = self._process.plan(q, *tip_of(goal, rotation, self._tcp), self._velocity_scale)
        checked: Plan = Future()
        asked.add_done_callback(lambda answer: self._check(answer, goal, rotation, checked))
        return checked

    def close(self) -> None:
        """End the planner's process."""
        self._process.close()

    def _check(self, answer: Plan, goal: np.ndarray, rotation: np.ndarray, checked: Plan) -> None:
        try:
            trajectory = answer.result()
            if is_trajectory(trajectory, self._kinematics):  # if not, the guard names it
                check_plan(self._kinematics, trajectory, goal, rotation)
                # What MoveIt keeps to are its own limits; of a line, those of the tool.
                trajectory = self._stepper.within_limits(trajectory)
            checked.set_result(trajectory)
        except Exception as error:  # whatever it is, the step that waits for it must end
            checked.set_exception(error)


def is_trajectory(trajectory: JointTrajectory, kinematics: Kinematics) -> bool:
    """Whether it can be looked at: two knots or more of every joint, numbers, times that increase."""
    times, positions, velocities = trajectory.times_s, trajectory.positions, trajectory.velocities
    shape = (len(times), len(kinematics.joint_names))
    if len(times) < 2 or positions.shape != shape or velocities.shape != shape or not (np.diff(times) > 0).all():
        return False
    return all(np.isfinite(values).all() for values in (times, positions, velocities))


def check_plan(
    kinematics: Kinematics, trajectory: JointTrajectory, goal_m: np.ndarray, rotation: np.ndarray
) -> None:
    """Raise AmRosError "planner_elsewhere" or "planner_tilts" if the plan does not lead there, the tool down.

    Limits, collisions and speeds are the guard's question.
    """
    positions = trajectory.positions
    end, end_rotation = kinematics.forward(positions[-1])
    off_m = float(np.linalg.norm(end - goal_m))
    off_rad = float(np.linalg.norm(pin.log3(rotation @ end_rotation.T)))
    if off_m > END_TOLERANCE_M or off_rad > END_TOLERANCE_RAD:
        raise AmRosError(
            f"planner_elsewhere: the plan ends {off_m * 1e3:.0f} mm and {math.degrees(off_rad):.1f} degrees beside the "
            "goal (do planner_tip and tip_to_tcp fit the tool?)"
        )
    tilts = [math.acos(max(-1.0, min(1.0, -kinematics.forward(q)[1][2, 2]))) for q in positions]
    worst = max(tilts)
    if worst > tilts[0] + TILT_TOLERANCE_RAD:
        raise AmRosError(f"planner_tilts: the tool leans by {math.degrees(worst):.0f} degrees on the way")

"""From a Cartesian step to a joint trajectory: a straight line, smooth in time, within every limit or refused."""

import math

import numpy as np
import pinocchio as pin

from am_ros.action import ActionSpace, CartesianAction
from am_ros.control.kinematics import Kinematics, tool_rotation
from am_ros.control.limits import MotionLimits
from am_ros.control.robot import robot_description, robot_model
from am_ros.control.trajectory import JointTrajectory
from am_ros.control.types import Slack, Vector
from am_ros.errors import AmRosError

KNOTS = 7
# How far A3 and A5 may go back to their comfortable angle in one step: an arm that was guided by hand returns to
# the vertical plane over several steps and not in one large self-motion.
MAX_POSTURE_STEP_RAD = 0.1
# A joint that turns more than this between knots jumped to another branch of solutions.
MAX_KNOT_STEP_RAD = 0.8


def singular(where: str, condition: float) -> str:
    """The refusal of a pose near a singularity."""
    return f"singular: near {where} the arm is stretched or folded (condition number {condition:.0f})"


def quintic(tau: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Path parameter and its rate at normalised time: starts and ends with zero velocity and acceleration."""
    return tau**3 * (10 - 15 * tau + 6 * tau**2), 30 * tau**2 * (1 - tau) ** 2


def differentiation_matrix(x: np.ndarray) -> np.ndarray:
    """Matrix [K, K] that takes values at x [K] to the derivative of their interpolating polynomial at x."""
    difference = x[:, None] - x[None, :] + np.eye(len(x))
    weights = 1 / difference.prod(axis=1)
    matrix: np.ndarray = weights[None, :] / weights[:, None] / difference
    np.fill_diagonal(matrix, 0)
    np.fill_diagonal(matrix, -matrix.sum(axis=1))
    return matrix


class CartesianStepper:
    """Plans Cartesian steps. The controller node and the simulated environment use it alike, so they move alike."""

    def __init__(
        self,
        kinematics: Kinematics,
        limits: MotionLimits | None = None,
        action_space: ActionSpace | None = None,
        posture_step_rad: float = MAX_POSTURE_STEP_RAD,
    ):
        """`posture_step_rad`: 0 for an arm whose redundancy somebody else resolves, so that no step returns it."""
        self.kinematics = kinematics
        self._posture_step = posture_step_rad
        self.limits = limits or MotionLimits()
        self.action_space = action_space or ActionSpace()
        joints = len(kinematics.joint_names)
        if len(self.limits.acceleration_rad_s2) != joints:
            raise AmRosError(f"parameter acceleration_rad_s2: expected {joints} values")
        self._low, self._high = self.limits.box
        self._velocity = self.limits.velocity_scale * kinematics.velocity_limit
        self._acceleration = np.array(self.limits.acceleration_rad_s2)
        # Knots are equally spaced in time, so they crowd at both ends of the path, where a polynomial needs them.
        self._tau = np.linspace(0, 1, KNOTS)
        self._s, rate = quintic(self._tau)
        self._to_velocity = rate[:, None] * differentiation_matrix(self._s)

    @classmethod
    def for_model(
        cls, model: str = "iiwa14", limits: MotionLimits | None = None, action_space: ActionSpace | None = None
    ) -> "CartesianStepper":
        """The stepper of one of our own robot descriptions, "iiwa14" or "iiwa7"."""
        limits, facts = limits or MotionLimits(), robot_model(model)
        kinematics = Kinematics(
            robot_description(model), facts.joint_names, facts.tip_frame, facts.comfortable_rad, limits.joint_margin_rad
        )
        return cls(kinematics, limits, action_space)

    def plan(self, q: Vector, action: CartesianAction, slack_m: Slack = 0.0) -> JointTrajectory:
        """Trajectory of one step from rest at joint angles q [joints]; `slack_m` as for `goal`.

        A terminating action, or one without displacement, stands still for the shortest duration.
        Raises AmRosError that starts with action_not_finite, action_too_large, workspace_limit, unreachable,
        joint_limit or singular.
        """
        q = np.asarray(q, float)
        if q.shape != self._velocity.shape or not np.isfinite(q).all():
            raise AmRosError(f"joint_state_not_finite: {q}")
        self.action_space.check(action)
        displacement = np.array(action.translation_m, float)
        if action.terminate or not (displacement.any() or action.rotation_z_rad):
            return self._stand_still(q)
        start, start_rotation = self.kinematics.forward(q)
        goal = self.goal(start, displacement, slack_m)
        positions = self._along_line(q, start, start_rotation, goal, action.rotation_z_rad)
        return self._scale_time(positions, self._share_of_speed(positions, goal))

    def brake(self, q: Vector, qd: Vector) -> JointTrajectory:
        """The shortest way to rest from a motion, all joints decelerating together; q [joints], qd [joints]."""
        # A measured velocity beyond what the joints can do is noise, and would lead far away.
        q, qd = np.asarray(q, float), np.clip(qd, -self.kinematics.velocity_limit, self.kinematics.velocity_limit)
        duration = max(self.limits.min_duration_s, float((np.abs(qd) / self._acceleration).max()))
        stop = np.clip(q + qd * duration / 2, self.kinematics.lower, self.kinematics.upper)
        return JointTrajectory(np.array([0.0, duration]), np.stack([q, stop]), np.stack([qd, np.zeros_like(qd)]))

    def within_limits(self, trajectory: JointTrajectory) -> JointTrajectory:
        """The trajectory of another planner, slowed until velocity and acceleration of every joint hold."""
        velocity, acceleration = trajectory.peaks()
        ratios = (velocity / self._velocity).max(), math.sqrt((acceleration / self._acceleration).max())
        return trajectory.slowed(max(ratios)) if max(ratios) > 1 else trajectory

    def goal(self, start: np.ndarray, displacement: np.ndarray, slack_m: Slack = 0.0) -> np.ndarray:
        """Where the step ends [3]; raises AmRosError "workspace_limit: ..." if that is outside the box.

        A start that lies a little outside (tracking error) is no reason to refuse a step that does not lead further
        out: its end is put back onto the border. It may end beyond it by `slack_m` [3], as far as the tool is measured
        beside its command: it is the tool that stays in the box.
        """
        wanted = start + displacement
        tolerance = self.limits.border_tolerance_m
        slack = np.broadcast_to(slack_m, 3)
        lowest, highest = self._low - slack, self._high + slack
        low = np.minimum(lowest, np.maximum(start, self._low - tolerance)) - 1e-6
        high = np.maximum(highest, np.minimum(start, self._high + tolerance)) + 1e-6
        for i, axis in enumerate("xyz"):
            if wanted[i] < low[i]:
                raise AmRosError(f"workspace_limit: {axis} = {wanted[i]:.3f} m below {self._low[i]:.3f} m")
            if wanted[i] > high[i]:
                raise AmRosError(f"workspace_limit: {axis} = {wanted[i]:.3f} m above {self._high[i]:.3f} m")
        inside: np.ndarray = np.clip(wanted, lowest, highest)
        return inside

    def _along_line(
        self, q: np.ndarray, start: np.ndarray, start_rotation: np.ndarray, goal: np.ndarray, turn: float
    ) -> np.ndarray:
        """Joint angles [K, joints] at the knots of the straight line from q to the goal."""
        yaw = math.atan2(start_rotation[1, 0], start_rotation[0, 0])
        tilt = pin.log3(start_rotation @ tool_rotation(yaw).T)  # of the measured tool; gone at the end of the step
        posture = q + np.clip(self.kinematics.comfortable - q, -self._posture_step, self._posture_step)
        last = self.kinematics.inverse(goal, yaw + turn, q, posture)
        positions = np.empty((KNOTS, len(q)))
        positions[0], positions[-1] = q, last
        for k in range(1, KNOTS - 1):
            s = self._s[k]
            rotation = pin.exp3((1 - s) * tilt) @ tool_rotation(yaw + s * turn)
            guess = q + s * (last - q)
            positions[k] = self.kinematics.inverse_rotation(start + s * (goal - start), rotation, guess)
        return positions

    def _share_of_speed(self, positions: np.ndarray, goal: np.ndarray) -> float:
        """Below 1 near a singularity; raises AmRosError "singular: ..." if the step ends too near to one."""
        jump = np.abs(np.diff(positions, axis=0)).max()
        condition = self.kinematics.condition(positions[-1])
        if jump > MAX_KNOT_STEP_RAD or condition > self.limits.max_condition:
            raise AmRosError(singular("({:.3f}, {:.3f}, {:.3f}) m".format(*goal), condition))
        return self.limits.near_singularity(max(condition, self.kinematics.condition(positions[0])))

    def _scale_time(self, positions: np.ndarray, share: float) -> JointTrajectory:
        """The fastest trajectory through the knots that every joint can follow, and `share` of that speed."""
        unit = JointTrajectory(self._tau, positions, self._to_velocity @ positions)
        velocity, acceleration = unit.peaks()
        duration = max(
            self.limits.min_duration_s,
            (velocity / self._velocity).max(),
            math.sqrt((acceleration / self._acceleration).max()),
        )
        duration /= share
        return JointTrajectory(self._tau * duration, positions, unit.velocities / duration)

    def _stand_still(self, q: np.ndarray) -> JointTrajectory:
        times = np.array([0.0, self.limits.min_duration_s])
        return JointTrajectory(times, np.stack([q, q]), np.zeros((2, len(q))))

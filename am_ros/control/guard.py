"""The last look at a trajectory before it is published, whoever planned it: within every limit, or refused by name."""

import math
from dataclasses import dataclass, field

import numpy as np

from am_ros.action import ActionSpace
from am_ros.configuration import parameter
from am_ros.control.cartesian import singular
from am_ros.control.collision import CollisionConfig, CollisionModel
from am_ros.control.kinematics import Kinematics
from am_ros.control.limits import MotionLimits
from am_ros.control.trajectory import JointTrajectory
from am_ros.control.types import Slack, Vector
from am_ros.errors import AmRosError

# Between two samples of a path no joint turns more: 5 mm of the tool in an ordinary step, 18 mm at arm's length.
SAMPLE_STEP_RAD = 0.02
MIN_SAMPLES = 4  # per segment
MAX_SAMPLES = 1000  # an ordinary step has 40
# What the planner's tolerances leave open: a line is straight within 0.1 mm, and a border is met within 1e-6.
PATH_TOLERANCE_M = 1e-3
ANGLE_TOLERANCE_RAD = 0.01
RELATIVE_TOLERANCE = 1e-6


@dataclass(frozen=True)
class GuardConfig:
    """What a trajectory is held to beyond the limits of a step."""

    reduced: bool = parameter(False, "reduced mode, for people beside the arm: the tool moves at 0.25 m/s at most")
    # 250 mm/s is what ISO 10218-1 calls reduced speed. This is modelled on it; nothing here is safety-rated.
    reduced_speed_m_s: float = parameter(0.25, "largest speed of the tool in reduced mode [m/s]", range=(0.01, 0.25))
    # The fastest step within the default limits reaches 0.7 m/s.
    max_speed_m_s: float = parameter(1.0, "largest speed of the tool otherwise [m/s]", range=(0.01, 5.0))
    # More would be a jump of the command: 1 mrad in a tick of 10 ms is the acceleration limit.
    start_tolerance_rad: float = parameter(
        0.001, "a trajectory starts this near where the arm was told to be [rad]", range=(1e-5, 0.2)
    )
    # A compliant LBR hangs some mrad below its command; 0.02 rad are 10 ... 20 mm of the tool.
    state_offset_rad: float = parameter(
        0.02, "a step begins where the arm was told to be, while every joint is measured this near to that [rad]",
        range=(1e-3, 0.2),
    )  # fmt: skip
    start_velocity_rad_s: float = parameter(
        0.2, "a step begins at rest: while no joint moves faster [rad/s]", range=(1e-3, 1.0)
    )
    collision: CollisionConfig = field(default_factory=CollisionConfig)

    @property
    def speed_m_s(self) -> float:
        """The largest speed of the tool in the present mode."""
        return min(self.reduced_speed_m_s, self.max_speed_m_s) if self.reduced else self.max_speed_m_s


class TrajectoryGuard:
    """Looks at whole paths, not at their ends only. Not thread-safe: it shares the work space of its kinematics."""

    def __init__(
        self,
        kinematics: Kinematics,
        limits: MotionLimits | None = None,
        action_space: ActionSpace | None = None,
        config: GuardConfig | None = None,
        collisions: CollisionModel | None = None,
    ):
        """`collisions`: None if collisions are not looked at."""
        self.config = config or GuardConfig()
        self._kinematics, self._collisions = kinematics, collisions
        self._limits, self._action_space = limits or MotionLimits(), action_space or ActionSpace()
        self._low, self._high = self._limits.box
        self._velocity = self._limits.velocity_scale * kinematics.velocity_limit
        self._acceleration = np.array(self._limits.acceleration_rad_s2)

    def check(
        self, trajectory: JointTrajectory, start: Vector, velocity: np.ndarray | float = 0.0, slack_m: Slack = 0.0
    ) -> JointTrajectory:
        """The trajectory, slowed if the tool would be too fast.

        `start` [joints] is where the arm was told to be, `velocity` [joints] is measured. `slack_m` [3]: how far
        beyond the workspace the tool may be told to go.

        Where the arm is beyond a limit already (guided there by hand), it may stay so far beyond it, but go no
        further. Raises AmRosError that starts with trajectory_malformed, trajectory_not_finite, start_elsewhere,
        not_at_rest, joint_limit, joint_velocity_limit, joint_acceleration_limit, workspace_limit, step_too_large,
        singular, self_collision or table_collision. 1.2 ms for an ordinary step (Intel Xeon).
        """
        self._check_shape(trajectory, np.asarray(start, float))
        self._check_at_rest(trajectory, np.broadcast_to(velocity, self._velocity.shape))
        self._check_rates(trajectory)
        positions, velocities = self._samples(trajectory)
        self._check_joints(positions)
        tool, speeds, conditions = self._kinematics.along(positions, velocities)
        self._check_tool(tool, slack_m)
        self._check_turn(positions)
        self._check_conditions(conditions, tool)
        if self._collisions is not None:
            self._collisions.check(positions)
        # Between two samples the tool may be a little faster.
        stretch = 1.01 * speeds.max() / self.config.speed_m_s
        return trajectory.slowed(stretch) if stretch > 1 else trajectory

    def _check_shape(self, trajectory: JointTrajectory, start: np.ndarray) -> None:
        times, positions, velocities = trajectory.times_s, trajectory.positions, trajectory.velocities
        joints = len(self._velocity)
        shape = (len(times), joints)
        if len(times) < 2 or positions.shape != shape or velocities.shape != shape or start.shape != (joints,):
            raise AmRosError(f"trajectory_malformed: expected two points or more of {joints} joints")
        if not all(np.isfinite(values).all() for values in (times, positions, velocities, start)):
            raise AmRosError("trajectory_not_finite: a time, an angle or a velocity is not a number")
        if times[0] != 0 or (np.diff(times) <= 0).any():
            raise AmRosError("trajectory_malformed: times do not increase from 0")
        worst, error = self._worst(np.abs(positions[0] - start))
        if error > self.config.start_tolerance_rad:
            told = f"from where {worst} was told to be"
            raise AmRosError(f"start_elsewhere: the trajectory starts {error:.3f} rad {told}")

    def _check_at_rest(self, trajectory: JointTrajectory, velocity: np.ndarray) -> None:
        if trajectory.velocities[[0, -1]].any():
            raise AmRosError("not_at_rest: the trajectory does not start and end at rest")
        worst, speed = self._worst(np.abs(velocity))
        if not speed <= self.config.start_velocity_rad_s:
            raise AmRosError(f"not_at_rest: {worst} still moves at {speed:.2f} rad/s")

    def _check_rates(self, trajectory: JointTrajectory) -> None:
        for name, unit, peak, limit in zip(
            ("velocity", "acceleration"), ("rad/s", "rad/s^2"), trajectory.peaks(), (self._velocity, self._acceleration)
        ):
            if not np.isfinite(peak).all():
                raise AmRosError(f"trajectory_not_finite: its largest {name} is not a number")
            if (peak > limit * (1 + RELATIVE_TOLERANCE)).any():
                worst, _ = self._worst(peak / limit)
                k = self._kinematics.spoken_names.index(worst)
                raise AmRosError(f"joint_{name}_limit: {worst} at {peak[k]:.2f} {unit}, limit {limit[k]:.2f} {unit}")

    def _samples(self, trajectory: JointTrajectory) -> tuple[np.ndarray, np.ndarray]:
        """Positions and velocities [N, joints] on and between the knots, so near that nothing happens in between."""
        h = np.diff(trajectory.times_s)
        speed = np.abs(trajectory.velocities).max(axis=1)
        rise = np.abs(np.diff(trajectory.positions, axis=0)).max(axis=1)
        way = np.maximum(rise, h * np.maximum(speed[:-1], speed[1:]))
        counts = np.maximum(MIN_SAMPLES, np.ceil(way / SAMPLE_STEP_RAD))
        if counts.sum() > MAX_SAMPLES:
            raise AmRosError(f"step_too_large: the joints turn {way.sum():.1f} rad in one step")
        starts = trajectory.times_s[:-1]
        times = [t + np.arange(n) / n * dt for t, dt, n in zip(starts, h, counts, strict=True)]
        return trajectory.sample(np.append(np.concatenate(times), trajectory.duration_s))

    def _check_joints(self, positions: np.ndarray) -> None:
        first, (lowest, highest) = positions[0], self._kinematics.position_limits
        lower = np.clip(first, lowest - ANGLE_TOLERANCE_RAD, self._kinematics.lower)
        upper = np.clip(first, self._kinematics.upper, highest + ANGLE_TOLERANCE_RAD)
        beyond = np.maximum(lower - positions, positions - upper)
        worst, excess = self._worst(beyond.max(axis=0))
        if excess > 1e-4:  # a cubic may swing out so far between knots that are inside
            raise AmRosError(f"joint_limit: {worst} comes nearer to its limit than {self._limits.joint_margin_rad} rad")

    def _check_tool(self, tool: np.ndarray, slack_m: Slack) -> None:
        low = np.minimum(self._low - slack_m, tool[0]) - PATH_TOLERANCE_M
        high = np.maximum(self._high + slack_m, tool[0]) + PATH_TOLERANCE_M
        for i, axis in enumerate("xyz"):
            lowest, highest = tool[:, i].min(), tool[:, i].max()
            if lowest < low[i]:
                raise AmRosError(f"workspace_limit: {axis} = {lowest:.3f} m below {self._low[i]:.3f} m on the way")
            if highest > high[i]:
                raise AmRosError(f"workspace_limit: {axis} = {highest:.3f} m above {self._high[i]:.3f} m on the way")
        largest = np.abs(tool - tool[0]).max(axis=0)
        for axis, way, limit in zip("xyz", largest, self._action_space.max_translation_m, strict=True):
            if way > limit + PATH_TOLERANCE_M:
                raise AmRosError(f"step_too_large: the tool moves {way:.3f} m along {axis}, limit {limit:.3f} m")

    def _check_turn(self, positions: np.ndarray) -> None:
        """The turn of the tool about the vertical; a tilt of the first position may go away beside it."""
        (_, start), (_, end) = (self._kinematics.pose(positions[k]) for k in (0, -1))
        turn, limit = abs(math.remainder(end - start, 2 * math.pi)), self._action_space.max_rotation_rad
        if turn > limit + ANGLE_TOLERANCE_RAD:
            raise AmRosError(f"step_too_large: the tool turns {turn:.3f} rad, limit {limit:.3f} rad")

    def _check_conditions(self, conditions: np.ndarray, tool: np.ndarray) -> None:
        worst = int(conditions.argmax())
        if conditions[worst] > max(self._limits.max_condition, conditions[0] * (1 + ANGLE_TOLERANCE_RAD)):
            raise AmRosError(singular("({:.3f}, {:.3f}, {:.3f}) m".format(*tool[worst]), conditions[worst]))

    def _worst(self, values: np.ndarray) -> tuple[str, float]:
        k = int(values.argmax())
        return self._kinematics.spoken_names[k], float(values[k])

"""What is watched while the arm moves, and the latch that a fault ends in."""

import math
from dataclasses import dataclass

import numpy as np

from am_ros.configuration import parameter
from am_ros.control.kinematics import Kinematics
from am_ros.control.trajectory import JointTrajectory
from am_ros.control.types import Names

# A simulated cell that fell behind catches up by so much at once; its arm then seems to jump.
CATCH_UP_S = 0.2
PATH_SAMPLES = 256
# An arm that springs back from what it has hit does so for less long.
AGAINST_RAD_S, AGAINST_S = 0.05, 0.1
# Aside for so long, by that share of the commanded speed at least, while the command is faster than TOLD_RAD_S and the
# arm follows with less than FOLLOWED of it. An arm that lags at full speed does neither for so long.
ASIDE_S, ASIDE_SHARE, TOLD_RAD_S, FOLLOWED = 0.06, 0.1, 0.1, 0.3


@dataclass(frozen=True)
class WatchConfig:
    """When what is measured is no motion that was commanded."""

    velocity_factor: float = parameter(
        1.2, "a joint measured faster than its limit times this, for overspeed_s: protective stop", range=(1.0, 3.0)
    )
    # A gripper that hits an edge in the simulated cell makes a joint three times too fast for 0.05 s.
    overspeed_s: float = parameter(0.1, "see velocity_factor [s]", range=(0.0, 5.0))
    position_excess_rad: float = parameter(
        0.01, "a joint measured so far beyond its position limit is a protective stop [rad]", range=(0.0, 0.2)
    )
    # In the simulated cell an arm strays by less than 0.01 rad, and by up to 0.135 rad when it hits an edge.
    tracking_error_rad: float = parameter(
        0.2, "a joint measured so far off the commanded path is a protective stop [rad]", range=(0.005, 1.0)
    )
    suspended_s: float = parameter(
        0.5, "the controller was suspended if its watch did not run for so long [s]", range=(0.1, 10.0)
    )
    clock_jump_s: float = parameter(
        1.0, "a jump of the ROS clock against the monotonic one that is logged and counted [s]", range=(0.05, 60.0)
    )


class ArmWatch:
    """Compares what joint states say with what the arm can do."""

    def __init__(self, kinematics: Kinematics, config: WatchConfig, joint_names: Names | None = None):
        """`joint_names`: as faults name them; default: as the kinematics."""
        self._names = tuple(joint_names or kinematics.spoken_names)
        self._lower, self._upper = kinematics.position_limits
        self._velocity = kinematics.velocity_limit
        self._config = config
        self._fast_since_s: float | None = None

    def fault(self, q: np.ndarray, qd: np.ndarray | None, now_s: float) -> str:
        """ "joint_position: ..." or "joint_velocity: ..." of measured q [joints] and qd [joints], or empty.

        `qd` is None where it is not measured: differences of positions are too rough to stop the arm.
        """
        beyond = np.maximum(self._lower - q, q - self._upper)
        k = int(beyond.argmax())
        if beyond[k] > self._config.position_excess_rad:
            limit = self._lower[k] if q[k] < self._lower[k] else self._upper[k]
            return f"joint_position: {self._names[k]} is at {q[k]:.3f} rad, limit {limit:.3f} rad"
        speed = np.zeros_like(q) if qd is None else np.abs(qd)
        use = speed / self._velocity
        k = int(use.argmax())
        if use[k] <= self._config.velocity_factor:
            self._fast_since_s = None
            return ""
        if self._fast_since_s is None:
            self._fast_since_s = now_s
        if now_s - self._fast_since_s >= self._config.overspeed_s:
            limit = self._velocity[k]
            return f"joint_velocity: {self._names[k]} moves at {speed[k]:.2f} rad/s, limit {limit:.2f} rad/s"
        return ""

    def jump(self, before: np.ndarray, q: np.ndarray, elapsed_s: float) -> str:
        """ "joint_jump: ..." if no joint can have turned from `before` to `q` in that time, or empty."""
        turned = np.abs(q - before)
        excess = turned - self._velocity * self._config.velocity_factor * (max(elapsed_s, 0.0) + CATCH_UP_S)
        k = int(excess.argmax())
        if excess[k] > 0:
            return f"joint_jump: {self._names[k]} turned by {turned[k]:.2f} rad between two joint states"
        return ""


class PathWatch:
    """How far the arm is from the commanded path, wherever on it: when it arrives is the motion monitor's question."""

    def __init__(self, trajectory: JointTrajectory, config: WatchConfig, joint_names: Names):
        self.at = trajectory.at
        self._times = np.linspace(0, trajectory.duration_s, PATH_SAMPLES)
        self._path = trajectory.sample(self._times)[0]
        self._limit, self._names = config.tracking_error_rad, joint_names

    def nearest(self, q: np.ndarray) -> tuple[float, np.ndarray]:
        """When the path comes nearest to q, and the distances [joints] there."""
        errors = np.abs(self._path - q)
        k = int(errors.max(axis=1).argmin())
        return float(self._times[k]), errors[k]

    def along(self, q: np.ndarray, velocity: np.ndarray) -> tuple[float, float]:
        """How fast `velocity` [joints] leads along the path where that is nearest to q, and aside of it [rad/s].

        The first is negative for the way back.
        """
        k = int(np.abs(self._path - q).max(axis=1).argmin())
        tangent = self._path[min(k + 1, len(self._path) - 1)] - self._path[max(k - 1, 0)]
        length = float(np.linalg.norm(tangent))
        along = float(velocity @ tangent) / length if length > 1e-9 else 0.0
        return along, math.sqrt(max(0.0, float(velocity @ velocity) - along * along))

    def fault(self, q: np.ndarray) -> str:
        """ "tracking_error: ..." if a joint is too far off, or empty."""
        nearest = self.nearest(q)[1]
        k = int(nearest.argmax())
        if nearest[k] > self._limit:
            return f"tracking_error: {self._names[k]} is {nearest[k]:.2f} rad off the commanded path"
        return ""


class AgainstWatch:
    """Does the arm move as nothing of ours ever does? Then somebody else commands or pushes it.

    It moves back along its path; or, while the command goes on and the arm does not, it moves aside.
    """

    def __init__(self, from_s: float):
        """Not looked at before `from_s`: until then the command may be led to where the arm is."""
        self._from_s = from_s
        self._back_s: float | None = None  # since when
        self._aside_s: float | None = None

    def fault(self, q: np.ndarray, slope: np.ndarray, path: PathWatch, now_s: float, path_s: float) -> str:
        """ "foreign_motion: ..." once the arm has moved so for a while; or empty.

        It is at q with velocity `slope` [joints], and the command at `path_s` of its path.
        """
        if now_s < self._from_s:
            return ""
        along, aside = path.along(q, slope)
        told = float(np.linalg.norm(path.at(path_s)[1]))
        leaves = told > TOLD_RAD_S and along < FOLLOWED * told and aside > max(AGAINST_RAD_S, ASIDE_SHARE * told)
        self._back_s = self._since(self._back_s, -along > AGAINST_RAD_S, now_s)
        self._aside_s = self._since(self._aside_s, leaves, now_s)
        for since_s, shortest_s, how in (
            (self._back_s, AGAINST_S, f"at {-along:.2f} rad/s against its command"),
            (self._aside_s, ASIDE_S, f"at {aside:.2f} rad/s beside its path"),
        ):
            if since_s is not None and now_s - since_s >= shortest_s:
                return f"foreign_motion: the arm moves {how} (another program, or a push?)"
        return ""

    @staticmethod
    def _since(before_s: float | None, holds: bool, now_s: float) -> float | None:
        return None if not holds else now_s if before_s is None else before_s


class SuspensionWatch:
    """Was this process stopped for a while? Look as often as there is something to do."""

    def __init__(self, suspended_s: float):
        self._limit_s = suspended_s
        self._last_s: float | None = None

    def look(self, now_s: float) -> str:
        """ "suspended: ..." if the last look was too long ago, or empty."""
        last_s, self._last_s = self._last_s, now_s
        if last_s is None or now_s - last_s <= self._limit_s:
            return ""
        return f"suspended: the controller did not run for {now_s - last_s:.1f} s"


class ProtectiveStop:
    """A latch: the first cause counts until somebody resets it."""

    def __init__(self) -> None:
        self.cause = ""  # empty: no protective stop
        self._since_s = 0.0
        self.count = 0

    def latch(self, cause: str, now_s: float) -> bool:
        """Returns whether that is news; a cause that comes later changes nothing."""
        if self.cause:
            return False
        self.cause, self._since_s = cause, now_s
        self.count += 1
        return True

    def age_s(self, now_s: float) -> float:
        """For how long it holds; 0 without a stop."""
        return now_s - self._since_s if self.cause else 0.0

    def reset(self, persisting: str) -> str:
        """Leave the stop unless a cause persists; returns why not, or empty."""
        if not persisting:
            self.cause = ""
        return persisting

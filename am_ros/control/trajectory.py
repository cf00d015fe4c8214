"""A joint trajectory: positions and velocities at knots, cubic in between, as ROS's trajectory controllers read it."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class JointTrajectory:
    """Cubic Hermite spline through K knots; times start at 0, or later if the way to the first knot is left open."""

    times_s: np.ndarray  # [K]
    positions: np.ndarray  # [K, joints] rad
    velocities: np.ndarray  # [K, joints] rad/s
    stamp_s: float | None = None  # when its time 0 is, on the driver's clock; None: when the driver takes it

    @property
    def duration_s(self) -> float:
        """Time of the last knot."""
        return float(self.times_s[-1])

    def delayed(self, seconds: float) -> "JointTrajectory":
        """The same, later: what leads to its first knot is left to whoever follows it."""
        return replace(self, times_s=self.times_s + seconds)

    def held(self, seconds: float) -> "JointTrajectory":
        """The same, later: it stands at its first knot until then."""
        times_s = np.concatenate([[0.0], self.times_s + seconds])
        positions, velocities = (np.concatenate([part[:1], part]) for part in (self.positions, self.velocities))
        return replace(self, times_s=times_s, positions=positions, velocities=velocities)

    @cached_property
    def _cubics(self) -> tuple[np.ndarray, ...]:
        """Per segment: duration [K-1] and coefficients [K-1, joints] of u, u^2, u^3 with u = 0 ... 1."""
        h = np.diff(self.times_s)
        rise = np.diff(self.positions, axis=0)
        m0, m1 = h[:, None] * self.velocities[:-1], h[:, None] * self.velocities[1:]
        return h, m0, 3 * rise - 2 * m0 - m1, m0 + m1 - 2 * rise

    def at(self, time_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Position [joints] and velocity [joints] at a time; before the start and after the end it stands still."""
        if time_s <= self.times_s[0]:
            return self.positions[0].copy(), np.zeros_like(self.positions[0])
        if time_s >= self.times_s[-1]:
            return self.positions[-1].copy(), np.zeros_like(self.positions[0])
        k = int(self.times_s.searchsorted(time_s, side="right")) - 1
        h, c1, c2, c3 = (part[k] for part in self._cubics)
        u = (time_s - self.times_s[k]) / h
        return self.positions[k] + u * (c1 + u * (c2 + u * c3)), (c1 + u * (2 * c2 + u * (3 * c3))) / h

    def acceleration(self, time_s: float) -> np.ndarray:
        """Acceleration [joints] at a time; zero before the start and after the end, where it stands still."""
        if not self.times_s[0] <= time_s < self.times_s[-1]:
            return np.zeros_like(self.positions[0])
        k = int(self.times_s.searchsorted(time_s, side="right")) - 1
        h, _, c2, c3 = (part[k] for part in self._cubics)
        acceleration: np.ndarray = (2 * c2 + 6 * c3 * (time_s - self.times_s[k]) / h) / h**2
        return acceleration

    def sample(self, times_s: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Positions and velocities, each [N, joints], at N times; as `at`, but in one go."""
        times_s = np.asarray(times_s, float)
        k = np.clip(self.times_s.searchsorted(times_s, side="right") - 1, 0, len(self.times_s) - 2)
        h, c1, c2, c3 = (part[k] for part in self._cubics)
        u = np.clip((times_s - self.times_s[k]) / h, 0, 1)[:, None]
        moving = ((times_s > self.times_s[0]) & (times_s < self.times_s[-1]))[:, None]
        positions = self.positions[k] + u * (c1 + u * (c2 + u * c3))
        return positions, np.where(moving, (c1 + u * (2 * c2 + u * (3 * c3))) / h[:, None], 0.0)

    def slowed(self, factor: float) -> "JointTrajectory":
        """The same path in `factor` times the time."""
        return replace(self, times_s=self.times_s * factor, velocities=self.velocities / factor)

    def peaks(self) -> tuple[np.ndarray, np.ndarray]:
        """Largest |velocity| and |acceleration| of each joint over the whole spline, exact; [joints] each."""
        h, c1, c2, c3 = self._cubics
        h = h[:, None]
        # Velocity is a parabola per segment: its extremum lies at the ends or at u = -c2 / (3 c3).
        with np.errstate(divide="ignore", invalid="ignore"):
            u = np.clip(np.nan_to_num(-c2 / (3 * c3)), 0, 1)
        inside = np.abs(c1 + u * (2 * c2 + u * (3 * c3))) / h
        velocity = np.maximum(np.abs(self.velocities).max(axis=0), inside.max(axis=0))
        # Acceleration is a line per segment: its extrema lie at the ends.
        acceleration = (np.maximum(np.abs(2 * c2), np.abs(2 * c2 + 6 * c3)) / h**2).max(axis=0)
        return velocity, acceleration

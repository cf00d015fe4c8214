"""The rules of ros2_control's joint_trajectory_controller (Jazzy): what it refuses, and the command of each period."""

from dataclasses import dataclass

import numpy as np

from am_ros.errors import AmRosError

# What the controller takes for zero: the epsilon of a float.
ZERO_VELOCITY = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class TrajectoryCommand:
    """A trajectory_msgs/JointTrajectory without ROS: K points of the joints in `joint_names`."""

    joint_names: tuple[str, ...]
    times_s: tuple[float, ...]  # time_from_start of each point
    positions: tuple  # K sequences; empty ones where a point has none, as in the next two
    velocities: tuple
    accelerations: tuple
    stamp_s: float | None = None  # header.stamp; None: zero, which means now
    efforts: bool = False  # whether a point asks for efforts


class JointTrajectoryController:
    """One command per period; the arm's joints are `names`.

    `from_desired`: a new trajectory is entered from the last command, else from the measured state. `partial`: joints
    that a trajectory leaves out keep their command. `end_velocity`: its last point may still move.
    """

    def __init__(self, names, period_s: float, from_desired: bool, partial: bool, end_velocity: bool):
        self._names, self._period_s = tuple(names), period_s
        self._from_desired, self._partial, self._end_velocity = from_desired, partial, end_velocity
        self.active = True
        self.reset(np.zeros(len(self._names)))

    def reset(self, q: np.ndarray) -> None:
        """Hold q [joints]; whatever was to come is forgotten."""
        self.command = np.array(q, float)  # [joints] rad
        self._last_s: float | None = None  # time of the last update
        self._next: TrajectoryCommand | None = None
        self._path: _Path | None = None

    def set_active(self, active: bool) -> None:
        """Deactivated it holds its last command and takes no trajectory; activated again it goes on holding."""
        if self.active != active:
            self.reset(self.command)
        self.active = active

    def accept(self, command: TrajectoryCommand, clock_s: float = 0.0) -> None:
        """Begin it with the next period; an inactive controller drops it. Raises AmRosError for what it refuses.

        `clock_s`: the time on the clock of the stamps.
        """
        self._check(command, clock_s)
        if self.active:
            self._next = command

    def left_s(self, now_s: float) -> float:
        """How long the trajectory under way still takes."""
        if self._next is not None:
            return self._next.times_s[-1]
        return max(0.0, self._path.end_s - now_s) if self._path else 0.0

    def update(self, now_s: float, q: np.ndarray, qd: np.ndarray, clock_s: float = 0.0) -> np.ndarray:
        """The command [joints] of this period, from the measured state: the trajectory as it will be one period on.

        `clock_s`: this time on the clock of the stamps.
        """
        if self._next is not None:
            measured = now_s, q, qd
            desired = (now_s if self._last_s is None else self._last_s), self.command, np.zeros_like(q)
            start_s = now_s if self._next.stamp_s is None else now_s + self._next.stamp_s - clock_s
            self._path = self._enter(self._next, start_s, desired if self._from_desired else measured)
            self._next = None
        if self._path is not None:
            self.command = self._path.at(now_s + self._period_s)
        self._last_s = now_s
        return self.command

    def _enter(self, command: TrajectoryCommand, start_s: float, before) -> "_Path":
        """The joints in our order, those left out at their command, behind the state from which it is entered."""
        given = [self._names.index(name) for name in command.joint_names]
        rests: tuple[np.ndarray | float, ...] = (self.command, 0.0, 0.0)
        points = []
        for rows in zip(command.positions, command.velocities, command.accelerations, strict=True):
            full = []
            for row, rest in zip(rows, rests, strict=True):
                if len(row):
                    values = np.array(np.broadcast_to(rest, len(self._names)), float)
                    values[given] = row
                    full.append(values)
                else:  # a derivative without the one before it says nothing
                    break
            points.append(full)
        before_s, *state = before
        return _Path([before_s, *(start_s + t for t in command.times_s)], [list(state), *points])

    def _check(self, command: TrajectoryCommand, clock_s: float) -> None:
        names, count = command.joint_names, len(command.joint_names)
        unknown = [name for name in names if name not in self._names]
        if unknown or not names or (count != len(self._names) and not self._partial) or len(set(names)) != count:
            raise AmRosError(
                f"joint_trajectory: joints are {', '.join(names) or 'none'}, expected {', '.join(self._names)}"
            )
        if not command.times_s:
            raise AmRosError("joint_trajectory: it has no points")
        if command.efforts:
            raise AmRosError("joint_trajectory: efforts are for controllers of efforts only")
        for what in ("positions", "velocities", "accelerations"):
            for row in getattr(command, what):
                if len(row) != count and (len(row) or what == "positions"):
                    raise AmRosError(f"joint_trajectory: every point needs {count} {what}")
                if not np.isfinite(row).all():
                    raise AmRosError(f"joint_trajectory: {what} are not finite")
        if command.times_s[0] < 0 or (np.diff(command.times_s) <= 0).any():
            raise AmRosError("joint_trajectory: time_from_start does not increase")
        if not self._end_velocity and any(abs(v) > ZERO_VELOCITY for v in command.velocities[-1]):
            raise AmRosError("joint_trajectory: the velocity of the last point is not zero")
        ended_s = 0.0 if command.stamp_s is None else clock_s - command.stamp_s - command.times_s[-1]
        if ended_s > 0:
            raise AmRosError(f"joint_trajectory: it is stamped and ends {ended_s:.3f} s in the past")


class _Path:
    """Polynomials from point to point, of the order that the derivatives of both allow: 1, 3 or 5.

    `points` holds per time [q], [q, qd] or [q, qd, qdd]; the first is the state from which the path is entered, and
    may lie behind the time of the second, which then counts.
    """

    def __init__(self, times_s: list[float], points: list[list[np.ndarray]]):
        self._times_s, self._points = times_s, points
        self.end_s = times_s[-1]

    def at(self, time_s: float) -> np.ndarray:
        """Position [joints]: before the first time that of the first point, after the end that of the last."""
        if time_s >= self.end_s:
            return self._points[-1][0].copy()
        for k in reversed(range(len(self._times_s) - 1)):
            start_s, end_s = self._times_s[k : k + 2]
            if start_s <= time_s < end_s:
                return _between(self._points[k], self._points[k + 1], end_s - start_s, time_s - start_s)
        return self._points[0][0].copy()


def _between(first: list[np.ndarray], second: list[np.ndarray], h: float, t: float) -> np.ndarray:
    """Hermite interpolation over a segment of `h` seconds at `t`, in powers of u = t / h."""
    order, u = min(len(first), len(second)), t / h
    q, rise = first[0], second[0] - first[0]
    if order == 1:
        return q + u * rise
    v0, v1 = h * first[1], h * second[1]
    if order == 2:
        return q + u * (v0 + u * (3 * rise - 2 * v0 - v1 + u * (v0 + v1 - 2 * rise)))
    a0, a1 = h * h * first[2], h * h * second[2]
    c3 = 10 * rise - 6 * v0 - 4 * v1 - 1.5 * a0 + 0.5 * a1
    c4 = -15 * rise + 8 * v0 + 7 * v1 + 1.5 * a0 - a1
    c5 = 6 * rise - 3 * (v0 + v1) - 0.5 * a0 + 0.5 * a1
    return q + u * (v0 + u * (0.5 * a0 + u * (c3 + u * (c4 + u * c5))))

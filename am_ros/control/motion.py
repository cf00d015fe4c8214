"""Is the arm there? Joint states as they come in, and the decision that a motion has arrived or stalled."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from am_ros.configuration import parameter
from am_ros.errors import AmRosError


class End(IntEnum):
    """How a motion ended; the values are those of am_msgs/action/MoveCartesian."""

    DONE = 0
    REFUSED = 1
    STALLED = 2
    STOPPED = 3


@dataclass(frozen=True)
class ArrivalTolerance:
    """When a motion counts as done, and how long it may take."""

    position_tolerance_rad: float = parameter(
        0.002, "a motion is done when every joint is this near its goal [rad]", range=(1e-5, 0.1)
    )
    # A gripper that closes on a block beside its middle pushes the arm aside by some 0.004 rad.
    settled_tolerance_rad: float = parameter(
        0.01, "... or this near at rest for settle_s after its planned time: contact, gravity [rad]", range=(1e-5, 0.2)
    )
    settle_s: float = parameter(0.1, "see settled_tolerance_rad [s]", range=(0.0, 5.0))
    velocity_tolerance_rad_s: float = parameter(0.01, "joints slower than this stand still [rad/s]", range=(1e-4, 1.0))
    gripper_tolerance: float = parameter(0.02, "the gripper is there when it is this near, 0 ... 1", range=(1e-3, 0.5))
    # A gripper that has closed on an object stops short of its goal; so it must only stop.
    gripper_still_s: float = parameter(0.25, "a gripper that stands still so long has settled [s]", range=(0.02, 5.0))
    stall_s: float = parameter(0.5, "an arm at rest that long away from its goal has stalled [s]", range=(0.05, 30.0))
    time_limit_factor: float = parameter(
        5.0, "a motion may take this many times its planned duration ...", range=(1.0, 100.0)
    )
    time_limit_s: float = parameter(5.0, "... plus this [s]", range=(0.1, 600.0))


class JointStateBuffer:
    """The latest measured state of the arm and its gripper, from messages that may name joints in any order."""

    def __init__(self, joint_names, finger_names, finger_stroke_m: float, timeout_s: float):
        self._joints, self._fingers = tuple(joint_names), tuple(finger_names)
        self._stroke, self._timeout = finger_stroke_m, timeout_s
        self.q: np.ndarray | None = None  # [joints] rad
        self.qd: np.ndarray | None = None  # [joints] rad/s, measured or else estimated
        self.qd_measured: np.ndarray | None = None  # None where the driver leaves velocities empty
        self.opening: float | None = None  # 0 closed ... 1 open
        self.stamp_ns = 0  # header stamp of q
        self._received = {"arm": -np.inf, "gripper": -np.inf}

    def update(self, names, positions, velocities, stamp_ns: int, now_s: float) -> bool:
        """Take one message; returns whether it held the arm.

        Arm and gripper may come in messages of their own. What is not finite is not taken, so it goes stale.
        """
        position = dict(zip(names, positions, strict=False))
        fingers = [position.get(name, np.nan) for name in self._fingers]
        if np.isfinite(fingers).all():
            self.opening = float(np.clip(np.mean(fingers) / self._stroke, 0, 1))
            self._received["gripper"] = now_s
        q = np.array([position.get(name, np.nan) for name in self._joints], float)
        if not np.isfinite(q).all():
            return False
        velocity = dict(zip(names, velocities, strict=False))
        qd = np.array([velocity.get(name, np.nan) for name in self._joints], float)
        self.qd_measured = qd if np.isfinite(qd).all() else None
        if self.qd_measured is None:
            qd = self._difference(q, stamp_ns)
        self.q, self.qd, self.stamp_ns = q, qd, stamp_ns
        self._received["arm"] = now_s
        return True

    def _difference(self, q, stamp_ns: int) -> np.ndarray:
        """Velocity by finite difference, for drivers that leave the velocities empty."""
        if self.q is None:
            return np.zeros_like(q)
        seconds = (stamp_ns - self.stamp_ns) * 1e-9
        return (q - self.q) / seconds if seconds > 0 else self.qd

    def fault(self, now_s: float) -> str | None:
        """Why the state cannot be acted on, or None: "joint_states_stale: ..."."""
        for part, names in (("arm", self._joints), ("gripper", self._fingers)):
            age = now_s - self._received[part]
            if age == np.inf:
                return f"joint_states_stale: {', '.join(names)} never came on joint_states"
            if age > self._timeout:
                return f"joint_states_stale: last {part} state on joint_states is {age:.1f} s old"
        return None

    def check(self, now_s: float) -> None:
        """Raise AmRosError if the state cannot be acted on."""
        fault = self.fault(now_s)
        if fault:
            raise AmRosError(fault)


class MotionMonitor:
    """Follows one motion by what is measured. Times count from its start, on any clock that only goes forward."""

    def __init__(
        self,
        start,
        goal,
        duration_s: float,
        gripper: float | None,
        tolerance: ArrivalTolerance,
        names,
        measure: Callable[[np.ndarray], np.ndarray] = np.asarray,
        unit: str = "rad",
    ):
        """From `start` to `goal` [joints] in rad; `gripper` is the commanded opening, None if it stays as it is.

        `measure` takes joint angles to what is compared, `names` are the names of its values and `unit` that of the
        tolerances: the joint angles themselves unless said otherwise.
        """
        self._measure, self._unit = measure, unit
        self._start, self._goal = measure(np.asarray(start, float)), measure(np.asarray(goal, float))
        self._duration, self._gripper = duration_s, gripper
        self._tolerance, self._names = tolerance, names
        self._path = self._goal - self._start
        self._openings: deque[tuple[float, float]] = deque()
        self._at_rest_since: float | None = None
        self.fraction = 0.0  # of the way, 0 ... 1

    def update(self, time_s: float, q, qd, opening: float) -> tuple[End, str] | None:
        """Take a measured state; returns how the motion ended and why, or None while it goes on."""
        tolerance, q = self._tolerance, self._measure(q)
        error = np.abs(self._goal - q)
        length = float(self._path @ self._path)
        self.fraction = float(np.clip((q - self._start) @ self._path / length, 0, 1)) if length > 1e-12 else 1.0
        if np.abs(qd).max() > tolerance.velocity_tolerance_rad_s:
            self._at_rest_since = None
        elif self._at_rest_since is None:
            self._at_rest_since = time_s
        gripper_settled = self._gripper_settled(time_s, opening)
        at_rest_s = -1.0 if self._at_rest_since is None else time_s - self._at_rest_since
        arrived = at_rest_s >= 0 and error.max() <= self._reach(time_s, at_rest_s)
        if arrived and gripper_settled:
            self.fraction = 1.0
            return End.DONE, ""
        worst = int(error.argmax())
        short = f"{self._names[worst]} is {error[worst]:.4f} {self._unit} from its goal"
        if time_s > self._duration and not arrived and at_rest_s > tolerance.stall_s:
            return End.STALLED, f"stalled: {short} and the arm stands still (contact?)"
        limit = tolerance.time_limit_factor * self._duration + tolerance.time_limit_s
        if time_s > limit:
            return End.STALLED, f"time_limit: after {limit:.1f} s " + ("the gripper still moves" if arrived else short)
        return None

    def _reach(self, time_s: float, at_rest_s: float) -> float:
        """Largest joint error that counts as arrived.

        Before the planned time is over (a simulator may run faster than real time) a step shorter than the
        tolerance must not count as done before it began.
        """
        tolerance = self._tolerance
        if time_s < self._duration:
            return min(tolerance.position_tolerance_rad, 0.2 * np.abs(self._path).max())
        settled = at_rest_s >= tolerance.settle_s and time_s >= self._duration + tolerance.settle_s
        return tolerance.settled_tolerance_rad if settled else tolerance.position_tolerance_rad

    def _gripper_settled(self, time_s: float, opening: float) -> bool:
        window = self._openings
        window.append((time_s, opening))
        while len(window) > 2 and window[1][0] <= time_s - self._tolerance.gripper_still_s:
            window.popleft()
        if self._gripper is not None and abs(opening - self._gripper) <= self._tolerance.gripper_tolerance:
            return True
        values = [value for _, value in window]
        spans_window = time_s - window[0][0] >= self._tolerance.gripper_still_s
        return spans_window and max(values) - min(values) < self._tolerance.gripper_tolerance / 2

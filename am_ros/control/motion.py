"""Is the arm there? The decision that a motion has arrived, has stalled, or never began."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from am_ros.configuration import parameter
from am_ros.control.types import Names, Vector

# An arm that has moved by less, of the way that it was told to go by now, has not moved. The second is beyond what an
# arm that still settles, or encoder noise of 0.1 mrad, pretends.
MOVED_SHARE = 0.04
MOVED = 1e-3
# A shorter way may be lost in friction.
SHORTEST_WAY = 6e-3
# Told to go further, an arm that can move has begun to; shorter steps are judged at nine tenths of their way.
TOLD = 0.02
# An arm that was kept from its goal by contact lacks more of its way.
WHOLE_WAY = 0.9
# A joint state that comes later than that after the one before counts as so much time: nobody has looked meanwhile.
LONGEST_GAP_S = 0.05


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
    no_motion_s: float = parameter(
        0.25, "an arm that is told to move and does not at all, for so long: protective stop [s]", range=(0.1, 10.0)
    )
    time_limit_factor: float = parameter(
        5.0, "a motion may take this many times its planned duration ...", range=(1.0, 100.0)
    )
    time_limit_s: float = parameter(5.0, "... plus this [s]", range=(0.1, 600.0))


class MotionMonitor:
    """Follows one motion by what is measured. Times count from its start, on any clock that only goes forward."""

    def __init__(
        self,
        start: Vector,
        goal: Vector,
        duration_s: float,
        gripper: float | None,
        tolerance: ArrivalTolerance,
        names: Names,
        measure: Callable[[np.ndarray], np.ndarray] = np.asarray,
        unit: str = "rad",
        measured: Vector | None = None,
        lead_s: float = 0.0,
    ):
        """Told to go from `start` to `goal` [joints] in rad; `gripper` is its commanded opening, None if it stays.

        `measured` [joints] is where the arm stood then, by default at `start`. An arm that hangs beside its command has
        arrived as well where it hangs as much beside its goal. The motion begins after `lead_s`. `measure` takes joint
        angles to what is compared, `names` are the names of its values and `unit` that of the tolerances: the joint
        angles themselves unless said otherwise.
        """
        self._measure, self._unit = measure, unit
        start, goal, self._first = (
            measure(np.asarray(q, float)) for q in (start, goal, start if measured is None else measured)
        )
        hangs = goal + self._first - start
        self._low, self._high = np.minimum(goal, hangs), np.maximum(goal, hangs)
        self._duration, self._lead, self._gripper = duration_s + lead_s, lead_s, gripper
        self._tolerance, self._names = tolerance, names
        self._path = goal - start
        self._openings: deque[tuple[float, float]] = deque()
        self._at_rest_since: float | None = None
        self._way = float(np.abs(self._path).max())
        self._moved = self._way < SHORTEST_WAY
        self._last_s, self._unmoved_s = 0.0, 0.0
        self.fraction = 0.0  # of the way, 0 ... 1

    def update(self, time_s: float, q: np.ndarray, qd: np.ndarray, opening: float) -> tuple[End, str] | None:
        """Take a measured state; returns how the motion ended and why, or None while it goes on.

        A reason that begins with "no_motion" calls for a protective stop.
        """
        tolerance, q = self._tolerance, self._measure(q)
        error = np.maximum(np.maximum(self._low - q, q - self._high), 0.0)
        length = float(self._path @ self._path)
        self.fraction = float(np.clip((q - self._first) @ self._path / length, 0, 1)) if length > 1e-12 else 1.0
        if np.abs(qd).max() > tolerance.velocity_tolerance_rad_s:
            self._at_rest_since = None
        elif self._at_rest_since is None:
            self._at_rest_since = time_s
        gripper_settled = self._gripper_settled(time_s, opening)
        at_rest_s = -1.0 if self._at_rest_since is None else time_s - self._at_rest_since
        unmoved = self._has_not_moved(time_s, q)
        if unmoved:
            return End.STALLED, unmoved
        arrived = self._moved and at_rest_s >= 0 and error.max() <= self._reach(time_s, at_rest_s)
        if arrived and gripper_settled:
            self.fraction = 1.0
            return End.DONE, ""
        worst = int(error.argmax())
        short = f"{self._names[worst]} is {error[worst]:.4f} {self._unit} from its goal"
        if time_s > self._duration and not arrived and at_rest_s > tolerance.stall_s:
            if self.fraction >= WHOLE_WAY:
                return End.STALLED, f"state_offset: {short} after the whole way (does the arm hang below its command?)"
            return End.STALLED, f"stalled: {short} and the arm stands still (contact?)"
        limit = tolerance.time_limit_factor * self._duration + tolerance.time_limit_s
        if time_s > limit:
            return End.STALLED, f"time_limit: after {limit:.1f} s " + ("the gripper still moves" if arrived else short)
        return None

    def _has_not_moved(self, time_s: float, q: np.ndarray) -> str:
        """ "no_motion: ..." if the arm has been told to move for long enough and has not at all."""
        gap_s, self._last_s = min(time_s - self._last_s, LONGEST_GAP_S), time_s
        if self._moved:
            return ""
        tau = min(max(time_s - self._lead, 0.0) / max(self._duration - self._lead, 1e-9), 1.0)
        told = self._way * tau**3 * (10 - 15 * tau + 6 * tau**2)  # as our stepper goes; others differ little
        if told < min(TOLD, 0.9 * self._way):
            return ""
        self._moved = float(np.abs(q - self._first).max()) > max(MOVED, MOVED_SHARE * told)
        if self._moved:
            return ""
        self._unmoved_s += gap_s
        if self._unmoved_s < self._tolerance.no_motion_s:
            return ""
        return (
            f"no_motion: told to move by {told:.3f} {self._unit}, the arm does not at all: emergency stop, brakes, or "
            "a trajectory controller that is not active?"
        )

    def _reach(self, time_s: float, at_rest_s: float) -> float:
        """Largest joint error that counts as arrived.

        Before the planned time is over (a simulator may run faster than real time) a step shorter than the
        tolerance must not count as done before it began.
        """
        tolerance = self._tolerance
        if time_s < self._duration:
            return min(tolerance.position_tolerance_rad, 0.2 * self._way)
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

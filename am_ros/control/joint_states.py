"""The measured state of the arm and its gripper, from joint states as drivers publish them: late, noisy, incomplete."""

from collections import deque

import numpy as np

from am_ros.control.ticks import DriverTicks
from am_ros.control.types import Names, Vector
from am_ros.errors import AmRosError

# Velocities are the slope of the positions of the last 0.1 s where the driver's own cannot be used: a noise of 0.1 mrad
# at 100 Hz becomes 0.004 rad/s, below what counts as rest, where the difference of two would be 0.014 rad/s.
SLOPE_S = 0.1
# Stamps that are never nearer to the reception than this are of another clock; queues and busy machines are later at
# times, not always.
STAMP_LATE_S = 0.1
STAMP_AHEAD_S = 0.05
STAMP_WINDOW = 100
# Stamps of a driver whose clock is ours, and whose messages come at once: the earliest of the window is that old. Only
# then can a trajectory be stamped so that the driver begins it when we say.
SAME_CLOCK_S = (-0.001, 0.005)
STAMPS_TO_TELL = 20  # before that
# Velocities contradict the positions if they explain less than half of what a joint turned within so long; less than
# 0.02 rad may be noise or an arm that is pushed.
CONTRADICTION_S = 0.3
CONTRADICTION_RAD = 0.02
LOOK_S = 0.1
# Between two joint states at 100 Hz: 5 rad/s, more than any joint turns.
JUMP_RAD = 0.05
# Fingers may stand a little beyond open or closed: tolerances, pads that give way. Further, the values are of another
# gripper. A share of the way between them.
FINGER_BEYOND = 0.25


class StateStamps:
    """Whether the driver's stamps can be compared with our clock; else the time of reception counts."""

    def __init__(self) -> None:
        self._ages_s: deque[float] = deque(maxlen=STAMP_WINDOW)
        self.fault = ""  # "stamps: ..." while they cannot

    @property
    def behind_s(self) -> float | None:
        """How far the driver's clock seems to be behind ours, by the message that came fastest; None: it is another."""
        if self.fault or len(self._ages_s) < STAMPS_TO_TELL:
            return None
        behind_s = min(self._ages_s)
        return behind_s if SAME_CLOCK_S[0] <= behind_s <= SAME_CLOCK_S[1] else None

    def time_ns(self, stamp_ns: int, received_ns: int) -> int:
        """When the state was measured, on our clock."""
        if not stamp_ns:
            self.fault = "stamps: joint_states carry no stamp; the time of reception is used"
            return received_ns
        self._ages_s.append((received_ns - stamp_ns) * 1e-9)
        age_s = min(self._ages_s, key=abs)
        if -STAMP_AHEAD_S <= age_s <= STAMP_LATE_S:
            self.fault = ""
            return stamp_ns
        side = "behind" if age_s > 0 else "ahead of"
        self.fault = f"stamps: those of joint_states are {abs(age_s):.2f} s {side} our clock; reception is used"
        return received_ns


def changes_without_jump(angles: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """The changes between states [N, joints] but for jumps, [M, joints]; and of `others` [N - 1, joints] the same rows.

    A simulator that is reset puts its arm elsewhere at once: that is no motion. The largest change counts as a jump.
    """
    changes = np.diff(angles, axis=0)
    if not len(changes):
        return [changes, *others]
    sizes = np.abs(changes).max(axis=1)
    smooth = sizes < JUMP_RAD
    smooth[sizes.argmax()] = False
    return [part[smooth] for part in (changes, *others)]


class VelocityCheck:
    """Do the velocities that a driver reports fit its positions?"""

    def __init__(self, names: Names):
        self._names = tuple(names)
        self._states: deque[tuple[float, np.ndarray, np.ndarray]] = deque()
        self.fault = ""  # "velocities: ...", once found for good
        self._looked_s = float("-inf")

    def update(self, time_s: float, q: np.ndarray, qd: np.ndarray) -> str:
        """Take a state; returns the fault, or empty."""
        states = self._states
        if states and not 0 < time_s - states[-1][0] < CONTRADICTION_S:
            states.clear()
        states.append((time_s, q, qd))
        while time_s - states[0][0] > CONTRADICTION_S:
            states.popleft()
        if self.fault or abs(time_s - self._looked_s) < LOOK_S:
            return self.fault
        self._looked_s = time_s
        if np.abs(q - states[0][1]).max() > CONTRADICTION_RAD:
            times, angles, speeds = (np.array(part) for part in zip(*states, strict=True))
            changes = changes_without_jump(angles, (speeds[1:] + speeds[:-1]) / 2 * np.diff(times)[:, None])
            turned, said = (part.sum(axis=0) for part in changes)
            k = int(np.abs(turned - said).argmax())
            if abs(turned[k] - said[k]) > max(CONTRADICTION_RAD, 0.5 * abs(turned[k])):
                self.fault = (
                    f"velocities: {self._names[k]} turned by {turned[k]:+.3f} rad within {times[-1] - times[0]:.2f} s, "
                    f"its reported velocities say {said[k]:+.3f} rad; differences of positions are used"
                )
        return self.fault


def measured_opening(names: Names, positions: Vector, opened: float, closed: float) -> tuple[float, str]:
    """Opening of a gripper, 0 ... 1, by its fingers' positions; and "gripper_values: ..." if they cannot be there.

    `opened` and `closed`: the parameters finger_open and finger_closed.
    """
    position = float(np.mean(positions))
    opening = (position - closed) / (opened - closed)
    fault = ""
    if not -FINGER_BEYOND <= opening <= 1 + FINGER_BEYOND:
        fault = (
            f"gripper_values: {', '.join(names)} at {position:.3f}, but finger_open is {opened:g} and finger_closed "
            f"{closed:g}: set them to what joint_states says of an open and of a closed gripper"
        )
    return float(np.clip(opening, 0, 1)), fault


class JointStateBuffer:
    """The latest measured state of the arm and its gripper, from messages that may name joints in any order."""

    def __init__(self, joint_names: Names, finger_names: Names, fingers: tuple[float, float], timeout_s: float):
        """`fingers`: what joint states say of a finger of an open and of a closed gripper."""
        self._joints, self._fingers = tuple(joint_names), tuple(finger_names)
        self._open_closed, self._timeout = fingers, timeout_s
        self.gripper_fault = ""  # "gripper_values: ..." while the fingers are where those values allow no finger to be
        self.q: np.ndarray | None = None  # [joints] rad
        self.qd: np.ndarray | None = None  # [joints] rad/s, measured or else estimated
        self.qd_measured: np.ndarray | None = None  # None where the driver reports none, or wrong ones
        self.slope = np.zeros(len(self._joints))  # [joints] rad/s, of the positions of the last SLOPE_S
        self.opening: float | None = None  # 0 closed ... 1 open
        self.stamp_ns = 0  # when q was measured, on our clock
        self.ticks = DriverTicks()
        self.stamps = StateStamps()
        self.velocities = VelocityCheck(joint_names)
        self._window: deque[tuple[float, np.ndarray]] = deque()
        self._ros_s = 0.0  # the ROS clock less the monotonic one
        self._received = {"arm": -np.inf, "gripper": -np.inf}

    def update(
        self,
        names: Names,
        positions: Vector,
        velocities: Vector,
        stamp_ns: int,
        now_s: float,
        received_ns: int | None = None,
        sequence: int = 0,
    ) -> bool:
        """Take one message, received at `received_ns` of our ROS clock; returns whether it held the arm.

        `sequence` is the publisher's number of it, 0 if unknown.

        Arm and gripper may come in messages of their own. What is not finite is not taken, so it goes stale.
        """
        position = dict(zip(names, positions, strict=False))
        fingers = [position.get(name, np.nan) for name in self._fingers]
        if np.isfinite(fingers).all():
            self.opening, self.gripper_fault = measured_opening(self._fingers, fingers, *self._open_closed)
            self._received["gripper"] = now_s
        q = np.array([position.get(name, np.nan) for name in self._joints], float)
        if not np.isfinite(q).all():
            return False
        received_ns = stamp_ns if received_ns is None else received_ns
        self.stamp_ns = self.stamps.time_ns(stamp_ns, received_ns)
        self._ros_s = received_ns * 1e-9 - now_s
        # The driver's own time where it has one: intervals are right in it, whatever clock it is of.
        time_s = (stamp_ns or self.stamp_ns) * 1e-9
        velocity = dict(zip(names, velocities, strict=False))
        qd = np.array([velocity.get(name, np.nan) for name in self._joints], float)
        trusted = np.isfinite(qd).all() and not self.velocities.update(time_s, q, qd)
        self.qd_measured = qd if trusted else None
        self.slope = self._slope(time_s, q)
        self.q, self.qd = q, qd if trusted else self.slope
        self.ticks.update(time_s, now_s, sequence)
        self._received["arm"] = now_s
        return True

    def measured(self) -> tuple[np.ndarray, np.ndarray]:
        """q and qd [joints]; raises AmRosError "joint_states_stale: ..." before the first state of the arm."""
        if self.q is None or self.qd is None:
            raise AmRosError(f"joint_states_stale: {', '.join(self._joints)} never came on joint_states")
        return self.q, self.qd

    def driver_s(self, now_s: float) -> float | None:
        """The time on the driver's clock, not later than it is; None where that is not known."""
        behind_s = self.stamps.behind_s
        return None if behind_s is None else now_s + self._ros_s - behind_s

    def _slope(self, time_s: float, q: np.ndarray) -> np.ndarray:
        """Velocity by least squares over the last SLOPE_S."""
        window = self._window
        if window and not 0 <= time_s - window[-1][0] <= SLOPE_S:
            window.clear()
        window.append((time_s, q))
        while len(window) > 2 and time_s - window[0][0] > SLOPE_S:
            window.popleft()
        times = np.array([t for t, _ in window])
        times -= times.mean()
        spread = float(times @ times)
        return times @ np.array([angles for _, angles in window]) / spread if spread > 1e-9 else np.zeros_like(q)

    def notes(self) -> list[str]:
        """What of the driver's messages is not believed, a sentence each."""
        return [fault for fault in (self.stamps.fault, self.velocities.fault) if fault]

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

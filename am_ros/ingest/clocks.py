"""Header stamps against the times of reception: do the clocks of a bag agree, does one jump, do two sources mix?

The recorder's clock is one for all topics, so it compares the clocks of camera, arm and gripper: a delay is reception
minus stamp, and differs between two topics by what their messages take on the way, or by what their clocks differ.
"""

from collections import deque
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from am_ros.errors import AmRosError

# Messages that wait in a queue come later by and by, or seldom by more than this; a clock is set at once.
STEP_S = 0.2
# ... and the messages after it agree that it was: so many, this well.
CONFIRMED_BY, WITHIN_S = 4, 0.1
# Two sources with clocks of their own: so many changes to and fro among the last messages.
ALTERNATIONS, AMONG = 6, 20
ENOUGH = 8  # messages of each, before two clocks are compared
AHEAD_S = 0.03  # before its stamp no message is received
PAIRS = 20  # of an image and the newest message before it, that a comparison takes
SAME_MOMENT_NS = 250_000_000
PATIENCE_NS = 1_500_000_000  # after a jump of one clock, the others get so long to follow
DRIFT_AFTER_S = 20.0  # a shorter recording tells nothing of drift


class ClocksDiffer(AmRosError):
    """The clocks of the camera and of another topic differ by more than messages take on their way."""

    def __init__(self, sentence: str, role: str, offset_s: float):
        super().__init__(sentence)
        self.role, self.offset_s = role, offset_s  # whose stamps to correct, by how much


class TopicClock(NamedTuple):
    """What the stamps of one topic say, for a report."""

    role: str
    name: str
    delay_s: float  # median of reception minus stamp
    jitter_s: float  # between the 5th and 95th percentile of that
    drift_s_per_min: float
    jumps_s: tuple[float, ...]

    def __str__(self) -> str:
        drift = f", drifts by {1e3 * self.drift_s_per_min:.0f} ms a minute" if self.drift_s_per_min else ""
        jumps = f", jumps by {', '.join(f'{j:+.3f}' for j in self.jumps_s)} s" if self.jumps_s else ""
        return (
            f"{self.name}: received {self.delay_s:.3f} s after its stamp (within {1e3 * self.jitter_s:.0f} ms)"
            f"{drift}{jumps}"
        )


class _Clock:
    """The delays of one topic."""

    KEPT = 4000  # of a report's percentiles

    def __init__(self, role: str, name: str):
        self.role, self.name = role, name
        self.count, self.last_s, self.last_ns = 0, 0.0, 0
        self.jumps: list[float] = []
        self.pairs: deque[float] = deque(maxlen=PAIRS)  # this delay minus the camera's
        self._recent: deque[float] = deque(maxlen=PAIRS)  # delays
        self._flips: deque[int] = deque(maxlen=AMONG)
        self._candidate: list[float] = []  # delays since a step that is not confirmed
        self._settled_s = 0.0  # the delay before it
        self._all: list[tuple[int, float]] = []
        self._thinned = 1

    def add(self, stamp_ns: int, receive_ns: int) -> float:
        """Take a message; returns by how much the clock was set, once that is sure [s], else 0.

        Raises AmRosError if two sources with different clocks alternate.
        """
        delay = (receive_ns - stamp_ns) / 1e9
        step, before = (delay - self.last_s if self.count else 0.0), self.last_s
        self.count += 1
        self.last_s, self.last_ns = delay, receive_ns
        self._keep(receive_ns, delay)
        self._recent.append(delay)
        self._watch_alternation(step)
        if self._candidate:
            if abs(delay - self._candidate[0]) > WITHIN_S:
                self._candidate = []
            else:
                self._candidate.append(delay)
        if abs(step) > STEP_S and not self._candidate:
            self._candidate, self._settled_s = [delay], before
        if len(self._candidate) <= CONFIRMED_BY:
            return 0.0
        shift = self._settled_s - self._candidate[0]  # an earlier stamp makes a longer delay
        self._candidate = []
        if abs(shift) < STEP_S:  # back to where it was
            return 0.0
        self.jumps.append(shift)
        return shift

    @property
    def latest_s(self) -> float:
        """The latest of the recent messages, but for a few: reception minus stamp."""
        return float(np.percentile(self._recent, 75))

    @property
    def sure(self) -> bool:
        """Whether no step is waiting to be confirmed."""
        return not self._candidate

    def report(self) -> TopicClock:
        times, delays = np.array([t for t, _ in self._all]) / 1e9, np.array([d for _, d in self._all])
        low, mid, high = np.percentile(delays, [5, 50, 95])
        drift = 0.0
        if len(delays) >= 4 * ENOUGH and times[-1] - times[0] > DRIFT_AFTER_S and not self.jumps:
            # Messages are late, never early: the earliest of each part show the clock.
            parts = [slice(a[0], a[-1] + 1) for a in np.array_split(np.arange(len(delays)), 4)]
            minutes = [times[p].mean() / 60 for p in parts]
            drift = float(np.polyfit(minutes - np.mean(minutes), [delays[p].min() for p in parts], 1)[0])
        return TopicClock(self.role, self.name, float(mid), float(high - low), drift, tuple(self.jumps))

    def _keep(self, receive_ns: int, delay: float) -> None:
        if self.count % self._thinned == 0:
            self._all.append((receive_ns, delay))
        if len(self._all) >= self.KEPT:
            self._all, self._thinned = self._all[::2], 2 * self._thinned

    def _watch_alternation(self, step: float) -> None:
        self._flips.append(0 if abs(step) <= STEP_S else 1 if step > 0 else -1)
        if not self._flips[-1]:
            return
        signs = [f for f in self._flips if f]
        if sum(a != b for a, b in pairwise(signs)) >= ALTERNATIONS - 1:
            raise AmRosError(
                f"{self.role}: {self.name}: messages of two sources alternate, with stamps {abs(step):.3f} s apart: "
                "record one of them (`ros2 topic info -v` names the publishers)"
            )


class Clocks:
    """The clocks of all topics of a bag, the camera's as the one that the others are compared with."""

    CAMERA = "image"

    def __init__(self, max_delay_s: float):
        self._max_delay_s = max_delay_s
        self._clocks: dict[tuple[str, str], _Clock] = {}
        self._jumped_ns: int | None = None
        self._camera_began_ns: int | None = None
        self._named_drift = False

    def add(self, role: str, name: str, stamp_ns: int, receive_ns: int) -> float:
        """Take a message of a topic whose header's stamp counts; returns what its clock was set by, else 0.

        Raises AmRosError if the clock is that of two sources, and ClocksDiffer if it is not the camera's.
        """
        if receive_ns <= 0 or stamp_ns <= 0:  # the recorder had no clock yet, or nobody stamped this
            return 0.0
        clock = self._clocks.get((role, name))
        if clock is None:
            clock = self._clocks[role, name] = _Clock(role, name)
        shift = clock.add(stamp_ns, receive_ns)
        if shift:
            self._jumped_ns = receive_ns
            for other in self._clocks.values():
                other.pairs.clear()
        elif role == self.CAMERA:
            self._camera_began_ns = self._camera_began_ns or receive_ns
            self._compare(clock)
        return shift

    def settled(self, now_ns: int) -> bool:
        """Whether the clocks are known well enough, at a time of reception, to believe the stamps."""
        if self._jumped_ns is not None and now_ns - self._jumped_ns < PATIENCE_NS:
            return False
        if not all(clock.sure for (role, _), clock in self._clocks.items() if role == self.CAMERA):
            return False
        began = self._camera_began_ns
        compared = [len(c.pairs) >= ENOUGH for (role, _), c in self._clocks.items() if role != self.CAMERA]
        return began is None or now_ns - began > PATIENCE_NS or (bool(compared) and all(compared))

    def finish(self) -> None:
        """The end of the bag: compare what there is."""
        for clock in self._clocks.values():
            if clock.role == self.CAMERA:
                self._compare(clock, enough=1, patience_ns=0)

    def report(self) -> list[TopicClock]:
        """One line of each topic."""
        return [clock.report() for clock in self._clocks.values()]

    def _compare(self, camera: _Clock, enough: int = ENOUGH, patience_ns: int = PATIENCE_NS) -> None:
        for clock in self._clocks.values():
            if clock is camera:
                continue
            # Of the same moment, so that simulated time, which runs slower than the recorder's, changes nothing.
            if 0 <= camera.last_ns - clock.last_ns < SAME_MOMENT_NS and clock.sure and camera.sure:
                clock.pairs.append(clock.last_s - camera.last_s)
            waits = self._jumped_ns is not None and camera.last_ns - self._jumped_ns < patience_ns
            if len(clock.pairs) < enough or waits:
                continue
            # Messages are late, never early; an image more often than a joint state.
            apart = float(np.percentile(clock.pairs, 75))
            latest = sorted((camera.latest_s, clock.latest_s))
            # A message that was received before its stamp is of another clock than the recorder's; one that was not, of
            # the recorder's. Nothing else is needed to tell that those two differ.
            both = latest[0] < -AHEAD_S and latest[1] >= 0
            if abs(apart) > (AHEAD_S if both else self._max_delay_s):
                self._refuse(camera, clock, apart)

    def _refuse(self, camera: _Clock, clock: _Clock, apart: float) -> None:
        told = [
            f"those of {c.name} {abs(c.last_s):.3f} s {'before' if c.last_s > 0 else 'after'}" for c in (camera, clock)
        ]
        jumps = [f" ({c.name} jumped by {c.jumps[-1]:+.3f} s)" for c in (camera, clock) if c.jumps]
        wrong = camera if abs(camera.last_s) >= abs(clock.last_s) else clock
        offset = -apart if wrong is camera else apart
        raise ClocksDiffer(
            f"{wrong.role}: the stamps of {wrong.name} and {(clock if wrong is camera else camera).name} are of clocks "
            f"that differ by {abs(apart):.3f} s: {told[0]} their reception, {told[1]}{''.join(jumps)}",
            wrong.role, offset,
        )  # fmt: skip

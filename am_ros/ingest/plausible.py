"""Is a stream of poses one that a machine can make? Two sources on one topic show as a tool that is in two places."""

from collections import deque
from typing import NamedTuple

import numpy as np
import pinocchio as pin

from am_ros.errors import AmRosError
from am_ros.ingest.mapping import RECEIVE

# Faster than any arm that is taught (an iiwa: 2 m/s) and than a hand that guides one.
MAX_SPEED_M_S = 5.0
# ... and further than noise: camera-based tracking trembles by millimetres.
MIN_JUMP_M = 0.02
# A sample beside the way from the one before to the one after. 15 m/s^2 is more than an iiwa can; 3 mm is what the
# states of an episode are to be right by; stamps of a driver that is no real-time program jitter by milliseconds.
MAX_ACCELERATION_M_S2, MIN_ASIDE_M, JITTER_S = 15.0, 0.003, 0.005
JERKY = 4.0  # so many times that acceleration, from one sample to the next, is no motion but a jump
# The turn of a tool counts as the way of a point so far from its axis.
LEVER_M = 0.1
TOO_MANY, AMONG = 6, 30  # so many impossible samples among the last ones are a second source
STANDS_M = 1e-6  # less than any measurement's noise: the same number again


class Passed(NamedTuple):
    """A sample that is believed."""

    stamp_ns: int
    placement: pin.SE3
    cut: bool  # it is elsewhere than the motion before it leads: nothing may be made across


class _Sample(NamedTuple):
    stamp_ns: int
    placement: pin.SE3
    source: str


class Plausible:
    """Passes on the samples of one stream; a sample that jumps away and back is held back, one that stays is a cut."""

    def __init__(self, what: str):
        self._what = what  # e.g. "pose: /joint_states"
        self._last: deque[_Sample] = deque(maxlen=2)
        self._held: _Sample | None = None
        self._faults: deque[tuple[float, float, str, str] | None] = deque(maxlen=AMONG)
        self._leaps: deque[tuple[np.ndarray, bool]] = deque(maxlen=TOO_MANY)  # of the faults; did it stand beside it?
        self.spikes = 0  # samples that were left out

    def begin_anew(self) -> None:
        """A clock was set back: what comes now is another stream."""
        self._last.clear()
        self._held = None

    def add(self, stamp_ns: int, placement: pin.SE3, source: str = "") -> list[Passed]:
        """Take the next sample; returns those that can be believed by now: none, one or two.

        `source` is what tells who sent it, e.g. its frame. Raises AmRosError if two sources alternate.
        """
        sample, last = _Sample(stamp_ns, placement, source), self._last[-1] if self._last else None
        if last is None or last.stamp_ns - stamp_ns > 1_000_000_000:  # a clock was set back: a new stream
            self.begin_anew()
            return self._pass(sample)
        if stamp_ns <= last.stamp_ns:
            if stamp_ns == last.stamp_ns and _way(last.placement, placement) > MIN_JUMP_M:
                self._fault(last, sample)
            return []
        if self._held is not None:
            held, self._held = self._held, None
            stays = _way(held.placement, placement) < 0.5 * _way(last.placement, placement)
            if not stays and not self._impossible(last, sample):  # it jumped away and back
                self.spikes += 1
                return self._pass(sample)
            if not stays:
                self._fault(held, sample)
            return [*self._pass(held, cut=True), *self._pass(sample)]
        if self._impossible(last, sample):
            self._fault(last, sample)
            self._held = sample
            return []
        if len(self._last) == 2 and self._aside(self._last[0], self._last[1], sample):
            self._fault(last, sample)
        return self._pass(sample)

    def _pass(self, sample: _Sample, cut: bool = False) -> list[Passed]:
        if cut:
            self._last.clear()
        self._last.append(sample)
        self._faults.append(None)
        return [Passed(sample.stamp_ns, sample.placement, cut)]

    def _impossible(self, a: _Sample, b: _Sample) -> bool:
        """Whether a machine that was at `a` cannot be at `b`."""
        way = _way(a.placement, b.placement)
        if way <= MIN_JUMP_M:
            return False
        seconds = max(1, b.stamp_ns - a.stamp_ns) / 1e9
        speed, before = way / seconds, 0.0
        if a is self._last[-1] and len(self._last) == 2:
            before = _way(self._last[0].placement, a.placement) / ((a.stamp_ns - self._last[0].stamp_ns) / 1e9)
        return speed > MAX_SPEED_M_S or (speed - before) / seconds > JERKY * MAX_ACCELERATION_M_S2

    def _aside(self, a: _Sample, b: _Sample, c: _Sample) -> bool:
        """Whether the middle one lies beside the way from one to the other, further than any motor accelerates."""
        before, after = (b.stamp_ns - a.stamp_ns) / 1e9, (c.stamp_ns - b.stamp_ns) / 1e9
        share = before / (before + after)
        way = c.placement.translation - a.placement.translation
        aside = float(np.linalg.norm(b.placement.translation - a.placement.translation - share * way))
        jitter = JITTER_S * float(np.linalg.norm(way)) / (before + after)
        return aside > max(MIN_ASIDE_M, jitter, 0.5 * MAX_ACCELERATION_M_S2 * max(before, after) ** 2)

    def _fault(self, a: _Sample, b: _Sample) -> None:
        self._faults.append((_way(a.placement, b.placement), (b.stamp_ns - a.stamp_ns) / 1e9, a.source, b.source))
        stood = _way(a.placement, b.placement) < STANDS_M or (
            len(self._last) == 2 and _way(self._last[0].placement, self._last[1].placement) < STANDS_M
        )
        self._leaps.append((b.placement.translation - a.placement.translation, stood))
        faults = [f for f in self._faults if f is not None]
        if len(faults) < TOO_MANY:
            return
        way, seconds, one, other = max(faults)
        if self._is_a_stair():
            raise AmRosError(
                f"{self._what}: it stands for some messages and leaps, {1e3 * way:.0f} mm at once: it is sent more "
                "often than it is measured, and what stands is late: record it where it is measured"
            )
        if one != other:
            who = f"one says {one}, the other {other}"
        else:
            who = f"both say {one}" if one else "their messages do not tell them apart"
        if not seconds:
            raise AmRosError(
                f"{self._what}: messages with the same stamp are {1e3 * way:.0f} mm apart, again and again: two "
                f"sources alternate, or stamps that do not go on (`stamp: {RECEIVE}` reads such); {who}"
            )
        raise AmRosError(
            f"{self._what}: two sources alternate: from a message to the next, {1e3 * seconds:.0f} ms later, it would "
            f"move {1e3 * way:.0f} mm and back, again and again; {who}: record one of them (`ros2 topic info -v` names "
            "the publishers)"
        )

    def _is_a_stair(self) -> bool:
        """Whether all faults are leaps between standstills that lead somewhere: two sources go to and fro."""
        ways = np.array([leap for leap, _ in self._leaps])
        return all(stood for _, stood in self._leaps) and bool(
            np.linalg.norm(ways.sum(0)) > 0.7 * np.linalg.norm(ways, axis=1).sum()
        )


def _way(a: pin.SE3, b: pin.SE3) -> float:
    """Distance, the turn counted too [m]."""
    way = float(np.linalg.norm(b.translation - a.translation))
    cosine = (float(np.vdot(a.rotation, b.rotation)) - 1) / 2
    return way + LEVER_M * float(np.arccos(min(1.0, max(-1.0, cosine))))

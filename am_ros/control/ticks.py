"""When the driver of the arm takes what it is sent: in its next tick. Its ticks are seen in the joint states.

A trajectory whose stamp is zero begins in the tick after it came. Two trajectories that are published in the same part
of a tick are therefore a whole number of ticks apart for the driver too, and the second can go on where the first is.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

# Two seconds of joint states at 100 Hz tell the period within 0.1 %.
WINDOW = 200
# The earliest of so many joint states came without waiting for a processor.
RECENT = 8
# A gap of more ticks is one in which nothing came, or nobody looked.
PAUSE = 3
# Some states were lost when all of the recent ones are later by so much of a tick.
LOST = 0.9
MIN_STATES = 10
# Joint states that come more rarely are not published in each tick; below, a tick passes while a message is under way.
PERIODS_S = (0.004, 0.021)
# What is published in the first part of a tick is there before the next one.
EARLY = 0.3
MARGIN_S = 0.0005
# Of a tick: so that a state that comes as early as any does not seem to be of the tick before.
BEFORE = 0.05


@dataclass(frozen=True)
class Mark:
    """A moment, in ticks of the driver; `number` is None where ticks cannot be told."""

    now_s: float
    number: int | None


class DriverTicks:
    """Counts the driver's ticks. `now_s` is the monotonic clock; the driver's own time is that of the stamps."""

    def __init__(self) -> None:
        self._last: tuple[float, float, int] | None = None  # driver's time, reception, sequence number
        self._number = 0
        self._gaps: deque[float] = deque(maxlen=WINDOW)  # of the driver's time
        self._steps: deque[int] = deque(maxlen=WINDOW)  # of the sequence numbers
        self._received: deque[tuple[int, float]] = deque(maxlen=WINDOW)
        # Medians of the two, which are taken now and then only: joint states come 500 times per second.
        self.period_s = np.inf  # of a tick, in the driver's time; infinite before it is known
        self._step = 1.0

    def update(self, time_s: float, now_s: float, sequence: int = 0) -> None:
        """A joint state came, of that time of the driver; `sequence` is the publisher's number of it, 0: unknown."""
        if self._last is not None:
            gap_s, waited_s = time_s - self._last[0], now_s - self._last[1]
            self._gaps.append(gap_s if gap_s > 0 else waited_s)
            if sequence > self._last[2] > 0:
                # Messages of the gripper alone may come between those of the arm.
                self._steps.append(sequence - self._last[2])
                self._number += max(1, round(self._steps[-1] / self._step))
            else:
                # One that is late is followed by one in time. Lost ones show below, and after a pause of both clocks.
                pause = min(self._gaps[-1] / self.period_s, waited_s / self._real_period())
                self._number += round(pause) if pause > PAUSE else 1
        self._last = time_s, now_s, sequence
        self._received.append((self._number, now_s))
        if len(self._gaps) >= MIN_STATES and (len(self._gaps) < WINDOW or self._number % MIN_STATES == 0):
            self.period_s = max(float(np.median(self._gaps)), 1e-6)
            self._step = max(float(np.median(self._steps)), 1.0) if self._steps else 1.0
        if not sequence and len(self._received) >= MIN_STATES + 2 * RECENT:
            self._count_lost()

    def _count_lost(self) -> None:
        """Joint states that never came: all after them are later by whole ticks than all before."""
        later_s = self._offset_s(0) - self._offset_s(RECENT)
        lost = round(later_s / self._real_period()) if later_s > LOST * self._real_period() else 0
        if lost:
            self._number += lost
            for k in range(1, RECENT + 1):
                number, received_s = self._received[-k]
                self._received[-k] = number + lost, received_s

    def _offset_s(self, before: int = 0) -> float:
        """When tick 0 was, by the earliest of the RECENT states, the last `before` left out."""
        period_s, states = self._real_period(), self._received
        recent = (states[-1 - before - k] for k in range(min(RECENT, len(states) - before)))
        return min(received_s - number * period_s for number, received_s in recent)

    @property
    def known(self) -> bool:
        """Whether joint states come so evenly and often that ticks can be told from them."""
        return PERIODS_S[0] <= self._real_period() <= PERIODS_S[1] and self.period_s < 2 * PERIODS_S[1]

    def wait_s(self, now_s: float) -> float:
        """How long to wait before something is published, so that the driver has it in its next tick; 0: now."""
        if not self.known:
            return 0.0
        part = self._position(now_s) % 1.0
        return 0.0 if part <= EARLY else (1.0 - part) * self._real_period() + MARGIN_S

    @property
    def fresh(self) -> bool:
        """Whether the last joint state did not wait in a queue behind others: then the driver is where it says."""
        if not self.known or len(self._received) < 2:
            return True
        (_, before_s), (_, last_s) = self._received[-2], self._received[-1]
        return last_s - before_s > 0.5 * self._real_period()

    def mark(self, now_s: float) -> Mark:
        """Now."""
        return Mark(now_s, int(self._position(now_s) // 1) if self.known else None)

    def since_s(self, mark: Mark, now_s: float) -> float:
        """How far the driver has come since then with what was published at that moment, if it follows it in time."""
        now = self.mark(now_s)
        if mark.number is None or now.number is None:
            return now_s - mark.now_s
        return (now.number - mark.number) * self.period_s

    def _real_period(self) -> float:
        (first, first_s), (last, last_s) = (self._received[k] for k in (0, -1)) if self._received else ((0, 0.0),) * 2
        return (last_s - first_s) / (last - first) if last - first >= MIN_STATES else np.inf

    def _position(self, now_s: float) -> float:
        """Ticks until now, whole just before the earliest moment at which the joint state of a tick may come."""
        return (now_s - self._offset_s()) / self._real_period() + BEFORE

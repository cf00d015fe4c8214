"""Rate, age and losses of a stream of images, counted where they happen and judged once a second."""

import threading
from bisect import bisect_left, bisect_right
from collections import deque
from dataclasses import dataclass

WINDOW_S = 5.0  # rate over the last 5 s: long enough for 1 Hz, short enough to show a change
_STAMPS_KEPT = 200_000  # almost three hours at 20 Hz


@dataclass(frozen=True)
class StreamReport:
    """The state of a stream at one moment."""

    rate_hz: float
    age_s: float | None  # of the newest image; None: none came yet
    images: int
    drops: int
    reconnects: int
    problem: str  # the failure that still holds, or empty


class StreamStatistics:
    """Counters that one thread fills and another reads; times are those of time.monotonic()."""

    def __init__(self):
        self._lock = threading.Lock()
        self._recent: deque[float] = deque()
        self._images = self._drops = self._reconnects = 0
        self._newest: float | None = None
        self._problem = ""

    def image(self, captured_s: float) -> None:
        """An image came: whatever failed before is over."""
        with self._lock:
            self._images += 1
            self._newest = captured_s
            self._problem = ""
            self._recent.append(captured_s)
            while self._recent[0] < captured_s - WINDOW_S:
                self._recent.popleft()

    def drop(self) -> None:
        """An image was replaced by a newer one before anybody took it."""
        with self._lock:
            self._drops += 1

    def reconnected(self) -> None:
        """The source gives images again after a failure."""
        with self._lock:
            self._reconnects += 1

    def fail(self, problem: str) -> bool:
        """Something failed; return whether that is news."""
        with self._lock:
            news = problem != self._problem
            self._problem = problem
            return news

    def report(self, now_s: float) -> StreamReport:
        """Everything counted so far; the rate is that of the last 5 s."""
        with self._lock:
            recent = [t for t in self._recent if t > now_s - WINDOW_S]
            span = recent[-1] - recent[0] if recent else 0.0
            rate = (len(recent) - 1) / span if span > 0 else 0.0
            age = None if self._newest is None else max(0.0, now_s - self._newest)
            return StreamReport(rate, age, self._images, self._drops, self._reconnects, self._problem)


class StampLog:
    """Header stamps of the images that passed, to find out whether any was lost on the way to somebody else."""

    def __init__(self):
        self._stamps: list[int] = []

    def add(self, stamp_ns: int) -> None:
        """Note an image; a stamp before the last one (the clock was set back) is put where it belongs."""
        if self._stamps and stamp_ns < self._stamps[-1]:
            self._stamps.insert(bisect_right(self._stamps, stamp_ns), stamp_ns)
        else:
            self._stamps.append(stamp_ns)
        if len(self._stamps) > _STAMPS_KEPT:
            del self._stamps[: _STAMPS_KEPT // 2]

    def between(self, first_ns: int = 0, last_ns: int = 0) -> list[int]:
        """The stamps with first <= stamp <= last, in order; 0 leaves a side open."""
        begin = bisect_left(self._stamps, first_ns) if first_ns else 0
        end = bisect_right(self._stamps, last_ns) if last_ns else len(self._stamps)
        return self._stamps[begin:end]

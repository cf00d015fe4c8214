"""Rate, age and losses of a stream of images, counted where they happen and judged once a second."""

import threading
from bisect import bisect_left, bisect_right
from collections import deque
from dataclasses import dataclass

import numpy as np

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

    def __init__(self) -> None:
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

    def __init__(self) -> None:
        self.count = 0  # all so far, also those that are not kept any more
        self._stamps: list[int] = []

    def add(self, stamp_ns: int) -> None:
        """Note an image; a stamp before the last one (the clock was set back) is put where it belongs."""
        self.count += 1
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


@dataclass(frozen=True)
class LatencyReport:
    """How long something took lately [ms]; NaN before the first time."""

    p50_ms: float
    p99_ms: float
    max_ms: float
    count: int  # since the start

    def __str__(self) -> str:
        return f"{self.p50_ms:.0f} ms (p99 {self.p99_ms:.0f}, max {self.max_ms:.0f})"


class LatencyWindow:
    """The last durations of something that happens again and again: one thread adds, another reads."""

    def __init__(self, kept: int = 200):
        self._lock = threading.Lock()
        self._recent: deque[float] = deque(maxlen=kept)
        self._count = 0

    def add(self, ms: float) -> None:
        """Note a duration."""
        with self._lock:
            self._recent.append(ms)
            self._count += 1

    def report(self) -> LatencyReport:
        """Of the durations that are kept."""
        with self._lock:
            recent, count = list(self._recent), self._count
        p50, p99, longest = np.percentile(recent, (50, 99, 100)) if recent else (np.nan,) * 3
        return LatencyReport(float(p50), float(p99), float(longest), count)

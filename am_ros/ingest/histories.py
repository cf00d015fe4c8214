"""Parts of one pose that come in messages of their own, links of a TF tree or joints of an arm: each at every time."""

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable

KEPT_S = 5.0  # of a part: the slowest link comes once a second or two
# A part that has not moved so far and falls behind by this much is taken to stand: it was sent once, or seldom.
STANDS_AFTER_S = 1.5


class History:
    """The values of one part by stamp."""

    def __init__(self, between: Callable, same: Callable):
        """`between(a, b, share)` interpolates, `same(a, b)` tells whether nothing moved."""
        self._between, self._same = between, same
        self.stamps: deque[int] = deque()
        self._values: deque = deque()
        self._first = None
        self.moved = False

    def begin_anew(self) -> None:
        """Forget the values, but not whether the part moves."""
        self.stamps.clear()
        self._values.clear()

    @property
    def newest(self) -> int:
        return self.stamps[-1]

    def add(self, stamp: int, value) -> None:
        """The next value; stamps that go back by more than a second begin anew, others are not taken."""
        if self.stamps and stamp <= self.stamps[-1]:
            if self.stamps[-1] - stamp < 1_000_000_000:
                return
            self.begin_anew()
        if self._first is None:
            self._first = value
        self.moved = self.moved or not self._same(self._first, value)
        self.stamps.append(stamp)
        self._values.append(value)
        while len(self.stamps) > 2 and stamp - self.stamps[1] > KEPT_S * 1e9:
            self.stamps.popleft()
            self._values.popleft()

    def since(self, stamp: float) -> list[int]:
        """The stamps after that one."""
        return [s for s in self.stamps if s > stamp]

    def at(self, stamp: int, max_gap_ns: int):
        """The value at a stamp; None where it is not known: before the first, or in a gap in which it moved."""
        i = bisect_right(self.stamps, stamp)
        if i and self.stamps[i - 1] == stamp:
            return self._values[i - 1]
        if i == len(self.stamps):
            return self._values[-1] if i and not self.moved else None
        if i == 0:
            return self._values[0] if not self.moved else None
        a, b, t0, t1 = self._values[i - 1], self._values[i], self.stamps[i - 1], self.stamps[i]
        if t1 - t0 > max_gap_ns:
            return b if self._same(a, b) else None
        return self._between(a, b, (stamp - t0) / (t1 - t0))


def due(parts: Iterable[History], after: int | None, last: bool = False) -> list[int]:
    """The stamps later than `after` at which all parts are known by now, in order; `last`: nothing more will come."""
    parts = list(parts)
    leader = max(p.newest for p in parts)
    known = [p.newest for p in parts if p.moved or not (last or leader - p.newest > STANDS_AFTER_S * 1e9)]
    until = min(known, default=leader)
    return sorted({s for p in parts for s in p.since(-math.inf if after is None else after) if s <= until})

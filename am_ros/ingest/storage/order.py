"""Was the recorder's clock set back? Then the order of the file is that of the recording, the times are not.

A channel's messages are written as they are received, so their times go up, whatever those of other channels do. Where
they go back, sorting by time would mix two stretches of the recording into one that nobody recorded.
"""

from collections.abc import Iterable
from typing import TypeVar

import numpy as np

SET_BACK_NS = 10_000_000
# A clock is set now and then; times that go back more often are of a file that somebody put together.
MOST = 20
T = TypeVar("T")


class RecordedOrder:
    """Takes the times of each channel in the order of the file."""

    def __init__(self):
        self._last: dict[int, int] = {}
        self._back: dict[int, int] = {}  # by channel: how often its times go back

    def add(self, channel: int, times: Iterable[int]) -> None:
        """The next times of a channel [ns]; zeros are of a recorder that had no clock."""
        known = np.asarray(times, np.int64)
        known = known[known > 0]
        if not known.size:
            return
        steps = np.diff(known, prepend=self._last.get(channel, known[0]))
        self._last[channel] = int(known[-1])
        if steps.min() < -SET_BACK_NS:
            self._back[channel] = self._back.get(channel, 0) + int((steps < -SET_BACK_NS).sum())

    @property
    def set_back(self) -> bool:
        """Whether the order of the file is to be kept."""
        return bool(self._back) and max(self._back.values()) <= MOST


def stretches(entries: Iterable[tuple[int, int, T]]) -> list[list[T]]:
    """Items as (channel, time [ns], item) in the order of the file, parted where the times of a channel go back."""
    parts: list[list[T]] = [[]]
    last: dict[int, int] = {}
    for channel, time_ns, item in entries:
        if 0 < time_ns < last.get(channel, 0) - SET_BACK_NS:
            parts.append([])
            last.clear()
        last[channel] = time_ns
        parts[-1].append(item)
    return parts

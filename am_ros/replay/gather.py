"""Observations of a store copied into the memory of a batch: each byte is read once and written once."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from am_ros.replay.views import RowView


class Gather:
    """Copies rows of a store's observations, with `threads` of them; NumPy lets others run while it copies.

    `shifts`: whether random shifts are done on the way. Where a GPU does them later, an image is copied as it is.
    """

    def __init__(self, threads: int = 1, shifts: bool = True):
        self.shifts = shifts
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, "gather") if threads > 1 else None

    def __call__(
        self, observations: RowView, rows: np.ndarray, out: np.ndarray, shifts: np.ndarray | None = None
    ) -> None:
        """Copy `observations[rows[k]]` to `out[k]`; images of it shifted by `shifts[k]` (down, right), if given."""
        parts = np.array_split(np.arange(len(rows)), self._threads)

        def copy(part: np.ndarray) -> None:
            _copy(observations, rows[part], out[part[0] : part[-1] + 1], None if shifts is None else shifts[part])

        wanted = [part for part in parts if len(part)]
        if self._pool is None:
            for part in wanted:
                copy(part)
        else:
            list(self._pool.map(copy, wanted))  # raises what a thread raised

    def close(self) -> None:
        """End its threads."""
        if self._pool is not None:
            self._pool.shutdown()


def _copy(observations: RowView, rows: np.ndarray, out: np.ndarray, shifts: np.ndarray | None) -> None:
    if shifts is None:
        if len(observations.shape) == 2:
            out[:] = observations.take(rows)
        else:
            for place, image in zip(out, observations.lend(rows), strict=True):
                place[:] = image
        return
    for place, image, (down, right) in zip(out, observations.lend(rows), shifts.tolist(), strict=True):
        shift_into(place, image, down, right)


def shift_into(out: np.ndarray, image: np.ndarray, down: int, right: int) -> None:
    """out[y, x] = image[y + down, x + right], or the nearest pixel where there is none; both [height, width, 3]."""
    height, width = image.shape[:2]
    down, right = max(-height + 1, min(down, height - 1)), max(-width + 1, min(right, width - 1))
    top, bottom = max(0, -down), height - max(0, down)
    left, end = max(0, -right), width - max(0, right)
    out[top:bottom, left:end] = image[top + down : bottom + down, left + right : end + right]
    if left:
        out[top:bottom, :left] = out[top:bottom, left : left + 1]
    if end < width:
        out[top:bottom, end:] = out[top:bottom, end - 1 : end]
    if top:
        out[:top] = out[top]
    if bottom < height:
        out[bottom:] = out[bottom - 1]

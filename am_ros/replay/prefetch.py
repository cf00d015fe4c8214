"""Batches drawn ahead of the training, in a thread."""

import queue
import threading
from collections.abc import Callable

import numpy as np

from am_ros.replay.sampling import Batch, Sampler

AHEAD = 2


class Prefetcher:
    """Draws batches in a thread of its own, two ahead; the order is that of the step numbers.

    The images lie in memory that is used again and again, since fresh memory costs more than the copy. `allocate(shape,
    dtype)` makes it: memory that a GPU reads by itself, for instance. A batch is valid until the call of `next` after
    it.
    """

    def __init__(
        self, sampler: Sampler, first_step: int, allocate: Callable[[tuple[int, ...], np.dtype], np.ndarray] = np.empty
    ):
        self._queue: queue.Queue[tuple[Batch, np.ndarray] | Exception] = queue.Queue(maxsize=AHEAD)
        self._free: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()
        self._lent: np.ndarray | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(sampler, first_step, allocate), daemon=True)

    def _work(self, sampler: Sampler, step: int, allocate: Callable[[tuple[int, ...], np.dtype], np.ndarray]) -> None:
        try:
            for _ in range(AHEAD + 2):  # beside those that wait: one in use, one being filled
                self._free.put(allocate(sampler.observed_shape, sampler.observed_dtype))
            while not self._stop.is_set():
                try:
                    memory = self._free.get(timeout=0.1)
                except queue.Empty:
                    continue
                item = sampler.batch(step, memory), memory
                step += 1
                while not self._stop.is_set():
                    try:
                        self._queue.put(item, timeout=0.1)
                        break
                    except queue.Full:
                        continue
        except Exception as error:  # handed to the training thread, which raises it
            self._queue.put(error)

    def next(self) -> Batch:
        if self._lent is not None:
            self._free.put(self._lent)
        item = self._queue.get()
        if isinstance(item, Exception):
            raise item
        batch, self._lent = item
        return batch

    def __enter__(self) -> "Prefetcher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

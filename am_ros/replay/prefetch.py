"""Batches drawn ahead of the training, in a thread."""

import queue
import threading

from am_ros.replay.sampling import Batch, Sampler


class Prefetcher:
    """Draws batches in a thread of its own, two ahead; the order is that of the step numbers."""

    def __init__(self, sampler: Sampler, first_step: int):
        self._queue: queue.Queue[Batch | Exception] = queue.Queue(maxsize=2)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(sampler, first_step), daemon=True)

    def _work(self, sampler: Sampler, step: int) -> None:
        try:
            while not self._stop.is_set():
                item = sampler.batch(step)
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
        item = self._queue.get()
        if isinstance(item, Exception):
            raise item
        return item

    def __enter__(self) -> "Prefetcher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

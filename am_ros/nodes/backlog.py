"""What a thread still has to do: its own jobs, and messages for as long as they fit into the memory given to them."""

import queue
import threading

SMALL_BYTES = 1000  # of a message that holds no array of bytes


class Backlog:
    """One thread puts and offers, another gets."""

    def __init__(self, max_bytes: int):
        self._max_bytes, self._bytes = max_bytes, 0
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue = queue.SimpleQueue()

    def put(self, job) -> None:
        """A job, or None for the end."""
        self._jobs.put((job, 0))

    def offer(self, topic: str, message) -> bool:
        """The job ("message", topic, message); returns False, and forgets it, if there is no room for it."""
        size = SMALL_BYTES + len(getattr(message, "data", b""))
        with self._lock:
            if self._bytes + size > self._max_bytes:
                return False
            self._bytes += size
        self._jobs.put((("message", topic, message), size))
        return True

    def get(self, timeout_s: float):
        """The next job; raises queue.Empty."""
        job, size = self._jobs.get(timeout=timeout_s)
        with self._lock:
            self._bytes -= size
        return job

    def empty(self) -> bool:
        return self._jobs.empty()

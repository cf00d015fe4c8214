"""What a thread still has to do: its own jobs, and messages for as long as they fit into the memory given to them."""

import queue
import threading

from rclpy.task import Future

SMALL_BYTES = 1000  # of a message that holds no array of bytes
NOTHING = "nothing"  # kind of the job that a thread gets when there is none


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
        """The next job; (NOTHING, None, None) if none comes in that time."""
        try:
            job, size = self._jobs.get(timeout=timeout_s)
        except queue.Empty:
            return NOTHING, None, None
        with self._lock:
            self._bytes -= size
        return job

    def empty(self) -> bool:
        return self._jobs.empty()


class Answer:
    """A future that the thread completes with (report, sentence) and an async callback of the executor awaits."""

    def __init__(self, executor):
        self.future = Future(executor=executor)

    def __call__(self, report, sentence: str) -> None:
        self.future.set_result((report, sentence))

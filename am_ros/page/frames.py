"""The newest picture of each camera, for as many browsers as look: one that is slow skips, and nothing is queued."""

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Frame:
    """A picture as a browser takes it."""

    data: bytes  # JPEG or PNG
    number: int
    arrived_s: float  # time.monotonic()


class Frames:
    """`put` from any thread; `next` in the event loop of the server.

    `looked_at(name, whether)` is called when the first browser begins to look at a camera and when the last one ends:
    pictures that nobody sees need not be received.
    """

    def __init__(self, looked_at: Callable[[str, bool], None] = lambda name, whether: None):
        self._looked_at = looked_at
        self._lock = threading.Lock()
        self._newest: dict[str, Frame] = {}
        self._waiting: dict[str, set[tuple[asyncio.AbstractEventLoop, asyncio.Event]]] = {}
        self._lookers: dict[str, int] = {}

    def on_look(self, looked_at: Callable[[str, bool], None]) -> None:
        """Who is told from now on."""
        self._looked_at = looked_at

    def put(self, name: str, data: bytes) -> None:
        """A new picture; the one before is forgotten."""
        with self._lock:
            before = self._newest.get(name)
            number = before.number + 1 if before else 1
            self._newest[name] = Frame(data, number, time.monotonic())
            waiting = self._waiting.pop(name, set())
        for loop, event in waiting:
            loop.call_soon_threadsafe(event.set)

    def newest(self, name: str) -> Frame | None:
        """The last one that came."""
        return self._newest.get(name)

    async def next(self, name: str, after: int, timeout_s: float) -> Frame | None:
        """The newest picture later than number `after`; None if none comes in that time."""
        with self._lock:
            frame = self._newest.get(name)
            if frame is not None and frame.number > after:
                return frame
            waiter = asyncio.get_running_loop(), asyncio.Event()
            self._waiting.setdefault(name, set()).add(waiter)
        try:
            await asyncio.wait_for(waiter[1].wait(), timeout_s)
        except (TimeoutError, asyncio.TimeoutError):
            return None
        finally:
            with self._lock:
                self._waiting.get(name, set()).discard(waiter)
        return self._newest.get(name)

    def look(self, name: str) -> None:
        """A browser looks from now on."""
        with self._lock:
            self._lookers[name] = self._lookers.get(name, 0) + 1
            first = self._lookers[name] == 1
        if first:
            self._looked_at(name, True)

    def look_away(self, name: str) -> None:
        """It does so no more."""
        with self._lock:
            self._lookers[name] -= 1
            last = self._lookers[name] == 0
            if last:
                self._newest.pop(name, None)  # what is old by the time somebody looks again is not shown as new
        if last:
            self._looked_at(name, False)

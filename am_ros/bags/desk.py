"""Looks into bags for somebody who must not be kept waiting: an index and the reading of bags in a process of its own.

The process begins with the first question and runs at low priority; it ends with its parent, however that comes about.
"""

import multiprocessing
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from am_ros.action import ActionSpace
from am_ros.bags.index import Changes, EpisodeIndex
from am_ros.bags.playback import Moment, read_playback
from am_ros.bags.salvage import Salvage, salvage
from am_ros.bags.verify import verify
from am_ros.errors import AmRosError
from am_ros.paths import Folder
from am_ros.workers import come_second, start_worker

LOOK_S = 2.0  # between two looks at the folder, while questions come
ASKED_S = 15.0  # for so long after a question the folder is looked at
T = TypeVar("T")


class EpisodeDesk:
    """Questions about the bags of one folder; each gives a Future whose AmRosError is a sentence."""

    def __init__(self, folder: Folder):
        self.folder = Path(folder)
        self._process: _Process | None = None
        self._lock = threading.Lock()

    def close(self) -> None:
        """End the process, within what it does."""
        with self._lock:
            process, self._process = self._process, None
            if process is not None:
                process.end.close()
                process.pool.shutdown(wait=False, cancel_futures=True)
                process.lifeline.close()

    def changes(self, since: int, limit: int) -> Future[tuple[Changes, bool, str, int]]:
        """(Changes, whether the folder was read once, why it cannot be read, free bytes)."""
        return self._submit(_changes, since, limit)

    def playback(self, key: int, name: str) -> Future[list[Moment]]:
        """The moments in the bag of that episode; an empty `name`: of that key. Likewise below."""
        return self._submit(_playback, key, name)

    def verify(self, key: int, name: str) -> Future[list[str]]:
        """What is wrong with it."""
        return self._submit(_verify, key, name)

    def salvage(self, key: int, name: str) -> Future[Salvage]:
        """What came of it."""
        return self._submit(_salvage, key, name)

    def noticed(self) -> None:
        """Something has changed in the folder: look again, if anybody ever asked."""
        if self._process is not None:
            self._submit(_look_now)

    def _submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        with self._lock:
            if self._process is None:
                context = multiprocessing.get_context("spawn")
                lifeline, end = context.Pipe(duplex=False)
                pool = ProcessPoolExecutor(1, context, _begin, (lifeline, str(self.folder)))
                self._process = _Process(pool, lifeline, end)
            process = self._process
            try:
                return process.pool.submit(function, *arguments)
            except BrokenProcessPool:
                self._process = None
                process.end.close()
                raise AmRosError("the process that reads bags has died (out of memory?); ask again") from None


class _Process(NamedTuple):
    pool: ProcessPoolExecutor
    lifeline: Connection  # which the process reads: it ends when `end` is closed
    end: Connection


# -- in the process

_index: EpisodeIndex  # since `_begin`
_asked_s = 0.0


def _begin(lifeline: Connection, folder: str) -> None:
    global _index
    start_worker(lifeline)
    come_second()
    _index = EpisodeIndex([folder])
    threading.Thread(target=_look_on, daemon=True, name="index").start()


def _look_on() -> None:
    while True:
        if not _index.scanned or time.monotonic() - _asked_s < ASKED_S:
            _index.look()
        time.sleep(LOOK_S)


def _look_now() -> None:
    if _index.scanned:
        _index.look()


def _changes(since: int, limit: int) -> tuple[Changes, bool, str, int]:
    global _asked_s
    waited = time.monotonic() - _asked_s > ASKED_S
    _asked_s = time.monotonic()
    if waited and _index.scanned:
        _index.look()
    return _index.changes(since, limit), _index.scanned, _index.trouble, _index.free_bytes()


def _bag(key: int, name: str) -> Path:
    if not _index.scanned:
        _index.look()
    return (_index.find(name) if name else _index.row(key)).bag


def _playback(key: int, name: str) -> list[Moment]:
    return read_playback(_bag(key, name))


def _verify(key: int, name: str) -> list[str]:
    return verify(_bag(key, name), ActionSpace()).problems


def _salvage(key: int, name: str) -> Salvage:
    found = salvage(_bag(key, name))
    _index.look()
    return found

"""What a browser began by hand ends with it: closed, asleep, or no longer the one that commands."""

import logging
import threading
import time

from am_ros.page.operators import Operators
from am_ros.page.source import Source

_log = logging.getLogger(__name__)
LOOK_S = 0.5


class Custody:
    """Whose hand teaches the arm: it ends once that browser no longer commands.

    A goal goes on without its browser, since others may watch it. `patience_s`: for so long a browser may be away, as
    one is whose connection is made anew; one that another takes over from has no such time.
    """

    def __init__(self, source: Source, operators: Operators, patience_s: float):
        self._source, self._operators, self._patience_s = source, operators, patience_s
        self._owner: str | None = None  # who began; empty: nobody who was still there; None: nothing is taught
        self._absent_since_s: float | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="page: custody")

    def start(self) -> None:
        """Look twice a second, in a thread of its own."""
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._closing.set()

    def look(self, now_s: float) -> None:
        """End what nobody holds any more; what cannot be ended now is tried again at the next look."""
        if not self._source.teach().active:
            self._owner = self._absent_since_s = None
            return
        holder = self._operators.holder
        present = holder.client_id if holder else ""
        if self._owner is None:
            self._owner = self._operators.teacher or present
        if present and present == self._owner:
            self._absent_since_s = None
            return
        if not present:
            self._absent_since_s = now_s if self._absent_since_s is None else self._absent_since_s
            if now_s - self._absent_since_s < self._patience_s:
                return
        self._source.end_teaching()
        self._owner = self._absent_since_s = None  # what is taught at the next look was begun since

    def _watch(self) -> None:
        while not self._closing.wait(LOOK_S):
            try:
                self.look(time.monotonic())
            except Exception as error:
                _log.warning(f"teaching could not be ended, it is tried again: {error}")

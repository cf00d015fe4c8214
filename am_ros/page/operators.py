"""Several browsers, one operator: who may command, and who looks on."""

import threading
from dataclasses import dataclass

from am_ros.errors import AmRosError


@dataclass(frozen=True)
class Browser:
    """One open page. `name` is for people: where it is, and a number."""

    client_id: str
    name: str


class Operators:
    """The first browser is the operator; another one may take over, and everybody sees who it is."""

    def __init__(self, read_only: bool = False):
        self.read_only = read_only
        self.teacher = ""  # the browser that asked for the arm last
        self._lock = threading.Lock()
        self._browsers: dict[str, Browser] = {}
        self._away: set[str] = set()  # whose connection is broken now: closed, asleep, or being loaded anew
        self._holder = ""
        self._count = 0

    @property
    def count(self) -> int:
        """Browsers that are open and answer."""
        return len(self._browsers) - len(self._away)

    @property
    def holder(self) -> Browser | None:
        """Who commands; None: nobody who answers."""
        return None if self._holder in self._away else self._browsers.get(self._holder)

    def enter(self, client_id: str, address: str) -> Browser:
        """A page was opened; it becomes the operator's if nobody is."""
        with self._lock:
            self._count += 1
            browser = Browser(client_id, f"browser {self._count} at {address}")
            self._browsers[client_id] = browser
            self._away.add(client_id)  # until its connection is there: one that was only asked for counts for nobody
            self._inherit(client_id)
            return browser

    def connected(self, client_id: str, whether: bool) -> None:
        """The connection to a browser broke, or is there again."""
        with self._lock:
            if client_id in self._browsers:
                (self._away.discard if whether else self._away.add)(client_id)

    def leave(self, client_id: str) -> None:
        """A page was closed, or has been away for too long."""
        with self._lock:
            self._browsers.pop(client_id, None)
            self._away.discard(client_id)
            if self._holder == client_id:
                self._holder = ""

    def take(self, client_id: str) -> None:
        """This one commands from now on."""
        with self._lock:
            if client_id in self._browsers:
                self._away.discard(client_id)  # who presses a button is there
                self._holder = client_id

    def commands(self, client_id: str) -> bool:
        """Whether this one commands; the only browser that answers does."""
        with self._lock:
            self._inherit(client_id)
            return not self.read_only and self._holder == client_id

    def _inherit(self, client_id: str) -> None:
        """Nobody is there who commands: the only one left does, others have to say that they want to."""
        present = self._browsers.keys() - self._away
        if self._holder not in present and present <= {client_id} and client_id in self._browsers:
            self._holder = client_id

    def require(self, client_id: str) -> None:
        """Raise AmRosError that says who commands, if it is not this one."""
        if self.read_only:
            raise AmRosError("this page is read-only (page_read_only)")
        if not self.commands(client_id):
            raise AmRosError(f"{self.holder.name if self.holder else 'another browser'} commands: take over first")

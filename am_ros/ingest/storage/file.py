"""What every kind of storage file can do."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

CDR, ROS1 = "cdr", "ros1"


class Channel(NamedTuple):
    """A topic in one file."""

    topic: str
    type_name: str  # as ROS 2 writes it, of ROS 1 too; empty if the file does not say
    encoding: str  # of the messages: CDR, ROS1, or another one, which is not read
    definition_format: str  # ros2msg, ros2idl, omgidl, ros1msg, or empty: there is none
    definition: str
    publisher: str = ""  # the node whose messages these are, where the file says it (ROS 1)


class Stored(NamedTuple):
    """One message as it lies in the file."""

    time_ns: int  # when the recorder got it; zero or less if the recorder had no clock
    channel: int
    raw: bytes


class StorageFile(ABC):
    """A file that is open for reading, until close()."""

    kind = ""  # in words

    def __init__(self, path: Path):
        self.path = path
        self.channels: dict[int, Channel] = {}
        self.counts: dict[int, int] = {}  # messages by channel, as the index or a scan says
        self.start_ns = self.end_ns = 0  # of the messages whose time is known; zeros if there is none
        self.lost: list[str] = []  # what could not be read, each a part of a sentence after the file's name
        self.notes: list[str] = []  # the same of what is odd, but lost nothing
        self.timeless = 0  # messages without a time of reception, where that is known

    @abstractmethod
    def messages(self, channels: set[int]) -> Iterator[Stored]:
        """The messages of these channels in the order of their times; what cannot be read is skipped and `lost`."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file."""

    def _span_without_zeros(self) -> None:
        """Find the span of a file whose recorder had no clock at first: log times of zero are no beginning."""
        times = [m.time_ns for m in self.messages(set(self.channels))]
        known = [t for t in times if t > 0]
        self.timeless = len(times) - len(known)
        self.start_ns, self.end_ns = (min(known), max(known)) if known else (0, 0)

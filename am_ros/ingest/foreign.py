"""Open bags that somebody else recorded: rosbag2 (MCAP, sqlite3, compressed or not) and ROS 1, by one reader.

What can be read is read: a file that breaks off, a topic in another serialisation or a message that is none costs no
more than itself. What was lost is named. metadata.yaml is only compared: the files themselves say what is in them.
"""

import heapq
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from am_ros.bags.finder import METADATA, find_bags, storage_files
from am_ros.bags.types import stamp_ns
from am_ros.errors import AmRosError
from am_ros.ingest.decoding import Decoders
from am_ros.ingest.dropped import Dropped
from am_ros.ingest.identity import same_content
from am_ros.ingest.metadata import compared
from am_ros.ingest.storage.file import StorageFile, Stored
from am_ros.ingest.storage.opening import open_storage
from am_ros.ingest.storage.order import SET_BACK_NS

__all__ = ["ForeignBag", "Received", "Topic", "find_bags"]
_LISTED = 12  # topics that a sentence lists


class Topic(NamedTuple):
    """What a bag says of one topic."""

    name: str
    type_name: str  # as ROS 2 writes it, of ROS 1 too; empty if several types were recorded, or none is known
    messages: int
    encoding: str = "cdr"  # of its messages; empty if several
    publishers: tuple[str, ...] = ()  # the nodes that it was recorded from, where the bag says them (ROS 1)


class Received(NamedTuple):
    """One message of a foreign bag."""

    topic: str
    receive_ns: int  # when the recorder got it; its own stamp where the recorder had no clock
    message: Any


class ForeignBag:
    """A bag that is open for reading; to be used as a context manager.

    Raises AmRosError in one sentence that names the bag if nothing of it can be read. `lost` says which files or parts
    of files cannot be, `notes` what else is worth knowing; `dropped` counts messages. All three are complete after
    messages() has come to its end.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.notes: list[str] = []
        self.timeless = 0  # messages whose time of reception is zero
        self.dropped = Dropped()
        self._stack = ExitStack()
        self._unreadable: list[str] = []
        try:
            self._files = self._open()
            self.topics = self._topics()
            self.notes += self._compare()
        except BaseException as error:
            self._stack.close()
            raise self._named(error) from None

    def __enter__(self) -> "ForeignBag":
        return self

    def __exit__(self, *_error) -> None:
        self._stack.close()

    @property
    def lost(self) -> list[str]:
        """Files and parts of files that cannot be read, and why."""
        broken = [f"{file.path.name}: {what}" for file in self._files for what in dict.fromkeys(file.lost)]
        return [*self._unreadable, *broken]

    @property
    def storage(self) -> str:
        """How it is stored, in words."""
        return " and ".join(dict.fromkeys(file.kind for file in self._files))

    @property
    def duration_s(self) -> float:
        """From the first message to the last."""
        spans = [(file.start_ns, file.end_ns) for file in self._files if file.end_ns]
        return (max(end for _, end in spans) - min(start for start, _ in spans)) / 1e9 if spans else 0.0

    def error(self, what: str) -> AmRosError:
        return AmRosError(f"bag {self.path}: {what}")

    def find(self, topic: str, what: str) -> Topic:
        """The topic of that name, with or without the leading slash; AmRosError, listing what is there, if none is."""
        wanted = topic.strip("/")
        for found in self.topics.values():
            if found.name.strip("/") == wanted:
                if not found.type_name:
                    raise self.error(f"{what}: topic {found.name} was recorded with several types, or none is named")
                if not Decoders.knows(found.encoding):
                    told = repr(found.encoding) if found.encoding else "several ways"
                    raise self.error(f"{what}: topic {found.name} is serialised as {told}: only cdr and ros1 are read")
                return found
        lost = f"; {'; '.join(self.lost[:3])}" if self.lost else ""
        raise self.error(f"{what}: topic {topic} not found; the bag has {self._listing()}{lost}")

    def messages(self, topics: set[str]) -> Iterator[Received]:
        """The messages of these topics in the order of their reception.

        Those that cannot be read are counted in `dropped`. Raises AmRosError if a topic's definition is missing.
        """
        decoders, delivered = Decoders(), dict.fromkeys(topics, 0)
        last_ns = 0
        try:
            for file, stored in _merged(self._files, topics):
                channel = file.channels[stored.channel]
                delivered[channel.topic] += 1
                try:
                    message = decoders.decode(channel, stored.raw)
                except ValueError as error:
                    at = f" {stored.time_ns / 1e9:.3f} s" if stored.time_ns > 0 else ""
                    sentence = f"{channel.topic}{at}, in {file.path.name}: {error}"
                    self.dropped.note(f"messages on {channel.topic} that cannot be read", sentence)
                    continue
                receive_ns = stored.time_ns if stored.time_ns > 0 else _own_stamp(message) or last_ns
                last_ns = receive_ns
                yield Received(channel.topic, receive_ns, message)
        except AmRosError as error:
            raise self._named(error) from None
        for topic in sorted(topics):
            missing = self.topics[topic].messages - delivered[topic]
            if missing > 0:
                self.dropped.note(f"messages on {topic} that the index counts and the files do not hold", count=missing)

    def _open(self) -> list[StorageFile]:
        if not self.path.exists():
            raise AmRosError("does not exist")
        paths = [self.path] if self.path.is_file() else storage_files(self.path)
        if not paths:
            raise AmRosError(
                "holds no .mcap or .db3 file" + (f", only {METADATA}" if (self.path / METADATA).is_file() else "")
            )
        copies = same_content(paths)
        files = []
        for path in paths:
            if path in copies:
                self.notes.append(f"{path.name} is a copy of {copies[path].name}: read once")
                continue
            try:
                files.append(open_storage(path, self._stack))
            except AmRosError as error:
                self._unreadable.append(f"{path.name}: {error}")
        if not files:
            what = self._unreadable[0].partition(": ")[2] if self.path.is_file() else "; ".join(self._unreadable)
            raise AmRosError(what)
        for file in files:
            self.notes += [f"{file.path.name}: {note}" for note in file.notes]
            self.timeless += file.timeless
            if file.timeless:
                self.notes.append(f"{file.path.name}: {file.timeless} messages have a time of reception of zero")
        return files

    def _topics(self) -> dict[str, Topic]:
        channels: dict[str, list] = {}
        counts: dict[str, int] = {}
        for file in self._files:
            for number, channel in file.channels.items():
                channels.setdefault(channel.topic, []).append(channel)
                counts[channel.topic] = counts.get(channel.topic, 0) + file.counts.get(number, 0)

        def only(values) -> str:
            return values.pop() if len(values) == 1 else ""

        return {
            name: Topic(
                name, only({c.type_name for c in found}), counts[name], only({c.encoding for c in found}),
                tuple(sorted({c.publisher for c in found if c.publisher})),
            )
            for name, found in sorted(channels.items())
        }

    def _compare(self) -> list[str]:
        """What metadata.yaml says that is not so; files that it names and that hold what is missing are `lost`."""
        if not self.path.is_dir() or not (self.path / METADATA).is_file():
            return []
        counts = {topic.name: topic.messages for topic in self.topics.values()}
        notes, lost = compared(self.path / METADATA, storage_files(self.path), counts, whole=not self.lost)
        self._unreadable += lost
        return notes

    def _listing(self) -> str:
        named = [
            f"{t.name} ({t.type_name or 'several types'}{'' if Decoders.knows(t.encoding) else f', {t.encoding!r}'})"
            for t in self.topics.values()
        ]
        if len(named) > _LISTED:
            named = [*named[:_LISTED], f"{len(named) - _LISTED} more (`am-ros bags topics`)"]
        return ", ".join(named) or "no topic"

    def _named(self, error: BaseException) -> BaseException:
        if isinstance(error, AmRosError) and not str(error).startswith("bag "):
            return self.error(str(error))
        return error


def _merged(files: list[StorageFile], topics: set[str]) -> Iterator[tuple[StorageFile, Stored]]:
    """The messages of all files in the order of their times; a file is not begun before it is its turn.

    A file that goes on with the topics of the one before it, but from an earlier time, is read after it: the recorder's
    clock was set back between them.
    """
    for one, other in pairwise(files):
        shared = {c.topic for c in one.channels.values()} & {c.topic for c in other.channels.values()} & topics
        if shared and one.start_ns < other.start_ns < one.end_ns - SET_BACK_NS and other.end_ns > one.end_ns:
            for file in files:
                for stored in file.messages({n for n, channel in file.channels.items() if channel.topic in topics}):
                    yield file, stored
            return
    waiting = sorted(enumerate(files), key=lambda pair: (pair[1].start_ns, pair[0]), reverse=True)
    running: list[tuple[int, int, Stored, Iterator[Stored]]] = []

    def advance(number: int, stream: Iterator[Stored]) -> None:
        stored = next(stream, None)
        if stored is not None:
            heapq.heappush(running, (stored.time_ns, number, stored, stream))

    while waiting or running:
        if waiting and (not running or waiting[-1][1].start_ns <= running[0][0]):
            number, file = waiting.pop()
            wanted = {n for n, channel in file.channels.items() if channel.topic in topics}
            advance(number, file.messages(wanted))
            continue
        _, number, stored, stream = heapq.heappop(running)
        yield files[number], stored
        advance(number, stream)


def _own_stamp(message) -> int:
    header = getattr(message, "header", None)
    return 0 if header is None else stamp_ns(header.stamp)

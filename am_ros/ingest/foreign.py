"""Open bags that somebody else recorded: rosbag2 (MCAP, sqlite3, compressed or not) and ROS 1, by one reader."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from rosbags.interfaces import MessageDefinitionFormat
from rosbags.rosbag1 import Reader as Reader1
from rosbags.rosbag2 import Reader as Reader2
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

from am_ros.errors import AmRosError

# A folder with one of these is a bag; without metadata.yaml its files are read one after the other.
STORAGE_SUFFIXES = (".mcap", ".db3")
ROS1_SUFFIX = ".bag"
_LISTED = 12  # topics that a sentence lists


class Topic(NamedTuple):
    """What a bag says of one topic."""

    name: str
    type_name: str  # as ROS 2 writes it, of ROS 1 too; empty if several types were recorded
    count: int


class Received(NamedTuple):
    """One message of a foreign bag."""

    topic: str
    receive_ns: int  # when the recorder got it
    message: object


class ForeignBag:
    """A bag that is open for reading; to be used as a context manager.

    Raises AmRosError in one sentence that names the bag if it is not one, is damaged, or holds less than it says.
    """

    def __init__(self, path):
        self.path = Path(path)
        self._stack = ExitStack()
        try:
            self._readers = self._open()
            self.topics = self._topics()
        except BaseException as error:
            self._stack.close()
            raise self._named(error) from None

    def __enter__(self) -> "ForeignBag":
        return self

    def __exit__(self, *_error) -> None:
        self._stack.close()

    @property
    def storage(self) -> str:
        """How it is stored, in words."""
        first = self._readers[0]
        if isinstance(first, Reader1):
            return "ROS 1"
        files = [self.path] if self.path.is_file() else self.path.iterdir()
        return "rosbag2 " + ("mcap" if any(".mcap" in p.name for p in files) else "sqlite3")  # .mcap.zstd too

    @property
    def duration_s(self) -> float:
        """From the first message to the last."""
        readers = [reader for reader in self._readers if reader.message_count]
        if not readers:
            return 0.0
        return (max(r.end_time for r in readers) - min(r.start_time for r in readers)) / 1e9

    def error(self, what: str) -> AmRosError:
        return AmRosError(f"bag {self.path}: {what}")

    def find(self, topic: str, what: str) -> Topic:
        """The topic of that name, with or without the leading slash; AmRosError, listing what is there, if none is."""
        wanted = topic.strip("/")
        for found in self.topics.values():
            if found.name.strip("/") == wanted:
                if not found.type_name:
                    raise self.error(f"topic {found.name} was recorded with several types")
                return found
        raise self.error(f"{what}: topic {topic} not found; the bag has {self._listing()}")

    def messages(self, topics: set[str]) -> Iterator[Received]:
        """The messages of these topics in the order of their reception; after the last one they are counted."""
        store = self._types(topics)
        counts = dict.fromkeys(topics, 0)
        try:
            for reader in self._readers:
                connections = [c for c in reader.connections if c.topic in topics]
                if not connections:
                    continue
                deserialize = store.deserialize_ros1 if isinstance(reader, Reader1) else store.deserialize_cdr
                for connection, receive_ns, raw in reader.messages(connections):
                    counts[connection.topic] += 1
                    yield Received(connection.topic, receive_ns, deserialize(raw, connection.msgtype))
        except GeneratorExit:
            raise
        except Exception as error:
            raise self._named(error) from None
        for topic in sorted(topics):
            expected = self.topics[topic].count
            if counts[topic] != expected:
                raise self.error(f"its index says {expected} messages on {topic}, it holds {counts[topic]}")

    def _open(self) -> list:
        if not self.path.exists():
            raise AmRosError("does not exist")
        if self.path.suffix == ROS1_SUFFIX and self.path.is_file():
            return [self._stack.enter_context(Reader1(self.path))]
        if self.path.is_dir() and not (self.path / "metadata.yaml").is_file():
            files = _storage_files(self.path)
            if not files:
                raise AmRosError("holds no .mcap or .db3 file")
            return [self._stack.enter_context(Reader2(file)) for file in files]
        if self.path.is_file() and self.path.suffix not in STORAGE_SUFFIXES:
            raise AmRosError("is no .bag, .mcap or .db3 file, nor a folder with some")
        return [self._stack.enter_context(Reader2(self.path))]

    def _topics(self) -> dict[str, Topic]:
        types: dict[str, set[str]] = {}
        counts: dict[str, int] = {}
        for reader in self._readers:
            for name, info in reader.topics.items():
                types.setdefault(name, set()).update(c.msgtype for c in info.connections)
                counts[name] = counts.get(name, 0) + info.msgcount
        return {n: Topic(n, min(types[n]) if len(types[n]) == 1 else "", counts[n]) for n in sorted(types)}

    def _types(self, topics: set[str]):
        """The definitions that the bag holds of these topics' types, and where it holds none, ROS's own."""
        ros1 = isinstance(self._readers[0], Reader1)
        usual = get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.ROS2_JAZZY)
        found = {}
        for connection in (c for reader in self._readers for c in reader.connections if c.topic in topics):
            definition = connection.msgdef
            if definition.format == MessageDefinitionFormat.MSG:
                found.update(get_types_from_msg(definition.data, connection.msgtype))
            elif definition.format == MessageDefinitionFormat.IDL:
                found.update(_types_of_idl(definition.data))
            elif connection.msgtype not in usual.fielddefs:
                raise self.error(
                    f"topic {connection.topic}: the bag does not say what a {connection.msgtype} is; "
                    "`ros2 bag convert` on a machine with that package adds it"
                )
        store = get_typestore(Stores.EMPTY)
        store.register({**usual.fielddefs, **found})
        return store

    def _listing(self) -> str:
        named = [f"{t.name} ({t.type_name or 'several types'})" for t in self.topics.values()]
        if len(named) > _LISTED:
            named = [*named[:_LISTED], f"{len(named) - _LISTED} more (`am-ros bags topics`)"]
        return ", ".join(named) or "no topic"

    def _named(self, error: BaseException) -> BaseException:
        """Whatever the library raises on bad input, as one sentence that names the bag."""
        if isinstance(error, AmRosError):
            return error if str(error).startswith("bag ") else self.error(str(error))
        if not isinstance(error, Exception):
            return error
        reason = " ".join(str(a) for a in error.args) or type(error).__name__
        return self.error(f"cannot be read: {' '.join(reason.split()).rstrip('.')}")


def find_bags(path) -> list[Path]:
    """The bags at a path: itself, or all in that folder and below, sorted; AmRosError if there is none."""
    path = Path(path)
    if path.is_file() or _storage_files(path) or (path / "metadata.yaml").is_file():
        return [path]
    if not path.is_dir():
        raise AmRosError(f"bag {path}: does not exist")
    found = {p for p in path.rglob(f"*{ROS1_SUFFIX}") if p.is_file()}
    found |= {p.parent for pattern in ("*.mcap", "*.db3", "metadata.yaml") for p in path.rglob(pattern)}
    if not found:
        raise AmRosError(f"bag folder {path}: holds no bag")
    return sorted(found)


def _storage_files(path: Path) -> list[Path]:
    """The storage files of a bag folder, bag_10 after bag_9; of a single file, that file."""
    if path.is_file():
        return [path]
    return sorted((p for p in path.glob("*") if p.suffix in STORAGE_SUFFIXES and p.is_file()), key=_natural)


def _natural(path: Path):
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]


def _types_of_idl(text: str) -> dict:
    """Definitions of an IDL text, or of several behind each other as rosbag2 writes them."""
    rule = "=" * 80 + "\n"
    if not text.startswith(rule):
        return get_types_from_idl(text)
    found = {}
    for part in text.split(rule)[1:]:
        found.update(get_types_from_idl(part.partition("\n")[2]))
    return found

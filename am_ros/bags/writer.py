"""Write one episode as a rosbag2 bag: an MCAP file and metadata.yaml in a folder named after the episode."""

import fcntl
import os
import shutil
import time
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from mcap.writer import CompressionType, Writer

from am_ros.bags import types
from am_ros.bags.metadata import in_file, metadata_text
from am_ros.episode import EpisodeInfo, Outcome, check_name
from am_ros.errors import AmRosError
from am_ros.paths import Folder

# While a bag is written its folder has this suffix. Episode names hold no dot, so it cannot be mistaken for one.
UNFINISHED = ".unfinished"
DYING_S = 30.0  # for a writer whose job was given to another one to end
METADATA_RECORD = "am_ros"  # MCAP metadata record with the EpisodeInfo
FORMAT_KEY, FORMAT = "am_ros_episode", "1"
_INFO_FIELDS = tuple(f.name for f in fields(EpisodeInfo) if f.name != "extra")


class Schema(NamedTuple):
    """How a message type is defined: MCAP schema encoding, text, and REP 2016 hash (empty if not known)."""

    encoding: str
    text: str
    type_hash: str

    @staticmethod
    def of(type_name: str) -> "Schema":
        """The schema of a type that bags.types knows."""
        return Schema("ros2msg", types.definition(type_name), types.type_hash(type_name))


class EpisodeBag:
    """A bag that is being written, in `folder/<episode_id>.unfinished/`; close() renames it to `folder/<episode_id>/`.

    Every byte is under a checksum: chunks, the data section and the summary. With `durable` the file is flushed to
    the disk by flush() and by close(), so that a killed writer or a power cut loses what came after the last flush;
    without, for data that can be made again, only the rename is atomic.
    """

    def __init__(self, folder: Folder, info: EpisodeInfo, durable: bool = True):
        self.info = info
        check_name(info.episode_id, "episode id")
        self.path = Path(folder) / info.episode_id
        self.unfinished_path = self.path.with_name(info.episode_id + UNFINISHED)
        self.counts: dict[str, int] = {}  # messages per topic
        self._durable = durable
        self._channels: dict[str, _Channel] = {}
        self._schemas: dict[str, int] = {}
        self._first_ns: int | None = None
        self._last_ns = 0
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            taken = self.path.exists() or self.unfinished_path.exists()
            if not taken:
                self.unfinished_path.mkdir()
        except OSError as error:
            raise AmRosError(f"bag {self.path}: cannot be created: {error.strerror}") from None
        if taken:
            raise AmRosError(f"bag {self.path}: an episode of this name exists already")
        self._file_name = f"{info.episode_id}_0.mcap"
        try:
            self._open()
        except OSError as error:  # the disk is full: nothing is in it yet, so nothing is left of it
            shutil.rmtree(self.unfinished_path, ignore_errors=True)
            raise AmRosError(f"bag {self.path}: cannot be created: {error.strerror}") from None

    def _open(self) -> None:
        self._file = open(self.unfinished_path / self._file_name, "xb")
        fcntl.flock(self._file, fcntl.LOCK_EX)  # held while this process lives: see is_being_written
        # LZ4 makes a bag of 64x64 JPEGs a fifth smaller and costs nothing on large ones (benchmarks/bags.py).
        self._writer = Writer(self._file, compression=CompressionType.LZ4, enable_data_crcs=True)
        self._writer.start(profile="ros2", library="am_ros")
        self._writer.add_metadata(METADATA_RECORD, info_to_text(self.info))
        self.flush()  # from here on salvage knows whose episode it is

    def write(self, topic: str, type_name: str, raw: bytes, stamp_ns: int, schema: Schema | None = None) -> None:
        """Append one serialised message.

        `stamp_ns` is its log time, for received messages the time of reception. `schema` is needed for types that
        bags.types does not know.
        """
        channel = self._channels.get(topic)
        if channel is None:
            channel = self._add_channel(topic, type_name, schema or Schema.of(type_name))
        if channel.type_name != type_name:
            raise AmRosError(f"bag {self.path}: topic {topic} has type {channel.type_name}, not {type_name}")
        self._writer.add_message(channel.id, log_time=stamp_ns, data=raw, publish_time=stamp_ns)
        self.counts[topic] += 1
        self._first_ns = stamp_ns if self._first_ns is None else min(self._first_ns, stamp_ns)
        self._last_ns = max(self._last_ns, stamp_ns)

    def type_of(self, topic: str) -> str | None:
        """The message type of a topic in this bag; None if it has no message yet."""
        channel = self._channels.get(topic)
        return channel.type_name if channel else None

    def flush(self) -> None:
        """Hand everything written so far to the system and, if durable, to the disk (about 4 ms on an SSD)."""
        self._writer.flush()  # type: ignore[no-untyped-call]  # mcap's own lacks an annotation
        if self._durable:
            os.fsync(self._file.fileno())

    def note(self, extra: dict[str, str]) -> Path:
        """Add something to the metadata, at once and on the disk; return the path that the bag will have."""
        self.info = replace(self.info, extra={**self.info.extra, **extra})
        self._writer.add_metadata(METADATA_RECORD, info_to_text(self.info))
        self.flush()
        return self.path

    def close(self, **changes: Any) -> Path:
        """Finish the bag, with `changes` of its EpisodeInfo, and return its path."""
        self.info = replace(self.info, **changes)
        topics = {t: (c.type_name, c.type_hash, self.counts[t]) for t, c in self._channels.items()}
        metadata = metadata_text(self._file_name, topics, self._first_ns or 0, self._last_ns, info_to_text(self.info))
        self._writer.add_metadata(METADATA_RECORD, info_to_text(self.info))
        self._writer.add_metadata("rosbag2", {"serialized_metadata": metadata})
        self._writer.finish()  # type: ignore[no-untyped-call]  # the same
        self._file.flush()
        if self._durable:
            os.fsync(self._file.fileno())
        self._file.close()
        with open(self.unfinished_path / "metadata.yaml", "w", encoding="utf-8") as file:
            file.write(in_file(metadata))
            if self._durable:
                file.flush()
                os.fsync(file.fileno())
        if self._durable:
            sync_folder(self.unfinished_path)
        try:
            os.rename(self.unfinished_path, self.path)
        except OSError as error:
            raise AmRosError(f"bag {self.unfinished_path}: cannot be renamed: {error.strerror}") from None
        if self._durable:
            sync_folder(self.path.parent)
        return self.path

    def discard(self) -> None:
        """Delete what was written."""
        self.abandon()
        shutil.rmtree(self.unfinished_path)

    def abandon(self) -> None:
        """Leave the unfinished bag as it is on the disk, for salvage; nothing can be written any more."""
        with suppress(OSError):  # of the flush that goes with it: the disk may be full
            self._file.close()

    def _add_channel(self, topic: str, type_name: str, schema: Schema) -> "_Channel":
        schema_id = self._schemas.get(type_name)
        if schema_id is None:
            schema_id = self._writer.register_schema(type_name, schema.encoding, schema.text.encode())
            self._schemas[type_name] = schema_id
        metadata = {"offered_qos_profiles": "", "topic_type_hash": schema.type_hash}
        channel_id = self._writer.register_channel(topic, "cdr", schema_id, metadata)
        self._channels[topic] = _Channel(channel_id, type_name, schema.type_hash)
        self.counts[topic] = 0
        return self._channels[topic]


class _Channel(NamedTuple):
    id: int
    type_name: str
    type_hash: str


def is_being_written(path: Path) -> bool:
    """Whether a living process holds the MCAP file open in an unfinished bag."""
    for file in Path(path).glob("*.mcap"):
        with open(file, "rb") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False


def clear_unfinished(folder: Folder, episode_id: str) -> None:
    """Remove what a killed writer left of an episode, so that it can be written again.

    One that is about to die, on a node that was given up for instance, is waited for. Raises AmRosError if somebody
    goes on writing it.
    """
    path = Path(folder) / (episode_id + UNFINISHED)
    deadline = time.monotonic() + DYING_S
    while path.is_dir() and is_being_written(path):
        if time.monotonic() > deadline:
            raise AmRosError(f"bag {path}: another process is writing it")
        time.sleep(0.1)
    shutil.rmtree(path, ignore_errors=True)


def info_to_text(info: EpisodeInfo) -> dict[str, str]:
    """EpisodeInfo as a flat dictionary of strings; `extra` is merged in."""
    text = {FORMAT_KEY: FORMAT, **{name: str(getattr(info, name)) for name in _INFO_FIELDS}}
    text["outcome"] = Outcome(info.outcome).name.lower()
    clash = text.keys() & info.extra.keys()
    if clash:
        raise AmRosError(f"episode {info.episode_id!r}: extra metadata may not be named {', '.join(sorted(clash))}")
    return text | {str(key): str(value) for key, value in info.extra.items()}


def info_from_text(text: dict[str, str]) -> EpisodeInfo:
    """The inverse of info_to_text; raises AmRosError if the text is not that of an episode."""
    try:
        known: dict[str, Any] = {name: text[name] for name in _INFO_FIELDS}
        known["seed"] = int(known["seed"])
        known["outcome"] = Outcome[known["outcome"].upper()]
        check_name(known["episode_id"], "episode id")
    except (KeyError, ValueError) as error:
        raise AmRosError(f"episode metadata is incomplete or malformed: {error}") from None
    return EpisodeInfo(**known, extra={k: v for k, v in text.items() if k not in known and k != FORMAT_KEY})


def unique_episode_id(prefix: str = "episode") -> str:
    """A name from the time and the process: sorts by time, and two processes never pick the same."""
    now = time.time_ns()
    seconds = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now // 1_000_000_000))
    return f"{prefix}-{seconds}-{now % 1_000_000_000:09d}-{os.getpid()}"


def sync_folder(path: Path) -> None:
    """Bring the names in a folder onto the disk: after a rename or a new file."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

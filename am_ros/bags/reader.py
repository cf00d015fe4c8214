"""Read rosbag2 (MCAP) bags with every checksum and count verified: damaged data is refused, never returned."""

import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import yaml
from mcap.exceptions import McapError
from mcap.reader import make_reader
from mcap.records import Channel, Schema

from am_ros.bags import mcap_records as mcap
from am_ros.bags.finder import METADATA, storage_files
from am_ros.bags.labels import LABEL, label_in, without_label
from am_ros.bags.marks import own_name
from am_ros.bags.mcap_records import DAMAGE
from am_ros.bags.metadata import in_file, label_in_text, metadata_text
from am_ros.bags.writer import METADATA_RECORD, info_from_text
from am_ros.episode import EpisodeInfo
from am_ros.errors import AmRosError
from am_ros.paths import Folder

__all__ = ["DAMAGE", "BagReader", "Recorded"]
_YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml: 0.3 instead of 2 ms per bag


class Recorded(NamedTuple):
    """One message as it lies in the bag."""

    topic: str
    type_name: str
    log_time_ns: int
    raw: bytes
    type_hash: str  # REP 2016 hash the recorder wrote, or empty
    ours: str = ""  # what we call the topic, where the driver calls it otherwise and the recorder noted that

    @property
    def name(self) -> str:
        """The topic by our own name of it, in its namespace."""
        return self.ours or self.topic


@dataclass(slots=True)
class Listed:
    """What metadata.yaml lists of a topic."""

    type_name: str
    type_hash: str
    count: int = 0  # of its messages


class BagReader:
    """A rosbag2 folder (one or several MCAP files, with or without metadata.yaml) or a single .mcap file.

    Raises AmRosError in one sentence that names the bag if it cannot be opened, now or while reading.
    """

    def __init__(self, path: Folder):
        self.path = Path(path)
        # MCAP metadata records seen so far by messages(), the last of each name
        self.records: dict[str, dict[str, str]] = {}
        self._text: bytes | None = None  # of metadata.yaml
        self._as_written: dict[str, str] | None = None  # custom data of a metadata.yaml that need not be parsed
        if self.path.is_dir():
            self._text = self._read_text()
            self.files = self._find_files()
        elif self.path.is_file():
            if self.path.suffix != ".mcap" and not _is_mcap(self.path):
                raise self.error("is no MCAP file, so no episode: `am-ros bags ingest` reads recordings of others")
            self.files = [self.path]
        else:
            raise self.error("does not exist")

    def error(self, what: str) -> AmRosError:
        return AmRosError(f"bag {self.path}: {what}")

    @cached_property
    def metadata(self) -> dict[str, Any] | None:
        """What metadata.yaml says; None if there is none. Raises AmRosError if it is damaged."""
        if self._text is None:
            return None
        try:
            content = yaml.load(self._text, _YAML_LOADER)["rosbag2_bagfile_information"]
            storage, compressed = content.get("storage_identifier"), content.get("compression_mode")
        except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, AttributeError, ValueError):
            raise self.error("metadata.yaml is damaged") from None
        if storage not in ("mcap", "", None):  # empty after `ros2 bag reindex`
            raise self.error(f"storage {storage!r} is not supported, only mcap (`ros2 bag convert` changes it)")
        if compressed:
            raise self.error(f"compression mode {compressed!r} is not supported (`ros2 bag convert` changes it)")
        told: dict[str, Any] = content
        return told

    def messages(self) -> Iterator[Recorded]:
        """All messages in the order of the file; after the last one the counts are compared."""
        topics: dict[str, Listed] = {}
        first_ns: int | None = None
        last_ns = 0
        for file in self.files:
            for message in self._read_file(file):
                topic = topics.get(message.topic)
                if topic is None:
                    topic = topics[message.topic] = Listed(message.type_name, message.type_hash)
                topic.count += 1
                time_ns = message.log_time_ns
                if first_ns is None or time_ns < first_ns:
                    first_ns = time_ns
                if time_ns > last_ns:
                    last_ns = time_ns
                yield message
        if self._text is not None:
            self._compare(self._text.decode(errors="replace"), topics, first_ns or 0, last_ns)

    def info(self) -> EpisodeInfo:
        """What the bag says of its episode; known once messages() has come to its end.

        It lies in the MCAP file, and in metadata.yaml too, whose label is the newer one; `ros2 bag reindex` takes it
        out of there.
        """
        text = self.records.get(METADATA_RECORD)
        if text is None:
            raise self.error("was not recorded by am_ros: it has no episode metadata")
        if self._as_written is not None:
            text = self._as_written
        elif self.metadata is not None and (custom := self.metadata.get("custom_data")) is not None:
            if not isinstance(custom, dict) or without_label(custom) != without_label(text):
                raise self.error("custom_data in metadata.yaml disagrees with the MCAP file")
            text = custom
        try:
            label_in(text)
            return info_from_text(text)
        except AmRosError as error:
            raise self.error(str(error)) from None

    def told(self) -> dict[str, str]:
        """What the bag says of its episode, without reading its messages: metadata.yaml, or the index of the file.

        For `info_from_text`. Raises AmRosError if there is nothing.
        """
        text = (self.metadata or {}).get("custom_data")
        if isinstance(text, dict):
            return text
        try:
            with open(self.files[-1], "rb") as stream:
                records = {record.name: record.metadata for record in make_reader(stream).iter_metadata()}
        except OSError as error:
            raise AmRosError(f"bag file {self.files[-1]}: cannot be read: {error.strerror}") from None
        except DAMAGE as error:
            raise AmRosError(f"bag file {self.files[-1]}: damaged: {_sentence(error)}") from None
        if METADATA_RECORD not in records:
            raise self.error("was not recorded by am_ros")
        return records[METADATA_RECORD]

    @property
    def lost_custom_data(self) -> bool:
        """Whether metadata.yaml says nothing of the episode; known once messages() has come to its end."""
        return self._as_written is None and self.metadata is not None and self.metadata.get("custom_data") is None

    def _read_file(self, file: Path) -> Iterator[Recorded]:
        channels: dict[int, tuple[str, str, str, str]] = {}
        schemas: dict[int, Schema] = {}
        counted, expected = 0, None
        items: Iterable[mcap.Message | tuple[int, bytes]]
        try:
            with open(file, "rb") as stream:
                for opcode, content in _verified(stream):
                    if opcode == mcap.CHUNK:
                        items = mcap.items_of(mcap.chunk_data(content))
                    elif opcode == mcap.MESSAGE:
                        items = (mcap.message_of(content),)
                    elif opcode == mcap.METADATA:
                        name, entries = mcap.metadata_of(content)
                        self.records[name] = entries
                        continue
                    elif opcode == mcap.STATISTICS:
                        expected = mcap.message_count_of(content)
                        continue
                    else:
                        items = ((opcode, content),)
                    for item in items:
                        if type(item) is mcap.Message:
                            topic, type_name, type_hash, ours = channels[item.channel_id]
                            counted += 1
                            yield Recorded(topic, type_name, item.log_time_ns, item.data, type_hash, ours)
                        elif item[0] == mcap.SCHEMA:
                            schema = mcap.schema_of(item[1])
                            schemas[schema.id] = schema
                        elif item[0] == mcap.CHANNEL:
                            self._add_channel(mcap.channel_of(item[1]), schemas, channels)
        except OSError as error:
            raise AmRosError(f"bag file {file}: cannot be read: {error.strerror}") from None
        except DAMAGE as error:
            raise AmRosError(f"bag file {file}: damaged: {_sentence(error)}") from None
        if expected is not None and counted != expected:
            raise AmRosError(f"bag file {file}: damaged: {counted} messages, its summary says {expected}")

    def _add_channel(
        self, channel: Channel, schemas: dict[int, Schema], channels: dict[int, tuple[str, str, str, str]]
    ) -> None:
        if channel.message_encoding != "cdr":
            raise self.error(f"topic {channel.topic} is serialised as {channel.message_encoding!r}, not cdr")
        hashed = channel.metadata.get("topic_type_hash", "")
        ours = own_name(self.records.get(METADATA_RECORD, {}), channel.topic)
        channels[channel.id] = channel.topic, schemas[channel.schema_id].name, hashed, ours

    def _read_text(self) -> bytes | None:
        try:
            return (self.path / METADATA).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self.error(f"metadata.yaml cannot be read: {error.strerror}") from None

    def _find_files(self) -> list[Path]:
        there = storage_files(self.path)
        files = [file for file in there if file.suffix == ".mcap"]
        others = ", ".join(file.name for file in there if file.suffix != ".mcap")
        if not files:
            only = f", only {others}: `am-ros bags ingest` reads recordings of others" if others else ""
            raise self.error(f"holds no .mcap file{only}")
        if others:
            raise self.error(f"holds {others} too, which is no part of an episode")
        return files

    def _named_files(self, metadata: dict[str, Any]) -> list[str]:
        names = metadata.get("relative_file_paths")
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise self.error("metadata.yaml names no file")
        return names

    def _compare(self, text: str, topics: dict[str, Listed], first_ns: int, last_ns: int) -> None:
        """metadata.yaml with what was read; one that says exactly what it has to say is not parsed."""
        record = self.records.get(METADATA_RECORD)
        if record is not None and len(self.files) == 1:
            label = label_in_text(text)
            custom = record if label is None else {**record, LABEL: label}
            listed = {topic: (facts.type_name, facts.type_hash, facts.count) for topic, facts in topics.items()}
            if text == in_file(metadata_text(self.files[0].name, listed, first_ns, last_ns, custom)):
                self._as_written = custom
                return
        metadata = self.metadata or {}
        there, named = [file.name for file in self.files], self._named_files(metadata)
        for name in named:
            if name not in there:
                raise self.error(f"metadata.yaml names {name!r}, which is not there")
        for name in there:
            if name not in named:
                raise self.error(f"metadata.yaml does not name {name}, which lies beside: `am-ros bags salvage`")
        self._compare_counts(metadata, {topic: facts.count for topic, facts in topics.items()})

    def _compare_counts(self, metadata: dict[str, Any], counts: dict[str, int]) -> None:
        try:
            listed = {t["topic_metadata"]["name"]: t["message_count"] for t in metadata["topics_with_message_count"]}
            total = metadata["message_count"]
        except (KeyError, TypeError):
            raise self.error("metadata.yaml is damaged: no message counts") from None
        for topic in sorted(map(str, listed.keys() | counts.keys())):
            if listed.get(topic, 0) != counts.get(topic, 0):
                raise self.error(
                    f"metadata.yaml says {listed.get(topic, 0)} messages on {topic}, "
                    f"the file holds {counts.get(topic, 0)}"
                )
        if total != sum(counts.values()):
            raise self.error(f"metadata.yaml says {total} messages, the file holds {sum(counts.values())}")


def _sentence(error: Exception) -> str:
    """What was met: a finding of MCAP's as it is, another one with its kind, which says more than a bare number."""
    return str(error) if type(error) is McapError else f"{type(error).__name__} {error}".rstrip()


def _verified(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The records of a whole file, up to its footer: magic, footer and the checksums of both sections verified."""
    size = os.fstat(stream.fileno()).st_size
    if stream.read(len(mcap.MAGIC)) != mcap.MAGIC:
        raise McapError("not an MCAP file" if size else "is empty: it was opened, and nothing was ever written to it")
    mcap.read_footer(stream, size)
    stream.seek(len(mcap.MAGIC))
    crc, position, in_data = zlib.crc32(mcap.MAGIC), len(mcap.MAGIC), True
    while True:
        record = mcap.read_record(stream, size - position)
        if record is None:
            raise McapError("has no footer")
        opcode, head, content = record
        position += len(head) + len(content)
        if opcode == mcap.FOOTER:
            return
        if opcode == mcap.DATA_END:
            expected = int.from_bytes(content[:4], "little")
            if in_data and expected and expected != crc:
                raise McapError("wrong checksum of the data")
            in_data = False
        elif in_data:
            crc = zlib.crc32(content, zlib.crc32(head, crc))
        yield opcode, content


def _is_mcap(path: Path) -> bool:
    with open(path, "rb") as stream:
        return stream.read(len(mcap.MAGIC)) == mcap.MAGIC

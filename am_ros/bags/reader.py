"""Read rosbag2 (MCAP) bags with every checksum and count verified: damaged data is refused, never returned."""

import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml
from mcap.exceptions import McapError
from mcap.records import Channel, Message, Metadata, Schema, Statistics
from mcap.stream_reader import StreamReader
from zstandard import ZstdError

from am_ros.bags.labels import label_in, without_label
from am_ros.bags.writer import METADATA_RECORD, info_from_text
from am_ros.episode import EpisodeInfo
from am_ros.errors import AmRosError

_YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml: 0.2 instead of 2 ms per bag
_MAGIC = b"\x89MCAP0\r\n"
_FOOTER = struct.Struct("<BQQQI")  # opcode, length, summary start, summary offset start, CRC
# What the MCAP library raises on damaged input, besides its own errors.
DAMAGE = (McapError, ValueError, struct.error, ZstdError, RuntimeError, KeyError, OverflowError, MemoryError, EOFError)


class Recorded(NamedTuple):
    """One message as it lies in the bag."""

    topic: str
    type_name: str
    log_time_ns: int
    raw: bytes
    type_hash: str  # REP 2016 hash the recorder wrote, or empty


class BagReader:
    """A rosbag2 folder (one or several MCAP files, with or without metadata.yaml) or a single .mcap file.

    Raises AmRosError in one sentence that names the bag if it cannot be opened, now or while reading.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.metadata: dict | None = None  # of metadata.yaml
        self.records: dict[str, dict] = {}  # MCAP metadata records seen so far by messages(), the last of each name
        if self.path.is_dir():
            self.metadata = self._load_metadata()
            self.files = self._find_files()
        elif self.path.is_file():
            self.files = [self.path]
        else:
            raise self.error("does not exist")

    def error(self, what: str) -> AmRosError:
        return AmRosError(f"bag {self.path}: {what}")

    def messages(self) -> Iterator[Recorded]:
        """All messages in the order of the file; after the last one the counts are compared."""
        counts: dict[str, int] = {}
        for file in self.files:
            for message in self._read_file(file):
                counts[message.topic] = counts.get(message.topic, 0) + 1
                yield message
        self._compare_counts(counts)

    def info(self) -> EpisodeInfo:
        """What the bag says of its episode; known once messages() has come to its end."""
        text = self.records.get(METADATA_RECORD)
        if text is None:
            raise self.error("was not recorded by am_ros: it has no episode metadata")
        if self.metadata is not None:
            custom = self.metadata.get("custom_data")
            if not isinstance(custom, dict) or without_label(custom) != without_label(text):
                raise self.error("custom_data in metadata.yaml disagrees with the MCAP file")
            text = custom  # its label is the newer one
        try:
            label_in(text)
            return info_from_text(text)
        except AmRosError as error:
            raise self.error(str(error)) from None

    def _read_file(self, file: Path) -> Iterator[Recorded]:
        channels, schemas, counted, expected = {}, {}, 0, None
        try:
            with open(file, "rb") as stream:
                size = _check_ends(stream)
                reader = StreamReader(stream, validate_crcs=True, record_size_limit=size)
                for record in reader.records:
                    if isinstance(record, Message):
                        channel, schema = channels[record.channel_id]
                        counted += 1
                        yield Recorded(
                            channel.topic,
                            schema.name,
                            record.log_time,
                            record.data,
                            channel.metadata.get("topic_type_hash", ""),
                        )
                    elif isinstance(record, Schema):
                        schemas[record.id] = record
                    elif isinstance(record, Channel):
                        if record.message_encoding != "cdr":
                            raise self.error(
                                f"topic {record.topic} is serialised as {record.message_encoding!r}, not cdr"
                            )
                        channels[record.id] = (record, schemas[record.schema_id])
                    elif isinstance(record, Metadata):
                        self.records[record.name] = record.metadata
                    elif isinstance(record, Statistics):
                        expected = record.message_count
        except OSError as error:
            raise AmRosError(f"bag file {file}: cannot be read: {error.strerror}") from None
        except DAMAGE as error:
            raise AmRosError(f"bag file {file}: damaged: {type(error).__name__} {error}".rstrip()) from None
        if expected is not None and counted != expected:
            raise AmRosError(f"bag file {file}: damaged: {counted} messages, its summary says {expected}")

    def _load_metadata(self) -> dict | None:
        path = self.path / "metadata.yaml"
        if not path.is_file():
            return None
        try:
            content = yaml.load(path.read_bytes(), _YAML_LOADER)["rosbag2_bagfile_information"]
            if content.get("storage_identifier") != "mcap":
                raise self.error(
                    f"storage {content.get('storage_identifier')!r} is not supported, only mcap "
                    "(`ros2 bag convert` changes it)"
                )
            if content.get("compression_mode"):
                raise self.error(
                    f"compression mode {content['compression_mode']!r} is not supported (`ros2 bag convert` changes it)"
                )
            return content
        except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, AttributeError, ValueError):
            raise self.error("metadata.yaml is damaged") from None

    def _find_files(self) -> list[Path]:
        if self.metadata is None:
            files = sorted(self.path.glob("*.mcap"), key=_natural)
            if not files:
                raise self.error("holds no .mcap file")
            return files
        names = self.metadata.get("relative_file_paths")
        if not isinstance(names, list) or not names:
            raise self.error("metadata.yaml names no file")
        for name in names:
            if not isinstance(name, str) or Path(name).name != name or not (self.path / name).is_file():
                raise self.error(f"metadata.yaml names {name!r}, which is not there")
        return [self.path / name for name in names]

    def _compare_counts(self, counts: dict[str, int]) -> None:
        if self.metadata is None:
            return
        try:
            listed = {
                t["topic_metadata"]["name"]: t["message_count"] for t in self.metadata["topics_with_message_count"]
            }
            total = self.metadata["message_count"]
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


def _check_ends(stream) -> int:
    """Check magic, footer and the checksum of the summary, rewind, return the file's size in bytes."""
    size = stream.seek(0, 2)
    tail = _FOOTER.size + len(_MAGIC)
    stream.seek(0)
    if stream.read(len(_MAGIC)) != _MAGIC:
        raise McapError("not an MCAP file")
    stream.seek(max(0, size - tail))
    end = stream.read()
    if len(end) != tail or not end.endswith(_MAGIC):
        raise McapError("truncated, `am-ros bags salvage` may recover it")
    opcode, length, start, _, crc = _FOOTER.unpack(end[: _FOOTER.size])
    if opcode != 2 or length != _FOOTER.size - 9 or start > size - tail:
        raise McapError("malformed footer")
    if crc:
        stream.seek(start or size - tail)
        if zlib.crc32(stream.read(size - len(_MAGIC) - 4 - stream.tell())) != crc:
            raise McapError("wrong checksum of the summary")
    stream.seek(0)
    return size


def _natural(path: Path):
    """Sort key by which bag_10.mcap comes after bag_9.mcap."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]

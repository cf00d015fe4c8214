"""ROS 1 bags, by rosbags."""

from collections.abc import Iterator
from pathlib import Path

from rosbags.interfaces import MessageDefinitionFormat
from rosbags.rosbag1 import Reader

from am_ros.errors import AmRosError
from am_ros.ingest.storage.file import ROS1, Channel, StorageFile, Stored
from am_ros.ingest.storage.order import stretches


class Ros1File(StorageFile):
    """A .bag file. Raises AmRosError if it is none or has no index."""

    kind = "ROS 1"

    def __init__(self, path: Path):
        super().__init__(path)
        self._reader = Reader(path)
        try:
            self._reader.open()
        except Exception as error:  # whatever damaged input raises in there
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            raise AmRosError(f"cannot be read ({reason}): `rosbag reindex` makes a new index") from None
        for connection in self._reader.connections:
            text = connection.msgdef.data if connection.msgdef.format == MessageDefinitionFormat.MSG else ""
            who = getattr(connection.ext, "callerid", None) or ""
            channel = Channel(connection.topic, connection.msgtype, ROS1, "ros1msg" if text else "", text, who)
            self.channels[connection.id] = channel
            self.counts[connection.id] = connection.msgcount
        if self._reader.message_count:
            self.start_ns, self.end_ns = self._reader.start_time, self._reader.end_time - 1
            if self.start_ns <= 0:
                self._span_without_zeros()

    def close(self) -> None:
        """See StorageFile."""
        self._reader.close()

    def messages(self, channels: set[int]) -> Iterator[Stored]:
        """See StorageFile."""
        connections = [c for c in self._reader.connections if c.id in channels]
        count = 0
        if not connections:
            return
        indexes = self._reader.indexes
        entries = [(c.id, e) for c in connections for e in indexes[c.id]]
        entries.sort(key=lambda entry: (entry[1].chunk_pos, entry[1].offset))
        try:
            # Where the recorder's clock was set back, the bag goes on as another, and is read as one.
            for part in stretches((number, entry.time, (number, entry)) for number, entry in entries):
                self._reader.indexes = {number: [] for number in indexes}
                for number, entry in part:
                    self._reader.indexes[number].append(entry)
                for of_connection in self._reader.indexes.values():
                    of_connection.sort()
                for connection, time_ns, raw in self._reader.messages(connections):
                    count += 1
                    yield Stored(time_ns, connection.id, bytes(raw))
        except GeneratorExit:
            raise
        except Exception as error:  # whatever damaged input raises in there
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            self.lost.append(f"cannot be read after {count} messages ({reason})")
        finally:
            self._reader.indexes = indexes

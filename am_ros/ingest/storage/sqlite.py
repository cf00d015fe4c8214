"""sqlite3 files of rosbag2, with the write-ahead file that a killed recorder leaves."""

import shutil
import sqlite3
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from am_ros.bags.finder import SIDE_FILES
from am_ros.errors import AmRosError
from am_ros.ingest.storage.file import Channel, StorageFile, Stored
from am_ros.ingest.storage.order import RecordedOrder


class SqliteFile(StorageFile):
    """A .db3 file of any version of rosbag2. Raises AmRosError if it is none. Nothing is written beside it."""

    kind = "rosbag2 sqlite3"

    def __init__(self, path: Path):
        super().__init__(path)
        self._copy: tempfile.TemporaryDirectory | None = None
        try:
            self._database = self._open()
            self._read_topics()
        except sqlite3.Error as error:
            self.close()
            raise AmRosError(f"is no sqlite3 bag, or a damaged one ({error})") from None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """See StorageFile."""
        if getattr(self, "_database", None) is not None:
            self._database.close()
        if self._copy is not None:
            self._copy.cleanup()

    def messages(self, channels: set[int]) -> Iterator[Stored]:
        """See StorageFile."""
        numbers = ",".join(str(int(number)) for number in channels)
        order = "id" if self._set_back() else "timestamp, id"
        query = f"SELECT timestamp, topic_id, data FROM messages WHERE topic_id IN ({numbers}) ORDER BY {order}"
        count = 0
        try:
            for time_ns, topic, data in self._database.execute(query):
                count += 1
                yield Stored(time_ns, topic, bytes(data or b""))
        except sqlite3.Error as error:
            self.lost.append(f"cannot be read after {count} messages ({error}): `sqlite3 .recover` may get at the rest")

    def _set_back(self) -> bool:
        """Whether the recorder's clock was set back, so that the order of the file is to be kept."""
        order, times = RecordedOrder(), defaultdict(list)
        try:
            for channel, time_ns in self._database.execute("SELECT topic_id, timestamp FROM messages ORDER BY id"):
                times[channel].append(time_ns)
        except sqlite3.Error:  # what cannot be read is told where it is read
            return False
        for channel, of_channel in times.items():
            order.add(channel, of_channel)
        return order.set_back

    def _open(self) -> sqlite3.Connection:
        path = self.path.resolve()
        beside = [file for end in SIDE_FILES if (file := Path(f"{path}{end}")).is_file() and file.stat().st_size]
        if beside:  # SQLite has to work on both, and would write where the recording lies
            self._copy = tempfile.TemporaryDirectory(prefix="am_ros_")
            for file in (path, *beside):
                shutil.copy(file, Path(self._copy.name) / ("bag.db3" + file.name.removeprefix(path.name)))
            return sqlite3.connect(Path(self._copy.name) / "bag.db3")
        return sqlite3.connect(f"file:{quote(str(path))}?immutable=1", uri=True)

    def _read_topics(self) -> None:
        tables = {name for (name,) in self._database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not {"topics", "messages"} <= tables:
            raise AmRosError(f"is no rosbag2 file: its tables are {', '.join(sorted(tables)) or 'none'}")
        definitions = {}
        if "message_definitions" in tables:
            query = "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
            definitions = {name: (encoding, text) for name, encoding, text in self._database.execute(query)}
        for number, topic, type_name, encoding in self._database.execute(
            "SELECT id, name, type, serialization_format FROM topics"
        ):
            self.channels[number] = Channel(topic, type_name, encoding, *definitions.get(type_name, ("", "")))
        query = "SELECT topic_id, count(*), min(nullif(max(timestamp, 0), 0)), max(timestamp), sum(timestamp <= 0) "
        spans = []
        for number, count, first, last, timeless in self._database.execute(query + "FROM messages GROUP BY topic_id"):
            if number in self.channels:
                self.counts[number] = count
                self.timeless += timeless
                spans += [(first, last)] if first is not None else []
            else:
                self.lost.append(f"holds {count} messages of a topic that it does not name")
        if spans:
            self.start_ns, self.end_ns = min(s for s, _ in spans), max(e for _, e in spans)

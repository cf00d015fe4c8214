"""MCAP files, by their index where it lies, else by a walk over all that is whole."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mcap.exceptions import McapError
from mcap.records import Channel as McapChannel
from mcap.records import Schema

from am_ros.bags import mcap_records as records
from am_ros.bags.mcap_records import DAMAGE, HEAD
from am_ros.errors import AmRosError
from am_ros.ingest.storage.file import Channel, StorageFile, Stored
from am_ros.ingest.storage.order import RecordedOrder

_SALVAGE = "what is whole was read, `am-ros bags salvage` makes a proper bag of it"
_RUN_BYTES = 1_000_000  # messages outside of chunks are read in runs of so many bytes


class _Piece(NamedTuple):
    """A chunk, or a run of messages that are in no chunk."""

    start_ns: int
    end_ns: int
    offset: int
    length: int
    channels: frozenset[int] | None  # None: not known
    chunk: bool
    indexed_at: tuple[int, int] = (0, 0)  # where the index of its messages lies, how long it is; zeros: there is none


class McapFile(StorageFile):
    """An MCAP file of rosbag2, Foxglove or others. Raises AmRosError if it is none."""

    kind = "rosbag2 mcap"

    def __init__(self, path: Path):
        super().__init__(path)
        self._file = open(path, "rb")
        self._order, self._indexed = RecordedOrder(), False
        try:
            self._size = self._file.seek(0, 2)
            self._file.seek(0)
            if self._file.read(len(records.MAGIC)) != records.MAGIC:
                raise AmRosError("is no MCAP file")
            self._schemas: dict[int, Schema] = {}
            self._raw_channels: dict[int, McapChannel] = {}
            self._pieces: list[_Piece] = []
            if not self._read_summary():
                self._schemas, self._raw_channels, self._pieces, self.counts = {}, {}, [], {}
                self._scan()
            self.channels = {number: self._channel(raw) for number, raw in self._raw_channels.items()}
            if self._pieces:
                self.start_ns = min(p.start_ns for p in self._pieces)
                self.end_ns = max(p.end_ns for p in self._pieces)
            if self._pieces and self.start_ns <= 0:
                self._span_without_zeros()
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """See StorageFile."""
        self._file.close()

    def messages(self, channels: set[int]) -> Iterator[Stored]:
        """See StorageFile."""
        waiting: list[Stored] = []
        wanted = (p for p in self._pieces if p.channels is None or p.channels & channels)
        in_order = self._set_back()
        for piece in sorted(wanted, key=lambda p: p.offset if in_order else (p.start_ns, p.offset)):
            if in_order:
                yield from waiting
                waiting = []
            ready = bisect_right(waiting, piece.start_ns, key=lambda m: m.time_ns)
            yield from waiting[:ready]
            waiting = waiting[ready:]
            try:
                found = [m for m in self._messages_in(piece) if m.channel in channels]
            except DAMAGE as error:
                what = f"a chunk of {piece.length} bytes" if piece.chunk else "messages"
                self.lost.append(f"{what} at byte {piece.offset} cannot be read ({_reason(error)})")
                continue
            waiting = found if in_order else sorted([*waiting, *found], key=lambda m: m.time_ns)
        yield from waiting

    def _set_back(self) -> bool:
        """Whether the recorder's clock was set back, so that the order of the file is to be kept."""
        if not self._indexed:
            self._indexed = True
            for piece in sorted(self._pieces, key=lambda p: p.offset):
                if piece.indexed_at[1]:
                    self._file.seek(piece.indexed_at[0])
                    for channel, times in records.message_times(self._file.read(piece.indexed_at[1])):
                        self._order.add(channel, times)
        return self._order.set_back

    def _messages_in(self, piece: _Piece) -> Iterator[Stored]:
        self._file.seek(piece.offset)
        content = self._file.read(piece.length)
        if len(content) != piece.length:
            raise McapError("the file ends before")
        if piece.chunk:
            opcode, _ = HEAD.unpack_from(content)
            if opcode != records.CHUNK:
                raise McapError("there is no chunk where the index says")
            content = records.chunk_data(content[HEAD.size :])
        for item in records.items_of(content):
            if isinstance(item, records.Message):
                yield Stored(item.log_time_ns, item.channel_id, item.data)

    def _read_summary(self) -> bool:
        """Take the file's own index; False if there is none that tells of everything."""
        try:
            footer = records.read_footer(self._file, self._size)
            if not footer.summary_start:
                return False
            self._file.seek(footer.summary_start)
            statistics, chunks = None, []
            while self._file.tell() < footer.begin:
                record = records.read_record(self._file, self._size - self._file.tell())
                if record is None:
                    return False
                opcode, _, content = record
                if opcode == records.STATISTICS:
                    statistics = records.statistics_of(content)
                elif opcode == records.CHUNK_INDEX:
                    chunks.append(records.chunk_index_of(content))
                else:
                    self._take(opcode, content)
            if statistics is None or not chunks or len(chunks) != statistics.chunk_count:
                return False
            counts = statistics.channel_message_counts
            if sum(counts.values()) != statistics.message_count or not counts.keys() <= self._raw_channels.keys():
                return False
            if any(raw.schema_id and raw.schema_id not in self._schemas for raw in self._raw_channels.values()):
                return False
        except (*DAMAGE, TypeError):
            return False
        self.counts = dict(counts)
        for c in chunks:
            inside = frozenset(c.message_index_offsets) or None
            index = (c.chunk_start_offset + c.chunk_length, c.message_index_length)
            piece = _Piece(
                c.message_start_time, c.message_end_time, c.chunk_start_offset, c.chunk_length, inside, True, index
            )
            self._pieces.append(piece)
        return True

    def _scan(self) -> None:
        """Go through the whole file, for its topics, counts and chunks, until its structure breaks off."""
        counts: Counter[int] = Counter()
        position, run, ended, whole = self._file.seek(len(records.MAGIC)), None, False, False
        try:
            while (record := records.read_record(self._file, self._size - position)) is not None:
                opcode, _, content = record
                length = HEAD.size + len(content)
                if opcode == records.CHUNK:
                    self._scan_chunk(position, length, content, counts)
                elif opcode == records.MESSAGE:
                    message = records.message_of(content)
                    counts[message.channel_id] += 1
                    self._order.add(message.channel_id, [message.log_time_ns])
                    run = self._longer_run(run, position, length, message.log_time_ns)
                elif opcode == records.FOOTER:
                    ended = True
                    break
                elif opcode == records.DATA_END:
                    whole = True
                else:
                    self._take(opcode, content)
                position += length
        except DAMAGE as error:
            if not whole:
                self.lost.append(f"breaks off at byte {position} of {self._size} ({_reason(error)}); {_SALVAGE}")
                ended = True
        if whole and not ended:
            self.notes.append("its index breaks off; all messages were read")
        elif not ended:
            self.lost.append(f"was not closed: it ends at byte {position}; {_SALVAGE}")
        self.counts = dict(counts)

    def _scan_chunk(self, position: int, length: int, content: bytes, counts: Counter) -> None:
        try:
            head = records.chunk_head(content)
            inside: Counter[int] = Counter()
            for item in records.items_of(records.chunk_data(content)):
                if isinstance(item, records.Message):
                    inside[item.channel_id] += 1
                    self._order.add(item.channel_id, [item.log_time_ns])
                else:
                    self._take(*item)
        except DAMAGE as error:
            self.lost.append(f"a chunk of {length} bytes at byte {position} cannot be read ({_reason(error)})")
            return
        counts.update(inside)
        if inside:
            self._pieces.append(_Piece(head.start_ns, head.end_ns, position, length, frozenset(inside), chunk=True))

    def _longer_run(self, run: _Piece | None, position: int, length: int, time_ns: int) -> _Piece:
        if run is not None and run.offset + run.length == position and run.length + length <= _RUN_BYTES:
            start, end = min(run.start_ns, time_ns), max(run.end_ns, time_ns)
            self._pieces[-1] = _Piece(start, end, run.offset, run.length + length, None, chunk=False)
        else:
            self._pieces.append(_Piece(time_ns, time_ns, position, length, None, chunk=False))
        return self._pieces[-1]

    def _take(self, opcode: int, content: bytes) -> None:
        if opcode == records.SCHEMA:
            schema = records.schema_of(content)
            self._schemas[schema.id] = schema
        elif opcode == records.CHANNEL:
            channel = records.channel_of(content)
            self._raw_channels[channel.id] = channel

    def _channel(self, raw) -> Channel:
        schema = self._schemas.get(raw.schema_id)
        name = schema.name if schema is not None else ""
        if name.count("/") == 1:  # as ROS 1 writes it
            name = name.replace("/", "/msg/")
        text = schema.data.decode(errors="replace") if schema is not None else ""
        return Channel(raw.topic, name, raw.message_encoding, schema.encoding if schema is not None else "", text)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__

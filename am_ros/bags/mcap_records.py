"""The records of an MCAP file, by offsets: the small ones of a bag cost a microsecond each, for there are thousands.

Of the specification (mcap.dev/spec) this is what lies inside chunks and around them. The rare records, such as
statistics, are parsed by the mcap library, whose loop over all records takes a quarter of the time that a bag of 64x64
images needs.
"""

import struct
import zlib
from collections.abc import Iterator
from functools import lru_cache
from io import BytesIO
from typing import BinaryIO, NamedTuple

import lz4.frame
import numpy as np
import zstandard
from mcap import records
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError

MAGIC = b"\x89MCAP0\r\n"
HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, MESSAGE_INDEX, CHUNK_INDEX = range(1, 9)
STATISTICS, METADATA, DATA_END = 0x0B, 0x0C, 0x0F
HEAD = struct.Struct("<BQ")  # of every record: opcode, length of what follows
FOOTER_RECORD = struct.Struct("<BQQQI")  # opcode, length, summary start, summary offset start, CRC
_MESSAGE = struct.Struct("<BQHIQQ")  # the head with channel id, sequence, log time, publish time
_MESSAGE_FIELDS = _MESSAGE.size - HEAD.size
_INDEX = struct.Struct("<BQHI")  # the head with channel id and bytes of the pairs of log time and offset
_CHUNK = struct.Struct("<QQQII")  # start, end, uncompressed size, CRC, length of the compression's name
_U32 = struct.Struct("<I")
# What damaged input raises in here and in the mcap library.
DAMAGE = (
    McapError, ValueError, struct.error, zstandard.ZstdError, RuntimeError, KeyError, OverflowError, MemoryError,
    EOFError,
)  # fmt: skip


class Message(NamedTuple):
    """A message as it lies in the file."""

    channel_id: int
    log_time_ns: int
    data: bytes


class Chunk(NamedTuple):
    """The head of a chunk."""

    start_ns: int
    end_ns: int
    size: int  # of what is in it
    crc: int
    compression: str
    offset: int  # in the record, where the compressed bytes begin
    compressed_size: int


def read_record(stream: BinaryIO, left: int) -> tuple[int, bytes, bytes] | None:
    """Opcode, head and content of the next record of a file; None at its end.

    `left`: bytes that the file still has; raises McapError if the record claims more.
    """
    head = stream.read(HEAD.size)
    if not head:
        return None
    if len(head) < HEAD.size:
        raise McapError("breaks off within a record")
    opcode, length = HEAD.unpack(head)
    if length > left - HEAD.size:
        raise McapError(f"a record of {length} bytes where the file has {max(0, left - HEAD.size)} left")
    content = stream.read(length)
    if len(content) != length:
        raise McapError("breaks off within a record")
    return opcode, head, content


class Footer(NamedTuple):
    """The end of a file."""

    begin: int  # where the footer lies
    summary_start: int  # 0: there is no summary


def read_footer(stream: BinaryIO, size: int) -> Footer:
    """The footer of a file of `size` bytes, the checksum of the summary verified; raises McapError if it is damaged."""
    tail = FOOTER_RECORD.size + len(MAGIC)
    stream.seek(max(0, size - tail))
    end = stream.read()
    if len(end) != tail or not end.endswith(MAGIC):
        raise McapError("truncated, `am-ros bags salvage` may recover it")
    opcode, length, start, _, crc = FOOTER_RECORD.unpack(end[: FOOTER_RECORD.size])
    if opcode != FOOTER or length != FOOTER_RECORD.size - HEAD.size or start > size - tail:
        raise McapError("malformed footer")
    if crc:
        stream.seek(start or size - tail)
        if zlib.crc32(stream.read(size - len(MAGIC) - 4 - stream.tell())) != crc:
            raise McapError("wrong checksum of the summary")
    return Footer(size - tail, start)


def items_of(data: bytes) -> Iterator[Message | tuple[int, bytes]]:
    """The records in a chunk: messages as Message, others as (opcode, content)."""
    position, end, unpack = 0, len(data), _MESSAGE.unpack_from
    while position < end:
        opcode, length = HEAD.unpack_from(data, position)
        begin = position + HEAD.size
        position = begin + length
        if position > end:
            raise McapError("a record in a chunk is longer than the chunk")
        if opcode == MESSAGE:
            if length < _MESSAGE_FIELDS:
                raise McapError("a message is shorter than its own fields")
            _, _, channel_id, _, log_time, _ = unpack(data, begin - HEAD.size)
            yield Message(channel_id, log_time, data[begin + _MESSAGE_FIELDS : position])
        else:
            yield opcode, data[begin:position]


def message_of(content: bytes) -> Message:
    """A message that is in no chunk, out of its record's content."""
    if len(content) < _MESSAGE_FIELDS:
        raise McapError("a message is shorter than its own fields")
    channel_id, _, log_time, _ = struct.unpack_from("<HIQQ", content)
    return Message(channel_id, log_time, content[_MESSAGE_FIELDS:])


def chunk_head(content: bytes) -> Chunk:
    """The head of a chunk, out of the beginning of its record's content."""
    start, end, size, crc, name_length = _CHUNK.unpack_from(content)
    at = _CHUNK.size + name_length
    compression = content[_CHUNK.size : at].decode()
    (compressed_size,) = struct.unpack_from("<Q", content, at)
    return Chunk(start, end, size, crc, compression, at + 8, compressed_size)


def chunk_data(content: bytes) -> bytes:
    """What is in a chunk, its checksum verified where the recorder wrote one; raises what DAMAGE lists."""
    head = chunk_head(content)
    packed = content[head.offset : head.offset + head.compressed_size]
    if len(packed) != head.compressed_size:
        raise McapError("a chunk is shorter than it says")
    if head.compression == "":
        data = packed
    elif head.compression == "lz4":
        data = lz4.frame.decompress(packed)
    elif head.compression == "zstd":
        # An upper bound, or a damaged size would ask for all memory.
        data = zstandard.ZstdDecompressor().decompress(packed, max_output_size=head.size)
    else:
        raise McapError(f"compression {head.compression!r} is not known")
    if len(data) != head.size:
        raise McapError(f"a chunk of {len(data)} bytes that says {head.size}")
    if head.crc and zlib.crc32(data) != head.crc:
        raise McapError("wrong checksum of a chunk")
    return data


# A folder of bags has the same few schemas thousands of times.
@lru_cache(256)
def schema_of(content: bytes) -> records.Schema:
    """A schema, out of its record's content."""
    schema: records.Schema = records.Schema.read(_stream(content))
    return schema


@lru_cache(256)
def channel_of(content: bytes) -> records.Channel:
    """A channel, out of its record's content."""
    channel: records.Channel = records.Channel.read(_stream(content))
    return channel


def metadata_of(content: bytes) -> tuple[str, dict[str, str]]:
    """Name and entries of a metadata record, out of its content."""
    texts = []
    name, position = _text(content, 0)
    end = position + 4 + _U32.unpack_from(content, position)[0]
    position += 4
    while position < end:
        text, position = _text(content, position)
        texts.append(text)
    if len(texts) % 2 or position != end:
        raise McapError("a metadata record that does not end where it says")
    return name, dict(zip(texts[::2], texts[1::2], strict=True))


def _text(content: bytes, position: int) -> tuple[str, int]:
    begin = position + 4
    end = begin + _U32.unpack_from(content, position)[0]
    if end > len(content):
        raise McapError("a text is longer than its record")
    return content[begin:end].decode(), end


def message_count_of(content: bytes) -> int:
    """How many messages the statistics of a file count, out of the record's content."""
    count: int = struct.unpack_from("<Q", content)[0]
    return count


def statistics_of(content: bytes) -> records.Statistics:
    """The statistics of a file, out of the record's content."""
    statistics: records.Statistics = records.Statistics.read(_stream(content))
    return statistics


def message_times(content: bytes) -> Iterator[tuple[int, np.ndarray]]:
    """Channel and log times [ns], in the order of the file, out of the message indexes behind a chunk."""
    position = 0
    while position + _INDEX.size <= len(content):
        opcode, length, channel, size = _INDEX.unpack_from(content, position)
        if opcode == MESSAGE_INDEX and size <= len(content) - position - _INDEX.size and size % 16 == 0:
            pairs = np.frombuffer(content, "<u8", size // 8, position + _INDEX.size).reshape(-1, 2)
            yield channel, pairs[np.argsort(pairs[:, 1], kind="stable"), 0].astype(np.int64)
        position += HEAD.size + length


def chunk_index_of(content: bytes) -> records.ChunkIndex:
    """Where a chunk lies, out of the record's content."""
    index: records.ChunkIndex = records.ChunkIndex.read(_stream(content))
    return index


def _stream(content: bytes) -> ReadDataStream:
    return ReadDataStream(BytesIO(content))

"""Opens a storage file by what it is, not by what it is called."""

import errno
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import zstandard

from am_ros.bags.mcap_records import MAGIC
from am_ros.errors import AmRosError
from am_ros.ingest.storage.file import StorageFile
from am_ros.ingest.storage.mcap import McapFile
from am_ros.ingest.storage.ros1 import Ros1File
from am_ros.ingest.storage.sqlite import SqliteFile

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_KINDS: dict[bytes, Callable[[Path], StorageFile]] = {
    MAGIC: McapFile,
    b"SQLite format 3\0": SqliteFile,
    b"#ROSBAG V2.0": Ros1File,
}
_PIECE = 1 << 20


def open_storage(path: Path, stack: ExitStack) -> StorageFile:
    """The file at a path, open until the stack closes; AmRosError, without the path, if it is none that is known."""
    try:
        head = _head(path)
        broken = ""
        where = path
        if head.startswith(ZSTD_MAGIC):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="am_ros_")))
            where = folder / path.stem
            broken = _unpack(path, where)
            head = _head(where)
        kind = next((kind for magic, kind in _KINDS.items() if head.startswith(magic)), None)
        if kind is None:
            raise AmRosError("is empty" if not head else "is no MCAP, sqlite3 or ROS 1 file")
        file = kind(where)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise AmRosError(
                f"cannot be unpacked or copied: no space left in {tempfile.gettempdir()}, TMPDIR names another folder"
            ) from None
        raise AmRosError(f"cannot be read: {error.strerror}") from None
    file.path = path
    if broken:
        file.lost.append(broken)
    stack.callback(file.close)
    return file


def _head(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(16)


def _unpack(path: Path, to: Path) -> str:
    """Unpack as much as is whole; what is wrong with it, or nothing."""
    with open(path, "rb") as packed, open(to, "wb") as unpacked:
        reader = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
        try:
            while piece := reader.read(_PIECE):
                unpacked.write(piece)
        except zstandard.ZstdError as error:
            return f"is compressed with zstd and breaks off ({error})"
    return ""

"""A folder of bounded size with copies of what lies elsewhere; what was not used for longest goes first."""

import errno
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from am_ros.errors import AmRosError

FOLDER, SIZE = "AM_ROS_CACHE", "AM_ROS_CACHE_GB"  # environment variables
_DEFAULT_GB = 50.0
_BLOCK = 4096  # bytes that even the smallest file takes from a disk


class Cache:
    """Files below `folder`, together at most `limit` bytes; several processes may share it."""

    def __init__(self, folder: Path | None = None, limit: int | None = None):
        self.folder = folder or Path(os.environ.get(FOLDER, Path.home() / ".cache" / "am_ros"))
        try:
            self.limit = limit or int(float(os.environ.get(SIZE, _DEFAULT_GB)) * 1e9)
        except ValueError:
            raise AmRosError(f"{SIZE}: {os.environ[SIZE]!r} is not a number") from None

    def find(self, name: str, size: int) -> Path | None:
        """The copy `name`, if it is there and has this size."""
        path = self.folder / name
        try:
            if path.stat().st_size != size:
                return None
            os.utime(path)  # it was used now
        except OSError:
            return None
        return path

    def check_fits(self, size: int, what: str) -> None:
        """Raise AmRosError, naming `what`, if so many bytes never fit."""
        if size > self.limit:
            raise AmRosError(
                f"{what}: {size / 1e9:.3g} GB do not fit a cache of {self.limit / 1e9:.3g} GB in {self.folder}; "
                f"{SIZE} makes it larger"
            )

    def make_room(self, sizes: Iterable[int], what: str) -> None:
        """Delete old copies until files of `sizes` bytes more fit; raises AmRosError, naming `what`, if they never do.

        Where the disk itself has less room than the limit, copies go only if that helps.
        """
        sizes, files = list(sizes), []
        size = sum(sizes)
        self.check_fits(size, what)
        for path in self.folder.rglob("*"):
            try:
                if path.is_file():
                    stat = path.stat()
                    files.append((stat.st_mtime, stat.st_size, path))
            except OSError:  # another process has just deleted it
                continue
        held, on_disk = sum(length for _, length, _ in files), self._free_on_disk()
        free, blocks = self.limit - held, sum(-(-one // _BLOCK) + 1 for one in sizes) * _BLOCK  # one for a file's tag
        if on_disk < blocks <= on_disk + held:
            free, size = min(free, on_disk), blocks
        for _, length, path in sorted(files, key=lambda file: file[0]):
            if free >= size:
                break
            path.unlink(missing_ok=True)
            free += length

    def _free_on_disk(self) -> int:
        try:
            disk = os.statvfs(self.folder)
        except OSError:  # not made yet
            return self.limit
        return disk.f_bavail * disk.f_frsize

    def place(self, name: str, what: str) -> tuple[Path, Path]:
        """Where the copy `name` comes to lie, and where it is written before."""
        path = self.folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self.trouble(error, what) from None
        return path, path.with_name(f"{path.name}.{os.getpid()}.part")

    def trouble(self, error: OSError, what: str) -> AmRosError:
        """The sentence for an error of this disk while `what` was fetched."""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return AmRosError(f"{what}: the cache in {self.folder} is full: {error.strerror}; {FOLDER} names another")
        return AmRosError(f"{what}: cannot be kept in {self.folder}: {error.strerror or error}")

    def drop(self, name: str) -> None:
        """Delete the copies below a name."""
        shutil.rmtree(self.folder / name, ignore_errors=True)

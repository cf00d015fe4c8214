"""A folder at a URL (s3://bucket/bags, gs://..., anything that fsspec opens): the one place that imports fsspec.

Requests are repeated by the library that makes them (for S3 botocore, with its growing waits). What arrives must have
the size of what lies there; bags and shards have checksums of their own. What fails for good is one sentence that names
the URL. Credentials, endpoints and the like are set where the library looks for them: AWS_ENDPOINT_URL, ~/.aws, or
fsspec's own configuration.
"""

import errno
import hashlib
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from am_ros.errors import AmRosError
from am_ros.storage.cache import Cache

T = TypeVar("T")
Place: TypeAlias = Path | str  # a path, or the text of a URL
_TRIES = 4  # to have a file whole: an answer that breaks off is no error to the library
_AT_ONCE = 16  # requests: most of each is waiting
# botocore's own: up to 20 s between tries, each at most twice as long as the one before.
_S3 = {"retries": {"mode": "standard", "total_max_attempts": 8}, "connect_timeout": 10, "read_timeout": 30}


def is_url(place: object) -> bool:
    """Whether a place is a URL and not a path."""
    return isinstance(place, str) and "://" in place


def place(text: str) -> Place:
    """A place as a command takes it: a URL, or a path."""
    return text if is_url(text) else Path(text)


def below(place: Place, name: str) -> Place:
    """What is called `name` in a folder."""
    return f"{place.rstrip('/')}/{name}" if isinstance(place, str) else place / name


@dataclass(frozen=True)
class RemoteFile:
    """A file of a remote folder; `tag` changes when its content does."""

    name: str  # below the folder, with slashes
    size: int
    tag: str


class Remote:
    """A folder at a URL. May be handed to another process, which then opens it anew."""

    def __init__(self, url: str, cache: Cache | None = None):
        self.url, self.cache = url.rstrip("/"), cache or Cache()
        self.key = hashlib.sha256(self.url.encode()).hexdigest()[:16]

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url, "cache": self.cache, "key": self.key}

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        protocol = self.url.partition("://")[0]
        hint = f"{self.url}: needs the packages of the extra `cloud`: pip install 'am_ros[cloud]'"
        try:
            import fsspec
        except ImportError:
            raise AmRosError(hint) from None
        options: dict[str, Any] = {}
        if protocol == "s3":
            theirs = fsspec.config.conf.get("s3", {}).get("config_kwargs", {})
            options = {"config_kwargs": _S3 | theirs, "use_listings_cache": False}
        try:
            filesystem, root = fsspec.core.url_to_fs(self.url, **options)
        except ImportError:
            raise AmRosError(hint) from None
        except Exception as error:  # each of them has its own
            raise self.trouble(error) from None
        return filesystem, root.rstrip("/")

    def trouble(self, error: Exception, name: str = "") -> AmRosError:
        """The sentence for what a library raised about this folder or a file in it."""
        if isinstance(error, AmRosError):
            return error
        where = f"{self.url}/{name}" if name else self.url
        text = " ".join(str(error).split())[:300] or type(error).__name__
        chain = f"{type(error).__name__} {error} {error.__cause__!r}"
        if isinstance(error, FileNotFoundError):
            return AmRosError(f"{where}: is not there")
        if "Expired" in chain:
            return AmRosError(f"{where}: the credentials have expired ({text})")
        if isinstance(error, PermissionError) or "Credentials" in chain or "InvalidAccessKey" in chain:
            return AmRosError(f"{where}: is not allowed with these credentials ({text})")
        if isinstance(error, TimeoutError) or "Timeout" in chain:
            return AmRosError(f"{where}: does not answer in time ({text})")
        return AmRosError(f"{where}: {text}")

    def _do(self, name: str, call: Callable[[Any, str], T]) -> T:
        filesystem, root = self._opened
        try:
            return call(filesystem, f"{root}/{name}" if name else root)
        except Exception as error:  # botocore, aiohttp, gcsfs: each has its own
            raise self.trouble(error, name) from None

    def files(self) -> list[RemoteFile]:
        """All files in the folder and below, sorted by name; AmRosError if there is no such folder."""
        _, root = self._opened
        found = self._do("", lambda fs, path: fs.find(path, detail=True))
        files = []
        for path, about in found.items():
            tag = str(about.get("ETag", about.get("mtime", ""))).strip('"')
            files.append(RemoteFile(path[len(root) + 1 :], int(about["size"]), tag))
        return sorted(files, key=lambda file: file.name)

    def exists(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return self._do(name, lambda fs, path: bool(fs.exists(path)))

    def read(self, name: str) -> bytes:
        """The content of a small file."""
        return self._do(name, lambda fs, path: bytes(fs.cat_file(path)))

    def write(self, name: str, content: bytes) -> None:
        """Make or replace a small file, at once."""
        self._do(name, lambda fs, path: fs.pipe_file(path, content))

    def put(self, local: Path, names: Iterable[str]) -> None:
        """Copy files `local/name` to `name`; those after the first ones only when these are there.

        The last name is the one that makes the others count.
        """
        *others, last = names
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda name: self._put(local / name, name), others))
        self._put(local / last, last)

    def _put(self, local: Path, name: str) -> None:
        self._do(name, lambda fs, path: fs.put_file(str(local), path))

    def fetch(self, files: Iterable[RemoteFile]) -> Path:
        """Have copies of these files in the cache, and return the folder that they lie in by their names.

        Raises AmRosError, naming the URL, if one cannot be had whole, or has no room.
        """
        files, wanted = list(files), []
        for file in files:
            if self.cache.find(self._place(file.name), file.size) is None or self._tag(file) != file.tag:
                wanted.append(file)
        if wanted:
            self.cache.make_room((file.size for file in wanted), self.url)
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                list(pool.map(self._fetch, wanted))
        return self.cache.folder / self.key

    def _place(self, name: str) -> str:
        return f"{self.key}/{name}"

    def _tag(self, file: RemoteFile) -> str:
        """That of the copy in the cache."""
        try:
            return (self.cache.folder / self._place(file.name + ".tag")).read_text()
        except OSError:
            return ""

    def _fetch(self, file: RemoteFile) -> None:
        path, part = self.cache.place(self._place(file.name), f"{self.url}/{file.name}")
        why = ""
        try:
            for attempt in range(_TRIES):
                if attempt:
                    time.sleep(0.2 * 2**attempt)
                self._check_disk(file, part)
                try:
                    self._do(file.name, lambda fs, remote: fs.get_file(remote, str(part)))
                except AmRosError as error:
                    self._check_disk(file, part)
                    if "Payload" not in str(error) and "ncomplete" not in str(error):
                        raise
                    why = str(error)
                    continue
                if why := _not_whole(part, file):
                    self._check_disk(file, part)
                    continue
                os.replace(part, path)
                path.with_name(path.name + ".tag").write_text(file.tag)
                return
        except OSError as error:
            raise self.cache.trouble(error, f"{self.url}/{file.name}") from None
        finally:
            part.unlink(missing_ok=True)
        raise AmRosError(f"{self.url}/{file.name}: came {_TRIES} times and never whole ({why})")

    def _check_disk(self, file: RemoteFile, part: Path) -> None:
        """Raise OSError if the disk of the cache has no room for the file."""
        status = os.statvfs(part.parent)
        there = part.stat().st_size if part.exists() else 0
        if status.f_bavail * status.f_frsize < file.size - there:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _not_whole(path: Path, file: RemoteFile) -> str:
    """Why a copy is not the file; empty if it is."""
    size = path.stat().st_size
    return "" if size == file.size else f"{size} of {file.size} bytes"

"""Replay stores at a URL: closed shards are put there one by one, and fetched into the cache to be read."""

import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

from am_ros.errors import AmRosError
from am_ros.replay.shard import CLOSED
from am_ros.storage.remote import Remote, RemoteFile

HEADER = "store.json"


def chosen(names: list[str], only: slice | Iterable[int] | None) -> list[str]:
    """Names of the shards that are asked for, by number."""
    if only is None or isinstance(only, slice):
        return names[only or slice(None)]
    return [names[number] for number in only if number < len(names)]


def _shards(remote: Remote) -> tuple[dict[str, list[RemoteFile]], RemoteFile | None]:
    """The files of each whole shard at a URL, and the header of the store."""
    shards: dict[str, list[RemoteFile]] = defaultdict(list)
    header = None
    for file in remote.files():
        folder, _, name = file.name.rpartition("/")
        if folder:
            shards[folder].append(file)
        elif name == HEADER:
            header = file
    whole = {s: files for s, files in shards.items() if any(f.name == f"{s}/{CLOSED}" for f in files)}
    return dict(sorted(whole.items())), header


def fetch(url: str, only: slice | Iterable[int] | None = None) -> tuple[Path, list[str]]:
    """Have a store, or some of its shards, in the cache: the folder there, and the names of the shards.

    Raises AmRosError, naming the URL, if there is none, or if they do not fit into the cache together: any batch may
    need any of them.
    """
    remote = Remote(url)
    shards, header = _shards(remote)
    if header is None:
        raise AmRosError(f"{url}: holds no replay store")
    names = chosen(list(shards), only)
    files = [header, *(file for name in names for file in shards[name])]
    remote.cache.check_fits(sum(file.size for file in files), url)
    folder = remote.fetch(files)
    for old in folder.glob("shard_*"):
        if old.name not in shards:  # it has been deleted there
            shutil.rmtree(old)
    return folder, names


def push(folder: Path, url: str, on_progress: Callable[[int, int], None] = lambda done, total: None) -> int:
    """Copy the closed shards of the store in `folder` that are not there yet to a URL; returns how many.

    A shard's last file is the one that makes it count, so a push that was killed goes on with the next call.
    """
    remote = Remote(url)
    there, header = _shards(remote)
    if header is not None and remote.read(HEADER) != (folder / HEADER).read_bytes():
        raise AmRosError(f"{url}: holds another replay store")
    if header is None:
        remote.write(HEADER, (folder / HEADER).read_bytes())
    new = sorted(p.parent for p in folder.glob(f"shard_*/{CLOSED}") if p.parent.name not in there)
    for done, shard in enumerate(new):
        on_progress(done, len(new))
        names = sorted(f"{shard.name}/{p.name}" for p in shard.iterdir() if p.name != CLOSED and p.suffix != ".tmp")
        remote.put(folder, [*names, f"{shard.name}/{CLOSED}"])
    on_progress(len(new), len(new))
    return len(new)

"""Which recordings lie at a path, and what else lies there and is not read: the one finder of all that reads bags.

A folder with storage files is one bag, be there a metadata.yaml or not; so is every ROS 1 file. Folders below a bag are
searched too.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from am_ros.bags.writer import UNFINISHED
from am_ros.errors import AmRosError
from am_ros.paths import Folder

METADATA = "metadata.yaml"
STORAGE_SUFFIXES = (".mcap", ".db3")
PACKED_SUFFIX = ".zstd"  # rosbag2's compression of whole files
ROS1_SUFFIX = ".bag"
_STORAGE = (*STORAGE_SUFFIXES, *(suffix + PACKED_SUFFIX for suffix in STORAGE_SUFFIXES))
# Beside a database of sqlite3: what is not in it yet, or has to be taken back.
SIDE_FILES = ("-wal", "-journal")
_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar", ".lz4")
_SAID = 5  # of what is not read


@dataclass
class Found:
    """What lies at a path."""

    bags: list[Path] = field(default_factory=list)  # folders, and ROS 1 files
    unfinished: list[Path] = field(default_factory=list)  # bags of ours that were never closed
    passed: dict[Path, str] = field(default_factory=dict)  # what is not read, and why

    def add(self, other: "Found") -> None:
        """Take what was found at another path too, each bag once."""
        known = {os.path.realpath(bag) for bag in self.bags}
        self.bags += [bag for bag in other.bags if os.path.realpath(bag) not in known]
        self.unfinished += [bag for bag in other.unfinished if bag not in self.unfinished]
        self.passed.update(other.passed)

    def sentences(self) -> list[str]:
        """What is not read, a line each; after the first few their number."""
        lines = [f"not read: {path}: {why}" for path, why in list(self.passed.items())[:_SAID]]
        rest = len(self.passed) - _SAID
        return [*lines, f"not read: {rest} more"] if rest > 0 else lines


def find(path: Folder) -> Found:
    """Everything at a path: the bag or file that it is, and all in that folder and below, sorted by path.

    Links are followed once and never in a circle. Raises AmRosError if the path is no folder or file.
    """
    path, found = Path(path), Found()
    if path.is_file():
        found.bags.append(path)
        return found
    if not path.is_dir():
        raise AmRosError(f"bag folder {path}: is not a folder or file")
    root = os.path.realpath(path)
    waiting, linked = [str(path)], {root}
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as listed:
                entries = sorted(listed, key=lambda e: e.name)
        except OSError as error:
            if folder == str(path):
                raise AmRosError(f"bag folder {path}: cannot be read: {error.strerror}") from None
            found.passed[Path(folder)] = f"the folder cannot be read: {error.strerror}"
            continue
        if any(e.name == METADATA or (_is_storage(e.name) and e.is_file()) for e in entries):
            found.bags.append(Path(folder))
        names = {e.name for e in entries}
        for entry in entries:
            if entry.is_dir():
                if _is_searched(entry, root, linked, found):
                    waiting.append(entry.path)
            elif entry.name.endswith(ROS1_SUFFIX) and entry.name[0] != "." and entry.is_file():
                found.bags.append(Path(entry.path))
            elif why := _why_not(entry, names):
                found.passed[Path(entry.path)] = why
    found.bags.sort()
    found.unfinished.sort()
    found.passed = dict(sorted(found.passed.items()))
    return found


def find_all(paths: Iterable[Folder]) -> Found:
    """What lies at several paths, each bag once; AmRosError if there is no bag at one of them."""
    found = Found()
    for path in paths:
        here = find(path)
        if not here.bags:
            raise AmRosError("; ".join([f"bag folder {path}: holds no bag", *here.sentences()]))
        found.add(here)
    return found


def find_bags(path: Folder) -> list[Path]:
    """The bags at a path: itself, or all in that folder and below, sorted by path."""
    return find(path).bags


def storage_files(folder: Folder) -> list[Path]:
    """The storage files in a bag's folder, bag_10 after bag_9; of one that lies there unpacked too, only that."""
    names = {e.name for e in os.scandir(folder) if _is_storage(e.name) and e.is_file()}
    return sorted((Path(folder) / n for n in names if n.removesuffix(PACKED_SUFFIX) not in names - {n}), key=natural)


def natural(path: Path) -> list[tuple[int, int, str]]:
    """Sort key by which bag_10 comes after bag_9, and digits before letters."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", path.name)]


def _is_storage(name: str) -> bool:
    return name[0] != "." and name.endswith(_STORAGE)


def _is_searched(entry: os.DirEntry[str], root: str, linked: set[str], found: Found) -> bool:
    if entry.name.endswith(UNFINISHED):
        found.unfinished.append(Path(entry.path))
        found.passed[Path(entry.path)] = "was never closed: `am-ros bags salvage` makes a bag of it"
        return False
    if entry.name[0] == ".":
        return False
    if entry.is_symlink():  # once, and never in a circle
        target = os.path.realpath(entry.path)
        if target in linked or os.path.commonpath([target, root]) in (target, root):
            return False
        linked.add(target)
    return True


def _why_not(entry: os.DirEntry[str], names: set[str]) -> str:
    """Why a file that looks like a recording is none that is read; empty: it looks like none."""
    name = entry.name
    if name.endswith((*_STORAGE, ROS1_SUFFIX)):
        if name[0] == ".":
            return "is a hidden file"
        if not entry.is_file():
            return "is a link to nothing" if entry.is_symlink() else "is a pipe or device, no file"
        if name.removesuffix(PACKED_SUFFIX) in names - {name}:
            return "lies there unpacked too"
    if name.endswith(".active"):
        return "was never closed: `rosbag reindex` makes a bag of it"
    if name.endswith(tuple(".db3" + end for end in SIDE_FILES)) and name.rpartition("-")[0] not in names:
        return "belongs to a database that is not there"
    if name.lower().endswith(_ARCHIVES):
        return "is an archive: unpack it"
    return "is a link to nothing" if entry.is_symlink() and not os.path.exists(entry.path) else ""

"""What lies in bag folders, as a table that is kept up to date: a row per bag, read from its metadata alone.

The first look reads each metadata.yaml once (about 0.5 ms); later ones only those that have changed.
"""

import os
import shutil
import threading
import time
from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from am_ros import topics
from am_ros.bags.assembler import consumed_name
from am_ros.bags.finder import find
from am_ros.bags.labels import NONE, label_in
from am_ros.bags.marks import marks_of
from am_ros.bags.reader import BagReader
from am_ros.bags.writer import UNFINISHED, info_from_text, is_being_written
from am_ros.errors import AmRosError
from am_ros.paths import Folder

CLOSED, RECORDING, BROKEN = "closed", "recording", "unfinished"
# Keys and revisions of an index begin at the second in which it was made, shifted by so many bits: those of a process
# that was started again are no keys and revisions of the one before.
_EPOCH_BITS = 24


@dataclass(frozen=True)
class EpisodeRow:
    """One bag. What its metadata does not tell is empty; `flaws` are sentences."""

    key: int  # names the bag while the index lives, also when it is closed meanwhile
    bag: Path
    name: str  # the episode's id, or that of the folder
    state: str = CLOSED  # one of CLOSED, RECORDING, BROKEN
    task: str = ""
    goal_id: str = ""
    source: str = ""
    label: str = NONE
    outcome: str = "unknown"
    reason: str = ""
    steps: int = 0
    duration_s: float = 0.0
    began_s: float = 0.0  # Unix time of the first message
    bytes: int = 0
    flaws: tuple[str, ...] = ()


@dataclass(frozen=True)
class Changes:
    """What is new since a revision: rows, and the keys of bags that are gone."""

    revision: int
    rows: list[EpisodeRow]
    gone: list[int]
    total: int


class EpisodeIndex:
    """Bags in folders and below. One thread may `look` while others read; `scanned` tells whether it ever did."""

    def __init__(self, folders: Iterable[Folder]):
        self.folders = [Path(folder) for folder in folders]
        self.scanned = False
        self.trouble = ""  # why a folder could not be looked through the last time
        self._lock = threading.Lock()
        self._looking = threading.Lock()
        self._rows: dict[int, tuple[EpisodeRow, int]] = {}  # with the revision of its last change
        self._keys: dict[Path, int] = {}
        self._seen: dict[Path, tuple[int, ...]] = {}  # what tells that a bag has changed
        self._gone: dict[int, int] = {}
        self._revision = self._next_key = int(time.time()) << _EPOCH_BITS

    def look(self) -> None:
        """Bring the table up to date with the disk."""
        with self._looking:
            found: dict[Path, None] = {}
            trouble = ""
            for folder in self.folders:
                try:
                    found |= dict.fromkeys(_bags_in(folder))
                except AmRosError as error:
                    trouble = str(error)
            for bag in found:
                self._follow(bag, found)
                self._look_at(bag)
            for bag in [bag for bag in self._keys if bag not in found]:
                self._forget(bag)
            self.scanned, self.trouble = True, trouble

    def refresh(self, key: int) -> EpisodeRow | None:
        """Look at one bag again; None if it is gone."""
        with self._looking:
            bag = self.row(key).bag
            if not bag.exists():
                self._forget(bag)
                return None
            self._look_at(bag)
            return self.row(key)

    def rows(self) -> list[EpisodeRow]:
        """All rows as they are now."""
        with self._lock:
            return [row for row, _ in self._rows.values()]

    def row(self, key: int) -> EpisodeRow:
        """One row; raises AmRosError if there is no bag of that key (any more)."""
        with self._lock:
            if key not in self._rows:
                raise AmRosError(f"episode {key!r}: its bag is not there any more")
            return self._rows[key][0]

    def find(self, name: str) -> EpisodeRow:
        """The row of an episode by its id; raises AmRosError if there is none, or several."""
        found = [row for row in self.rows() if row.name == name]
        if len(found) != 1:
            what = "several bags are called so" if found else "there is no bag of it"
            raise AmRosError(f"episode {name!r}: {what}")
        return found[0]

    def changes(self, since: int, limit: int) -> Changes:
        """At most `limit` rows later than revision `since`, the oldest first; 0, or one of another index: all."""
        with self._lock:
            since = since if same_index(since, self._revision) else 0
            newer = sorted((revision, row.key) for row, revision in self._rows.values() if revision > since)
            gone = [key for key, revision in self._gone.items() if revision > since] if since else []
            kept = newer[:limit]
            revision = kept[-1][0] if len(newer) > limit else self._revision
            return Changes(revision, [self._rows[key][0] for _, key in kept], gone, len(self._rows))

    def free_bytes(self) -> int:
        """Free disk space of the first folder [B]."""
        try:
            return shutil.disk_usage(self.folders[0]).free
        except (OSError, IndexError):
            return 0

    def _follow(self, bag: Path, found: Container[Path]) -> None:
        """A bag that was closed since the last look is still the one that was being written: who chose it keeps it."""
        before = bag.with_name(bag.name + UNFINISHED)
        with self._lock:
            if bag not in self._keys and before in self._keys and before not in found:
                self._keys[bag] = self._keys.pop(before)

    def _look_at(self, bag: Path) -> None:
        mark = _mark(bag)
        if self._seen.get(bag) == mark and bag in self._keys:
            return
        with self._lock:
            key = self._keys.setdefault(bag, self._next_key)
            self._next_key = max(self._next_key, key + 1)
        row = read_row(bag, key)
        with self._lock:
            self._seen[bag] = mark
            self._revision += 1
            self._rows[key] = row, self._revision

    def _forget(self, bag: Path) -> None:
        with self._lock:
            self._revision += 1
            self._gone[self._keys[bag]] = self._revision
            del self._rows[self._keys.pop(bag)]
            self._seen.pop(bag, None)


def same_index(revision: int, other: int) -> bool:
    """Whether two revisions are of the same index."""
    return revision >> _EPOCH_BITS == other >> _EPOCH_BITS


def read_row(bag: Path, key: int = 0) -> EpisodeRow:
    """What the metadata of a bag tells; never raises: what is wrong is a flaw."""
    row = EpisodeRow(key, bag, bag.name.removesuffix(UNFINISHED).removesuffix(".mcap"), bytes=_size(bag))
    if bag.name.endswith(UNFINISHED):
        busy = is_being_written(bag)
        flaw = () if busy else ("was never closed: salvage makes a bag of what is whole",)
        return replace(row, state=RECORDING if busy else BROKEN, began_s=_modified_s(bag), flaws=flaw)
    try:
        reader = BagReader(bag)
        if reader.metadata is None:
            return replace(row, began_s=_modified_s(bag), flaws=("metadata.yaml is missing: salvage rebuilds it",))
        row = replace(row, **_times(reader.metadata))
        told = reader.told()
        info = info_from_text(told)
        flaws = tuple(marks_of(info)) + ((f"salvaged: {info.extra['salvaged']}",) if "salvaged" in info.extra else ())
        return replace(
            row, name=info.episode_id, task=info.task, goal_id=info.goal_id, source=info.source, reason=info.reason,
            label=label_in(info.extra), outcome=info.outcome.name.lower(), flaws=flaws,
        )  # fmt: skip
    except AmRosError as error:
        return replace(row, flaws=(str(error),))
    except (KeyError, TypeError, ValueError, AttributeError, OSError):
        return replace(row, flaws=(f"bag {bag}: metadata.yaml is damaged",))


def _times(metadata: dict[str, Any]) -> dict[str, Any]:
    counts = {t["topic_metadata"]["name"]: t["message_count"] for t in metadata["topics_with_message_count"]}
    steps = sum(count for name, count in counts.items() if consumed_name(name) == topics.STEP)
    return {
        "steps": steps,
        "duration_s": metadata["duration"]["nanoseconds"] / 1e9,
        "began_s": metadata["starting_time"]["nanoseconds_since_epoch"] / 1e9,
    }


def _bags_in(folder: Path) -> list[Path]:
    """Finished bags, and those that are being written or were never closed."""
    found = find(folder)
    return found.bags + found.unfinished


def _mark(bag: Path) -> tuple[int, ...]:
    """Changes when the bag does: its metadata is renamed into place, a bag that is written grows."""
    for path in (bag / "metadata.yaml", bag):
        try:
            stat = os.stat(path)
        except OSError:
            continue
        busy = is_being_written(bag) if bag.name.endswith(UNFINISHED) else False
        return stat.st_mtime_ns, stat.st_ino, busy
    return ()


def _size(bag: Path) -> int:
    try:
        with os.scandir(bag) as entries:
            return sum(entry.stat().st_size for entry in entries if entry.is_file())
    except OSError:
        return 0


def _modified_s(bag: Path) -> float:
    try:
        return bag.stat().st_mtime
    except OSError:
        return 0.0

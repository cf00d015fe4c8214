"""The shards of a store that are open, their rows and episodes numbered through."""

import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from am_ros.replay.columns import Damaged
from am_ros.replay.elsewhere import chosen
from am_ros.replay.memory import memory_bytes
from am_ros.replay.shard import Entry, Layout, Shard

T = TypeVar("T")
FITS = 0.6  # share of the memory that a store may have and still be read as one that fits
_log = logging.getLogger(__name__)


class ShardSet:
    """Shards of the store in `folder`; `only` some of them, by number, or those called `names`, if given.

    A damaged one is named and left out. All behind it get other numbers then, and `revision` tells so.
    """

    def __init__(
        self,
        folder: Path,
        layout: Layout,
        only: slice | Iterable[int] | None = None,
        names: list[str] | None = None,
    ):
        self._folder, self._layout = folder, layout
        self._only = only if only is None or isinstance(only, slice) else list(only)
        self._names = names
        self._shards: list[Shard] = []
        self._left_out: set[str] = set()
        self.revision = 0
        self.scattered = False  # larger than the memory: rows are asked for before they are read

    def __iter__(self) -> Iterator[Shard]:
        return iter(self._shards)

    @property
    def growing(self) -> Shard | None:
        """The last one, if it is not closed."""
        return self._shards[-1] if self._shards and not self._shards[-1].closed else None

    def begin(self) -> Shard:
        """A new one, behind the others."""
        self._shards.append(Shard.create(self._folder / f"shard_{self._next:06d}", self._layout))
        self._next += 1
        return self._shards[-1]

    def refresh(self) -> None:
        """See what is in the folder now."""
        names = sorted(p.name for p in self._folder.glob("shard_*") if (p / "steps.npy").exists())
        self._next = int(names[-1].rpartition("_")[2]) + 1 if names else 0
        known = {shard.folder.name: shard for shard in self._shards if shard.closed}
        self._shards = []
        for name in self._chosen(names):
            try:
                self._shards.append(known.get(name) or Shard.open(self._folder / name, self._layout))
            except Damaged as error:
                self._name(name, error)
        self.renumber()
        size = sum(shard.size_bytes for shard in self._shards)
        self.scattered = size > FITS * memory_bytes()
        for shard in self._shards:
            shard.scatter(self.scattered)

    def _chosen(self, names: list[str]) -> list[str]:
        wanted = chosen(names, self._only) if self._names is None else self._names
        return [name for name in wanted if name not in self._left_out]

    def renumber(self) -> None:
        """Count anew what the shards hold."""
        self.revision += 1
        self._first_rows = np.cumsum([0, *(shard.rows for shard in self._shards)])
        self._first_episodes = np.cumsum([0, *(shard.episodes for shard in self._shards)])
        self.rows, self.episodes = int(self._first_rows[-1]), int(self._first_episodes[-1])

    def _name(self, name: str, error: Damaged) -> None:
        self._left_out.add(name)
        _log.warning(f"{error}; {self._folder / name} is left out, the other shards are used")

    def _leave_out(self, shard: Shard, error: Damaged) -> None:
        if shard not in self._shards:  # another thread has found it, too
            return
        self._name(shard.folder.name, error)
        self._shards.remove(shard)
        self.renumber()

    def gather(
        self,
        rows: np.ndarray,
        take: Callable[[Shard, np.ndarray], np.ndarray],
        shape: tuple[int, ...],
        kind: Any,
        need: Callable[[Shard, np.ndarray], None],
    ) -> np.ndarray:
        """What `take(shard, its rows)` gives for rows int64 [n]: [n, *shape] of dtype `kind`.

        `need(shard, its rows)` says that they are asked for soon. Raises Damaged, once a shard of them is left out for
        that.
        """
        self._ask(rows, need)
        if len(self._shards) == 1:
            return self._sure(self._shards[0], take, rows)
        out = np.empty((len(rows), *shape), kind)
        whole = f"V{out.dtype.itemsize}" if out.dtype.names else out.dtype  # NumPy copies records field by field
        for shard, places, its in self._spread(rows):
            out.view(whole)[places] = self._sure(shard, take, its).view(whole)
        return out

    def lend(self, rows: np.ndarray) -> list[np.ndarray]:
        """The observations of rows int64 [n], one by one; raw ones as they lie in memory. Raises as `gather` does."""
        self._ask(rows, Shard.will_need)
        found: dict[int, np.ndarray] = {}
        for shard, places, its in self._spread(rows):
            found.update(zip(places.tolist(), self._sure(shard, Shard.lend, its), strict=True))
        return [found[place] for place in range(len(rows))]

    def _ask(self, rows: np.ndarray, need: Callable[[Shard, np.ndarray], None]) -> None:
        """Of a store larger than the memory, have all rows [n] read at the same time."""
        for shard, _, its in self._spread(rows) if self.scattered else ():
            self._sure(shard, need, its)

    def _spread(self, rows: np.ndarray) -> Iterator[tuple[Shard, np.ndarray, np.ndarray]]:
        """Of each shard that rows [n] lie in: which of them, and their numbers there."""
        shards, first = list(self._shards), self._first_rows
        which = (np.searchsorted(first, rows, "right") - 1).astype(np.uint16 if len(shards) < 2**16 else np.int64)
        order = np.argsort(which, kind="stable")  # of 16 bits: by radix
        counts = np.bincount(which)
        ends = np.cumsum(counts)
        for number in np.flatnonzero(counts).tolist():
            places = order[ends[number] - counts[number] : ends[number]]
            yield shards[number], places, rows[places] - first[number]

    def _sure(self, shard: Shard, read: Callable[[Shard, np.ndarray], T], rows: np.ndarray) -> T:
        try:
            return read(shard, rows)
        except Damaged as error:
            self._leave_out(shard, error)
            raise

    def each(self, read: Callable[[Shard], T]) -> list[T]:
        """What `read(shard)` gives, of all shards; those it finds damaged are left out."""
        while True:
            parts = []
            for shard in self._shards:
                try:
                    parts.append(read(shard))
                except Damaged as error:
                    self._leave_out(shard, error)
                    break
            else:
                return parts

    def check(self) -> list[str]:
        """Compare closed shards with their checksums, leave out what is damaged: a sentence for each."""
        found = []
        for shard in list(self._shards):
            try:
                shard.check()
            except Damaged as error:
                found.append(str(error))
                self._leave_out(shard, error)
        return found

    def entry(self, episode: int, first_row: int) -> Entry:
        """What is known of an episode that begins at a row."""
        which = int(np.searchsorted(self._first_episodes, episode, "right")) - 1
        return self._shards[which].entry(episode - int(self._first_episodes[which]), first_row)

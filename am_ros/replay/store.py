"""Replay store: episodes as columns on disk, in shards of bounded size, built from bags and rebuildable from them.

A folder holds store.json, which says what is in it, and shard_000000, shard_000001, ...: each is whole in itself, with
its own index and checksums (shard.py). The last one grows until it is full. Any of them can be copied, or lost, alone.

Everything is mapped and read when it is used: opening costs the same for any number of episodes, and a row costs what
its bytes cost. Goals are never stored: they are indices (see sampling.py). Stores of formats 1 and 2, of one shard with
a ledger, are converted when they are opened (older.py).
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from am_ros.action import ACTION_DIM
from am_ros.episode import STATE_DIM, Episode, Outcome
from am_ros.errors import AmRosError
from am_ros.paths import Folder
from am_ros.replay import elsewhere, older
from am_ros.replay.arrays import Rows, content_hash, episodes_of
from am_ros.replay.header import check_header, read_header
from am_ros.replay.shard import FORMAT, JPEG, PNG, RAW, Entry, Layout, Shard
from am_ros.replay.shard_set import ShardSet
from am_ros.replay.spans import Spans
from am_ros.replay.views import Episodes, RowView
from am_ros.storage.remote import is_url

SHARD_MB = 256


class ReplayStore:
    """Append-only store of episodes; `observations`, `states`, `actions` and the like are indexed by row as arrays are.

    Open with `create`, `open` or `open_or_create`, or fill a new one `from_arrays`. One writer at a time; readers call
    `refresh`. A damaged shard is named and left out; rows are then numbered anew, and `revision` tells so.
    """

    def __init__(
        self,
        folder: Path,
        header: dict[str, Any],
        shards: slice | Iterable[int] | None = None,
        names: list[str] | None = None,
    ):
        self.folder = folder
        self.layout = Layout(tuple(header["observation_shape"]), header["action_dim"], header["images"])
        self.observation_shape, self.action_dim = self.layout.observation_shape, self.layout.action_dim
        self.shard_bytes: int = header["shard_bytes"]
        self._whole = shards is None and names is None
        self._shards = ShardSet(folder, self.layout, shards, names)
        self._numbered = -1
        self.refresh()

    # --- making and opening

    @classmethod
    def create(
        cls, folder: Folder, image_size: tuple[int, int], images: str = RAW, shard_mb: float = SHARD_MB
    ) -> "ReplayStore":
        """Make an empty store for images of `image_size` = (height, width); the folder must not hold one.

        `images`: raw; png: the bag's own file where it has this size, else a PNG, so the same pixels; jpeg: the same
        with a JPEG, so about these pixels. Decoding takes longer than reading: see docs/scale.md.
        """
        if images not in (RAW, JPEG, PNG):
            raise AmRosError(f"parameter images: {images!r} is not one of {RAW}, {JPEG}, {PNG}")
        return cls._create(folder, (*image_size, 3), ACTION_DIM, images, shard_mb)

    @classmethod
    def create_for_vectors(
        cls, folder: Folder, size: int, action_dim: int = ACTION_DIM, shard_mb: float = SHARD_MB
    ) -> "ReplayStore":
        """Make an empty store for observations of `size` numbers; the folder must not hold one."""
        return cls._create(folder, (size,), action_dim, RAW, shard_mb)

    @classmethod
    def from_arrays(
        cls,
        folder: Folder,
        observations: ArrayLike,
        actions: ArrayLike,
        episode_ends: ArrayLike,
        outcomes: ArrayLike | None = None,
        states: ArrayLike | None = None,
        task: str = "",
        shard_mb: float = SHARD_MB,
    ) -> "ReplayStore":
        """Make a store of plain arrays, one row per observation (see replay/arrays.py); the folder must not hold one.

        `observations`: uint8 [N, height, width, 3] images or numbers [N, size]. `actions`: [N, D] displacements within
        -1 ... 1, row t what was done on observation t. `episode_ends`: bool [N], true on the last observation of an
        episode, whose action does not count. `outcomes`: whether each episode was a success, for task rewards.
        `states`: up to six numbers [N, k] that go with an image (proprioception).

        Raises AmRosError, naming the array, if one does not fit.
        """
        episodes = episodes_of(observations, actions, episode_ends, outcomes, states, task)
        shape, action_dim = episodes[0].observations.shape[1:], episodes[0].actions.shape[1]
        store = cls._create(folder, shape, action_dim, RAW, shard_mb)
        store.append_rows(episodes)
        return store

    @classmethod
    def _create(
        cls, folder: Folder, shape: tuple[int, ...], action_dim: int, images: str, shard_mb: float
    ) -> "ReplayStore":
        folder = Path(folder)
        if (folder / "store.json").exists():
            raise AmRosError(f"{folder}: holds a replay store already")
        if not shard_mb > 0:
            raise AmRosError(f"parameter shard_mb: {shard_mb} is not a positive number")
        folder.mkdir(parents=True, exist_ok=True)
        header = {"format": FORMAT, "observation_shape": list(shape), "action_dim": action_dim, "images": images}
        header |= {"shard_bytes": int(shard_mb * 1e6)}
        temporary = folder / "store.json.tmp"
        temporary.write_text(json.dumps(header))
        os.replace(temporary, folder / "store.json")
        return cls(folder, header)

    @classmethod
    def open(cls, folder: Folder, shards: slice | Iterable[int] | None = None) -> "ReplayStore":
        """Open an existing store; raises AmRosError if there is none or it is of another format.

        `shards`: only these, by number, of all that there are, for instance slice(rank, None, size) where every process
        learns from its own; such a store is only read. `folder` may be a URL: they are fetched into the cache.
        """
        names = None
        if isinstance(folder, str) and is_url(folder):
            (folder, names), shards = elsewhere.fetch(folder, shards), None
        folder = Path(folder)
        header = read_header(folder)
        if header.get("format") in older.FORMATS:
            header = older.convert(folder, header, cls._create)
        check_header(folder, header, FORMAT)
        return cls(folder, header, shards, names)

    @classmethod
    def open_or_create(
        cls, folder: Folder, image_size: tuple[int, int], images: str = RAW, shard_mb: float = SHARD_MB
    ) -> "ReplayStore":
        """Open the store in `folder` or make one; an existing store must have that image size."""
        if not (Path(folder) / "store.json").exists():
            return cls.create(folder, image_size, images, shard_mb)
        store = cls.open(folder)
        if store.image_size != tuple(image_size):
            held = f"images of {store.image_size}" if store.has_images else f"vectors of {store.observation_shape[0]}"
            raise AmRosError(f"{folder}: holds {held}, asked for images of {tuple(image_size)}")
        return store

    def refresh(self) -> None:
        """See what was written since."""
        self._shards.refresh()
        self._forget()

    def _forget(self) -> None:
        """What was derived from the numbers that rows and episodes had."""
        for name in ("first", "steps", "outcomes", "seeds", "transitions", "_places", "_hashes"):
            self.__dict__.pop(name, None)

    @property
    def revision(self) -> int:
        """Another one when rows and episodes have other numbers than before."""
        if self._shards.revision != self._numbered:
            self._numbered = self._shards.revision
            self._forget()
        return self._numbered

    # --- rows

    @property
    def has_images(self) -> bool:
        """Whether observations are images, uint8 [height, width, 3], and not vectors."""
        return self.layout.has_images

    @property
    def image_size(self) -> tuple[int, ...]:
        """(height, width) of the images; () if observations are vectors."""
        return self.observation_shape[:2] if self.has_images else ()

    def __len__(self) -> int:
        """Number of transitions."""
        return self.rows - len(self.episodes)

    def records(self, rows: np.ndarray) -> np.ndarray:
        """All that a store knows of rows int64 [...] but the observations; fields as Layout.record names them."""
        found = self._shards.gather(
            rows.ravel(), Shard.records, (), self.layout.record, Shard.will_need_records
        )
        return found.reshape(rows.shape)

    @property
    def observations(self) -> RowView:
        """uint8 [rows, height, width, 3], or float32 [rows, size]."""
        kind = np.uint8 if self.has_images else np.float32
        shape = self.observation_shape

        def take(rows: np.ndarray) -> np.ndarray:
            return self._shards.gather(rows, Shard.observations, shape, kind, Shard.will_need)

        return RowView(take, self.rows, shape, kind, self._shards.lend if self.has_images else None)

    def _field(self, name: str, shape: tuple[int, ...]) -> RowView:
        return RowView(lambda rows: self.records(rows)[name], self.rows, shape, self.layout.record[name].base)

    @property
    def states(self) -> RowView:
        """float32 [rows, STATE_DIM]"""
        return self._field("state", (STATE_DIM,))

    @property
    def actions(self) -> RowView:
        """float32 [rows, action_dim]; zeros on the last row of an episode."""
        return self._field("action", (self.action_dim,))

    @property
    def successful(self) -> RowView:
        """bool [rows]: whether the episode of a row was a success."""
        return self._field("success", ())

    @property
    def first_row(self) -> RowView:
        """int64 [rows]: the first row of the same episode."""
        return RowView(lambda rows: rows - self.records(rows)["before"], self.rows, (), np.int64)

    @property
    def last_row(self) -> RowView:
        """int64 [rows]: the last row of the same episode."""
        return RowView(lambda rows: rows + self.records(rows)["after"], self.rows, (), np.int64)

    @property
    def transition_rows(self) -> RowView:
        """int64 [transitions]: the rows that have an action."""
        return RowView(self.transitions.rows, len(self), (), np.int64)

    # --- episodes

    @property
    def rows(self) -> int:
        """Number of observations."""
        return self._shards.rows

    @property
    def episodes(self) -> Episodes:
        """Of each id, task, first row, steps, outcome, seed, sha256 of its content, the bag it is of."""
        return Episodes(self._entry_at, self._shards.episodes)

    def _column(self, read: Callable[[Shard], np.ndarray]) -> np.ndarray:
        """What `read` gives of all shards, an item per episode."""
        parts = self._shards.each(read)
        assert self.revision  # if one was left out just now, what was read of it before is forgotten
        return np.concatenate([np.zeros(0, np.int8), *parts])

    @cached_property
    def steps(self) -> np.ndarray:
        """int64 [episodes]: transitions of each."""
        return self._column(lambda shard: shard.column("steps").all()).astype(np.int64)

    @cached_property
    def first(self) -> np.ndarray:
        """int64 [episodes]: the first row of each."""
        found: np.ndarray = np.cumsum(self.steps + 1) - self.steps - 1
        return found

    @cached_property
    def outcomes(self) -> np.ndarray:
        """int8 [episodes], values of Outcome."""
        return self._column(lambda shard: shard.column("outcomes").all())

    @cached_property
    def transitions(self) -> Spans:
        """All of them."""
        return Spans(self.first, self.steps)

    def of_task(self, task: str) -> np.ndarray:
        """bool [episodes]: which are of a task."""
        return self._column(lambda shard: shard.of_task(task)).astype(bool)

    @cached_property
    def seeds(self) -> np.ndarray:
        """int64 [episodes]: the number of each one's scene, -1 where there is none."""
        return self._column(lambda shard: shard.column("seeds").all()).astype(np.int64)

    def ids(self) -> list[str]:
        """Of all episodes, in their order."""
        return [name for names in self._shards.each(Shard.names) for name, _ in names]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.ids())}

    def _entry_at(self, number: int) -> Entry:
        return self._shards.entry(number, int(self.first[number]))

    def some_actions(self, count: int, seed: int = 0) -> np.ndarray:
        """At most `count` actions of the data, float32 [count, D + 3], drawn without replacement."""
        chosen = np.random.default_rng(seed).choice(len(self), min(count, len(self)), replace=False)
        return np.array(self.actions[self.transitions.rows(chosen)])

    def __contains__(self, episode_id: str) -> bool:
        return episode_id in self._places

    def entry(self, episode_id: str) -> Entry:
        """What is known of an episode; KeyError if it is not in."""
        return self._entry_at(self._places[episode_id])

    # --- writing

    def append(self, episodes: list[Episode], bags: dict[str, str] | None = None) -> int:
        """Add episodes that are not in yet (by id); returns how many were added.

        `bags`: by id, what tells the bag of an episode from others (am_ros/bags/identity.py).
        Raises AmRosError if an image has another size than the store's.
        """
        new = []
        for episode in episodes:
            if episode.info.episode_id in self:
                continue
            if episode.images.shape[1:3] != self.image_size or self.action_dim != ACTION_DIM:
                raise AmRosError(
                    f"episode {episode.info.episode_id!r}: images of {episode.images.shape[1:3]} do not fit a store "
                    f"of {self.image_size}"
                )
            new.append(Rows(episode.info, episode.images, episode.states, episode.actions, episode.files))
        return self.append_rows(new, bags)

    def append_rows(self, episodes: list[Rows], bags: dict[str, str] | None = None) -> int:
        """Add episodes, as the store keeps them, that are not in yet (by id); returns how many were added."""
        new = list({e.info.episode_id: e for e in episodes if e.info.episode_id not in self}.values())
        if new and not self._whole:
            raise AmRosError(f"{self.folder}: only some of its shards are open, so nothing is added")
        places, known = self._places, len(self.episodes)
        waiting: list[Rows] = []
        size = 0
        for episode in new:
            there = size + (self._shards.growing.size_bytes if self._shards.growing else 0)
            if there and there + episode.size_bytes > self.shard_bytes:
                self._add(waiting, bags or {})
                self.close_shard()
                waiting, size = [], 0
            waiting.append(episode)
            size += episode.size_bytes
        self._add(waiting, bags or {})
        if new:
            self._shards.renumber()
            self._forget()
            places.update((e.info.episode_id, known + n) for n, e in enumerate(new))
            self._places = places
        return len(new)

    def _add(self, episodes: list[Rows], bags: dict[str, str]) -> None:
        if episodes:
            hashes = [bytes.fromhex(content_hash(episode)) for episode in episodes]
            (self._shards.growing or self._shards.begin()).append(episodes, bags, hashes)

    def close_shard(self) -> None:
        """Nothing more goes into the last shard: it gets its checksums, and the next append begins another one."""
        if self._shards.growing:
            self._shards.growing.close()

    def check(self) -> list[str]:
        """Read every byte of the closed shards; those that are damaged are left out: a sentence for each."""
        found = self._shards.check()
        assert self.revision
        return found

    # --- what it is

    @property
    def data_hash(self) -> str:
        """sha256 over the content hashes of all episodes, sorted: the same bags give the same hash in any order."""
        return self.hash_of_first(len(self.episodes))

    @cached_property
    def _hashes(self) -> dict[int, str]:
        return {}

    def hash_of_first(self, count: int) -> str:
        """What `data_hash` was when the store held its first `count` episodes."""
        if count not in self._hashes:
            parts = self._shards.each(lambda shard: shard.column("sha256").all().tobytes())
            content = np.frombuffer(b"".join(parts), "V32")[:count]
            text = b"".join(sorted(content.tolist())).hex().encode()  # as numbers are sorted, so are their digits
            self._hashes[count] = hashlib.sha256(text).hexdigest()
        return self._hashes[count]

    def summary(self) -> dict[str, dict[str, int]]:
        """Counts by task: episodes, transitions, successes."""
        found: dict[str, dict[str, int]] = {}
        for task in dict.fromkeys(task for shard in self._shards for task in shard.tasks()):
            its = self.of_task(task)
            won = int((self.outcomes[its] == Outcome.SUCCESS).sum())
            if count := int(its.sum()):
                found[task] = {"episodes": count, "transitions": int(self.steps[its].sum()), "successes": won}
        return found

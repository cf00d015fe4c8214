"""Memory-mapped replay store: episodes as flat arrays on disk, built from bags and rebuildable from them.

A folder holds three growing files, one row per observation, and a ledger with one JSON line per episode:

    images.u8         uint8   [N, height, width, 3]  or, for observations that are vectors,
    observations.f32  float32 [N, size]
    states.f32        float32 [N, state_dim]
    actions.f32       float32 [N, displacements + 3]   row t: the action taken on observation t; zeros on the last one
    episodes.jsonl                   id, task, first row, steps, outcome, seed, sha256 of the content, the bag it is of

store.json says what is in them: format 1 has images and the robot's seven numbers per action, format 2 any other.

An episode counts once its ledger line is complete, so a killed writer leaves at most rows that nobody refers to;
they are cut off when the store is opened again. Goals are never stored: they are indices (see sampling.py).
"""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from am_ros.action import ACTION_DIM
from am_ros.episode import STATE_DIM, Episode, Outcome
from am_ros.errors import AmRosError
from am_ros.paths import Folder
from am_ros.replay.arrays import Rows, episodes_of

_FORMATS = (1, 2)

Entry: TypeAlias = dict[str, Any]  # a line of the ledger


class ReplayStore:
    """Append-only store of episodes; `observations`, `states` and `actions` are read-only memory maps.

    Open with `create`, `open` or `open_or_create`, or fill a new one `from_arrays`. One writer at a time; readers call
    `refresh`.
    """

    def __init__(self, folder: Path, header: dict[str, Any]):
        self.folder = folder
        self.observation_shape = tuple(header.get("observation_shape") or (*header["image_size"], 3))
        self.action_dim: int = header.get("action_dim", ACTION_DIM)
        self._row_bytes = {
            self._observation_file: int(np.prod(self.observation_shape)) * (1 if self.has_images else 4),
            "states.f32": STATE_DIM * 4,
            "actions.f32": self.action_dim * 4,
        }
        self.episodes: list[Entry] = []
        self._entries: dict[str, Entry] = {}  # of the ledger, by id
        self._ledger_bytes = 0
        self.refresh()

    @classmethod
    def create(cls, folder: Folder, image_size: tuple[int, int]) -> "ReplayStore":
        """Make an empty store for images of `image_size` = (height, width); the folder must not hold one."""
        return cls._create(folder, {"format": 1, "image_size": list(image_size)})

    @classmethod
    def create_for_vectors(cls, folder: Folder, size: int, action_dim: int = ACTION_DIM) -> "ReplayStore":
        """Make an empty store for observations of `size` numbers; the folder must not hold one."""
        return cls._create(folder, {"format": 2, "observation_shape": [size], "action_dim": action_dim})

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
        store = cls._create(folder, {"format": 2, "observation_shape": list(shape), "action_dim": action_dim})
        store._append(episodes, {})
        return store

    @classmethod
    def _create(cls, folder: Folder, header: dict[str, Any]) -> "ReplayStore":
        folder = Path(folder)
        if (folder / "store.json").exists():
            raise AmRosError(f"{folder}: holds a replay store already")
        folder.mkdir(parents=True, exist_ok=True)
        names = "images.u8", "observations.f32", "states.f32", "actions.f32", "episodes.jsonl"
        unused = names[1] if len(header.get("observation_shape", (0, 0, 3))) == 3 else names[0]
        for name in names:
            if name != unused:
                (folder / name).write_bytes(b"")
        temporary = folder / "store.json.tmp"
        temporary.write_text(json.dumps(header))
        os.replace(temporary, folder / "store.json")
        return cls(folder, header)

    @classmethod
    def open(cls, folder: Folder) -> "ReplayStore":
        """Open an existing store; raises AmRosError if there is none or it is of another format."""
        folder = Path(folder)
        try:
            header = json.loads((folder / "store.json").read_text())
        except (OSError, ValueError) as error:
            raise AmRosError(f"{folder}: is not a replay store ({error})") from None
        if header.get("format") not in _FORMATS:
            raise AmRosError(f"{folder}: replay store of format {header.get('format')}, expected one of {_FORMATS}")
        return cls(folder, header)

    @classmethod
    def open_or_create(cls, folder: Folder, image_size: tuple[int, int]) -> "ReplayStore":
        """Open the store in `folder` or make one; an existing store must have that image size."""
        if not (Path(folder) / "store.json").exists():
            return cls.create(folder, image_size)
        store = cls.open(folder)
        if store.image_size != tuple(image_size):
            held = f"images of {store.image_size}" if store.has_images else f"vectors of {store.observation_shape[0]}"
            raise AmRosError(f"{folder}: holds {held}, asked for images of {tuple(image_size)}")
        return store

    @property
    def has_images(self) -> bool:
        """Whether observations are images, uint8 [height, width, 3], and not vectors."""
        return len(self.observation_shape) == 3

    @property
    def image_size(self) -> tuple[int, ...]:
        """(height, width) of the images; () if observations are vectors."""
        return self.observation_shape[:2] if self.has_images else ()

    @property
    def _observation_file(self) -> str:
        return "images.u8" if self.has_images else "observations.f32"

    def refresh(self) -> None:
        """Read ledger lines written since, and map the rows they refer to."""
        path = self.folder / "episodes.jsonl"
        with path.open("rb") as ledger:
            ledger.seek(self._ledger_bytes)
            for line in ledger:
                if not line.endswith(b"\n"):
                    break
                episode = json.loads(line)
                self.episodes.append(episode)
                self._entries[episode["id"]] = episode
                self._ledger_bytes += len(line)
        self.rows = self.episodes[-1]["first"] + self.episodes[-1]["steps"] + 1 if self.episodes else 0
        self._map()

    def _map(self) -> None:
        def mapped(name: str, dtype: DTypeLike, shape: tuple[int, ...]) -> np.ndarray:
            if self.rows == 0:
                return np.zeros((0, *shape), dtype)
            path = self.folder / name
            if path.stat().st_size < self.rows * self._row_bytes[name]:
                raise AmRosError(f"{path}: is shorter than its ledger says; rebuild the store from the bags")
            return np.memmap(path, dtype, "r", shape=(self.rows, *shape))

        kind = np.uint8 if self.has_images else np.float32
        self.observations = mapped(self._observation_file, kind, self.observation_shape)
        self.states = mapped("states.f32", np.float32, (STATE_DIM,))
        self.actions = mapped("actions.f32", np.float32, (self.action_dim,))
        first = np.array([e["first"] for e in self.episodes], np.int64)
        steps = np.array([e["steps"] for e in self.episodes], np.int64)
        self.first_row = np.repeat(first, steps + 1)
        self.last_row = np.repeat(first + steps, steps + 1)
        self.successful = np.repeat([e["outcome"] == Outcome.SUCCESS for e in self.episodes], steps + 1).astype(bool)
        self.transition_rows = np.flatnonzero(np.arange(self.rows) < self.last_row)

    def __len__(self) -> int:
        """Number of transitions."""
        return len(self.transition_rows)

    def rows_where(self, wanted: Callable[[Entry], bool]) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the transitions, and of all observations, of the episodes whose ledger entry is `wanted`."""
        chosen = np.repeat([bool(wanted(e)) for e in self.episodes], [e["steps"] + 1 for e in self.episodes])
        chosen = chosen.astype(bool)
        return self.transition_rows[chosen[self.transition_rows]], np.flatnonzero(chosen)

    def some_actions(self, count: int, seed: int = 0) -> np.ndarray:
        """At most `count` actions of the data, float32 [count, D + 3], drawn without replacement."""
        rng = np.random.default_rng(seed)
        rows = rng.choice(self.transition_rows, min(count, len(self)), replace=False)
        return np.array(self.actions[rows])

    def __contains__(self, episode_id: str) -> bool:
        return episode_id in self._entries

    def entry(self, episode_id: str) -> Entry:
        """The ledger's line of an episode; KeyError if it is not in."""
        return self._entries[episode_id]

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
            new.append(Rows(episode.info, episode.images, episode.states, episode.actions))
        return self.append_rows(new, bags)

    def append_rows(self, episodes: list[Rows], bags: dict[str, str] | None = None) -> int:
        """Add episodes, as the store keeps them, that are not in yet (by id); returns how many were added."""
        new = list({e.info.episode_id: e for e in episodes if e.info.episode_id not in self}.values())
        if new:
            self._append(new, bags or {})
        return len(new)

    def _append(self, new: list[Rows], bags: dict[str, str]) -> None:
        padding = np.zeros((1, self.action_dim), np.float32)
        self._write(self._observation_file, [e.observations for e in new])
        self._write("states.f32", [e.states for e in new])
        self._write("actions.f32", [np.concatenate([e.actions, padding]) for e in new])
        lines, row = [], self.rows
        for episode in new:
            info = episode.info
            lines.append(
                json.dumps(
                    {
                        "id": info.episode_id,
                        "task": info.task,
                        "first": row,
                        "steps": len(episode.actions),
                        "seed": info.seed,
                        "outcome": int(info.outcome),
                        "sha256": content_hash(episode),
                        **({"bag": bags[info.episode_id]} if info.episode_id in bags else {}),
                    }
                )
            )
            row += len(episode.actions) + 1
        with (self.folder / "episodes.jsonl").open("r+b") as ledger:
            ledger.truncate(self._ledger_bytes)  # half a line of a writer that was killed
            ledger.seek(self._ledger_bytes)
            ledger.write(("\n".join(lines) + "\n").encode())
        self.refresh()

    def _write(self, name: str, arrays: list[np.ndarray]) -> None:
        with (self.folder / name).open("r+b") as file:
            file.truncate(self.rows * self._row_bytes[name])
            file.seek(self.rows * self._row_bytes[name])
            for array in arrays:
                file.write(np.ascontiguousarray(array).data)

    @property
    def data_hash(self) -> str:
        """sha256 over the content hashes of all episodes, sorted: the same bags give the same hash in any order."""
        return self.hash_of_first(len(self.episodes))

    def hash_of_first(self, count: int) -> str:
        """What `data_hash` was when the store held its first `count` episodes."""
        digest = hashlib.sha256()
        for content in sorted(e["sha256"] for e in self.episodes[:count]):
            digest.update(content.encode())
        return digest.hexdigest()

    def summary(self) -> dict[str, dict[str, int]]:
        """Counts by task: episodes, transitions, successes."""
        tasks: dict[str, dict[str, int]] = {}
        for episode in self.episodes:
            entry = tasks.setdefault(episode["task"], {"episodes": 0, "transitions": 0, "successes": 0})
            entry["episodes"] += 1
            entry["transitions"] += episode["steps"]
            entry["successes"] += episode["outcome"] == Outcome.SUCCESS
        return tasks


def content_hash(episode: Rows) -> str:
    """sha256 of what the learner sees of an episode: observations, states, actions."""
    digest = hashlib.sha256()
    for array in (episode.observations, episode.states, episode.actions):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()

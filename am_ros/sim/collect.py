"""Collect episodes in parallel: the bags that the episode logger would have written, without going through DDS."""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

from am_ros.action import ActionSpace
from am_ros.bags.episodes import write_episode
from am_ros.bags.writer import clear_unfinished
from am_ros.errors import AmRosError
from am_ros.sim.dataset_card import BagFacts, Totals, data_hash, read_facts, write_atomically, write_card
from am_ros.sim.depot import Depot
from am_ros.sim.environment import Environment
from am_ros.sim.episodes import Mixture, episode_id, play
from am_ros.sim.split import check_can_split, part_id, part_shard, split
from am_ros.sim.tasks import find_task, train_seed
from am_ros.sim.workcell import SimConfig
from am_ros.workers import Workers, check_workers, run_jobs

SHARD = 250  # episodes per folder: file managers and `ls` stay usable
CHUNK = 5  # episodes per job: a few hundred milliseconds of work
SCENES_PER_SEED = 10_000_000
RECORD = "collection.json"
FORMAT = 2  # of the folder: another one is not added to


@dataclass(frozen=True)
class Collection:
    """What is to be collected: `episodes` of each task, from scenes that depend on `seed` only.

    `split`: () for whole episodes, or split.PARTS. `url`: where the bags go when they are made; `out` is then the
    folder of its Depot. Raises AmRosError if it cannot be collected.
    """

    tasks: tuple[str, ...]
    episodes: int
    out: Path
    seed: int = 0
    mixture: Mixture = field(default_factory=Mixture)
    sim: SimConfig = field(default_factory=SimConfig)
    split: tuple[str, ...] = ()
    url: str = ""

    def __post_init__(self):
        for task in map(find_task, self.tasks):
            if self.split:
                check_can_split(task)
        if not 1 <= self.episodes <= SCENES_PER_SEED:
            raise AmRosError(f"parameter episodes: {self.episodes} is outside 1 ... {SCENES_PER_SEED}")
        train_seed(self.seed * SCENES_PER_SEED + self.episodes)

    def scene(self, index: int) -> int:
        """Seed of the scene of episode `index`."""
        return train_seed(self.seed * SCENES_PER_SEED + index)

    def bag(self, task: str, index: int, part: int = 0) -> Path:
        """Where the bag of episode `index` of a task lies, or of one of its parts."""
        name, shard = episode_id(task, self.scene(index)), f"shard_{index // SHARD:04d}"
        if self.split:
            name = part_id(task, name, part)
            shard = part_shard(name)
        return self.out / task / shard / name

    def bags(self, task: str, index: int) -> list[Path]:
        """The bags that are there of an episode. The first part is written last: without it none counts."""
        paths = [self.bag(task, index)]
        while self.split and self.bag(task, index, len(paths)).is_dir():
            paths.append(self.bag(task, index, len(paths)))
        return paths if paths[0].is_dir() else []


def collect(
    collection: Collection, workers: Workers = 1, progress: Callable | None = None, command: str = ""
) -> dict:
    """Collect what is missing, write the data set's card, return its figures.

    They are those of the whole folder: episodes, steps, tasks with their success_rate ...; `new_episodes`,
    `new_steps`, `wall_s` and `steps_per_s` are those of this call. `progress(done, missing, note)` is called now and
    then. Episodes that are there already are counted and left alone, so an interrupted collection goes on where it
    stopped. `command` is for the card. Raises AmRosError if the folder holds a collection of another kind or is in
    use.
    """
    check_workers(workers)
    depot = Depot(collection.url) if collection.url else None
    if depot:
        depot.look(RECORD)
    with _claim(collection) as extent:
        totals = {task: Totals() for task in extent}
        missing = sum(not collection.bags(t, i) for t in collection.tasks for i in range(collection.episodes))
        started, complete = time.monotonic(), False
        try:
            jobs = _jobs(collection, extent)
            for task, found in run_jobs(_work, jobs, workers, "collect", _name, (collection.out,)):
                for new, bags in found:
                    totals[task].add(bags, new)
                if progress and any(new for new, _ in found):
                    figures = _figures(totals, time.monotonic() - started)
                    progress(figures["new_episodes"], missing, f"{figures['steps_per_s']:.0f} steps/s")
            complete = all(totals[task].episodes >= collection.episodes for task in collection.tasks)
        finally:
            write_card(collection.out, totals, _origin(collection, command, complete))
        if depot:
            depot.finish(RECORD)
        return _figures(totals, time.monotonic() - started)


@contextmanager
def _claim(collection: Collection) -> Iterator[dict[str, int]]:
    """Own the folder, make sure that what is in it was collected the same way; gives episodes per task in it."""
    kind = {"format": FORMAT, "seed": collection.seed, "mixture": asdict(collection.mixture)}
    kind |= {"sim": asdict(collection.sim), "split": collection.split}
    kind = json.loads(json.dumps(kind))  # tuples become lists, as in the file
    path = collection.out / RECORD
    try:
        collection.out.mkdir(parents=True, exist_ok=True)
        folder = os.open(collection.out, os.O_RDONLY)
    except OSError as error:
        raise AmRosError(f"out {collection.out}: cannot be written ({error.strerror})") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        there = _read_record(path, kind)
        extent = there | {task: max(collection.episodes, there.get(task, 0)) for task in collection.tasks}
        write_atomically(path, json.dumps(kind | {"episodes": extent}, indent=2) + "\n")
        yield extent
    except BlockingIOError:
        raise AmRosError(f"out {collection.out}: another process is collecting into it") from None
    except OSError as error:
        raise AmRosError(f"out {collection.out}: cannot be written ({error.strerror})") from None
    finally:
        os.close(folder)


def _read_record(path: Path, kind: dict) -> dict[str, int]:
    """Episodes per task that the folder was to hold so far."""
    if not path.exists():
        return {}
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
        episodes = {task: int(count) for task, count in there.get("episodes", {}).items()}
    except (ValueError, AttributeError, TypeError):
        raise AmRosError(f"{path}: is damaged; delete the folder or choose another one") from None
    different = [key for key in kind if there.get(key) != kind[key]]
    if different:
        raise AmRosError(f"{path}: was collected with another {', '.join(different)}; choose another folder")
    return episodes


def _jobs(collection: Collection, extent: dict[str, int]) -> Iterator[tuple]:
    """Chunks of episodes; the tasks take turns, so that a part of the data is a part of each."""
    for first in range(0, max(extent.values()), CHUNK):
        for task, episodes in extent.items():
            indices = range(first, min(first + CHUNK, episodes))
            if indices:
                yield collection, task, indices


def _name(job: tuple) -> str:
    _, task, indices = job
    return f"{task}, episodes {indices[0]} to {indices[-1]}"


@cache
def _environment(task: str, sim: SimConfig) -> Environment:
    """One environment per task and process, for its construction takes as long as an episode."""
    return Environment(find_task(task), sim)


def _work(collection: Collection, task: str, indices: range) -> tuple[str, list[tuple[bool, list[BagFacts]]]]:
    """Of each episode whether it is new and its bags; what is missing is made if it was asked for."""
    found = []
    for index in indices:
        paths, new = collection.bags(task, index), False
        for path in paths if collection.url else ():  # of a process that was killed before it was put there
            Depot(collection.url).take(path)
        if not paths and task in collection.tasks and index < collection.episodes:
            paths, new = _make(collection, task, index), True
        if paths:
            found.append((new, [read_facts(path) for path in paths]))
    return task, found


def _make(collection: Collection, task: str, index: int) -> list[Path]:
    """Play an episode and write its bags."""
    episode = play(_environment(task, collection.sim), collection.scene(index), collection.mixture)
    parts = split(episode) if collection.split else [episode]
    for number in reversed(range(len(parts))):
        path = collection.bag(task, index, number)
        # Of a killed worker: an unfinished bag, or parts of an episode whose first part is missing.
        clear_unfinished(path.parent, path.name)
        if not path.is_dir():
            write_episode(parts[number], path.parent, ActionSpace())
        if collection.url:
            Depot(collection.url).take(path)
    return collection.bags(task, index)


def _origin(collection: Collection, command: str, complete: bool) -> dict:
    return {
        "command": command,
        "complete": complete,
        "seed": collection.seed,
        "first_scene": collection.scene(0),
        "image_size": collection.sim.camera.image_size,
        "mixture": asdict(collection.mixture),
        "split": list(collection.split),
        "sim": asdict(collection.sim),
    }


def _figures(totals: dict[str, Totals], wall_s: float) -> dict:
    sums = {
        name: sum(getattr(t, name) for t in totals.values())
        for name in ("episodes", "bags", "steps", "bytes", "new_episodes", "new_steps")
    }
    return sums | {
        "steps_per_s": round(sums["new_steps"] / wall_s, 1) if sums["new_steps"] else 0.0,
        "wall_s": round(wall_s, 2),
        "hash": data_hash(totals),
        "tasks": {task: t.figures() | {"new_episodes": t.new_episodes} for task, t in totals.items()},
    }

"""Collect episodes in parallel: the bags that the episode logger would have written, without going through DDS."""

import fcntl
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

from am_ros.action import ActionSpace
from am_ros.bags.episodes import write_episode
from am_ros.bags.writer import UNFINISHED
from am_ros.episode import Outcome
from am_ros.errors import AmRosError
from am_ros.sim.environment import Environment
from am_ros.sim.episodes import Mixture, episode_id, play
from am_ros.sim.tasks import find_task, train_seed
from am_ros.sim.workcell import SimConfig

SHARD = 250  # episodes of a task per folder: file managers and `ls` stay usable
CHUNK = 5  # episodes per job: a few hundred milliseconds of work
SCENES_PER_SEED = 10_000_000
RECORD = "collection.json"


@dataclass(frozen=True)
class Collection:
    """What is to be collected: `episodes` of each task, from scenes that depend on `seed` only."""

    tasks: tuple[str, ...]
    episodes: int
    out: Path
    seed: int = 0
    mixture: Mixture = field(default_factory=Mixture)
    sim: SimConfig = field(default_factory=SimConfig)

    def __post_init__(self):
        for task in self.tasks:
            find_task(task)
        if not 1 <= self.episodes <= SCENES_PER_SEED:
            raise AmRosError(f"parameter episodes: {self.episodes} is outside 1 ... {SCENES_PER_SEED}")
        train_seed(self.seed * SCENES_PER_SEED + self.episodes)

    def scene(self, index: int) -> int:
        """Seed of the scene of episode `index`."""
        return train_seed(self.seed * SCENES_PER_SEED + index)

    def bag(self, task: str, index: int) -> Path:
        """Where the bag of episode `index` of a task lies."""
        return self.out / f"shard_{index // SHARD:04d}" / episode_id(task, self.scene(index))


@dataclass
class TaskCount:
    """What was collected of one task; `present` were there before."""

    present: int = 0
    episodes: int = 0
    steps: int = 0
    successes: int = 0

    @property
    def success_rate(self) -> float | None:
        return self.successes / self.episodes if self.episodes else None


def collect(collection: Collection, workers: int = 1, progress: Callable | None = None) -> dict:
    """Collect what is missing and return the figures: episodes, steps, steps_per_s, success_rate per task.

    `progress(collection, counts)` is called now and then with the TaskCount of each task.
    Episodes that are there already are counted and left alone, so an interrupted collection goes on where it stopped.
    Raises AmRosError if the folder holds a collection of another kind or is in use.
    """
    if workers < 1:
        raise AmRosError(f"parameter workers: {workers} is not a positive number")
    with _claim(collection):
        counts = {task: TaskCount() for task in collection.tasks}
        jobs = _jobs(collection, counts)
        started = time.monotonic()
        for task, episodes, steps, successes in _run(collection, jobs, workers):
            count = counts[task]
            count.episodes += episodes
            count.steps += steps
            count.successes += successes
            if progress:
                progress(collection, counts)
        return _figures(counts, time.monotonic() - started)


@contextmanager
def _claim(collection: Collection) -> Iterator[None]:
    """Own the folder, and make sure that what is in it was collected the same way."""
    wanted = {"seed": collection.seed, "mixture": asdict(collection.mixture), "sim": asdict(collection.sim)}
    wanted = json.loads(json.dumps(wanted))  # tuples become lists, as in the file
    path = collection.out / RECORD
    try:
        collection.out.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+", encoding="utf-8")
    except OSError as error:
        raise AmRosError(f"out {collection.out}: cannot be written ({error.strerror})") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise AmRosError(f"out {collection.out}: another process is collecting into it") from None
        file.seek(0)
        text = file.read()
        if not text:
            file.write(json.dumps(wanted, indent=2) + "\n")
            file.flush()
        else:
            _compare(path, text, wanted)
        yield


def _compare(path: Path, text: str, wanted: dict) -> None:
    try:
        there = json.loads(text)
    except ValueError:
        raise AmRosError(f"{path}: is not JSON; delete the folder or choose another one") from None
    different = [key for key in wanted if there.get(key) != wanted[key]]
    if different:
        raise AmRosError(f"{path}: was collected with another {', '.join(different)}; choose another folder")


def _jobs(collection: Collection, counts: dict[str, TaskCount]) -> list[tuple[str, list[int]]]:
    """What is missing, in chunks; the tasks take turns, so that a part of the data is a part of each."""
    jobs = []
    for first in range(0, collection.episodes, CHUNK):
        for task in collection.tasks:
            indices = range(first, min(first + CHUNK, collection.episodes))
            missing = [i for i in indices if not collection.bag(task, i).is_dir()]
            counts[task].present += len(indices) - len(missing)
            if missing:
                jobs.append((task, missing))
    return jobs


def _run(collection: Collection, jobs: list, workers: int) -> Iterator[tuple[str, int, int, int]]:
    """Results of the jobs as they end; only a few are under way, so memory stays bounded."""
    if workers == 1:
        yield from (_work(collection, *job) for job in jobs)
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when a worker imports NumPy and OpenCV
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (os.getpid(),))
    waiting, running = iter(jobs), set()
    try:
        for _ in range(2 * workers):
            running |= {pool.submit(_work, collection, *job) for job in [next(waiting, None)] if job}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
                running |= {pool.submit(_work, collection, *job) for job in [next(waiting, None)] if job}
    except BrokenProcessPool:
        raise AmRosError("collect: a worker process died (out of memory?); call again to go on") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """A killed parent must leave nothing running."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


@lru_cache(maxsize=4)
def _environment(task: str, sim: SimConfig) -> Environment:
    """One environment per task and process, for its construction takes as long as an episode."""
    return Environment(find_task(task), sim)


def _work(collection: Collection, task: str, indices: list[int]) -> tuple[str, int, int, int]:
    """Play and write some episodes; return the task and how many episodes, steps, successes."""
    environment, steps, successes = _environment(task, collection.sim), 0, 0
    for index in indices:
        episode = play(environment, collection.scene(index), collection.mixture)
        folder = collection.bag(task, index).parent
        shutil.rmtree(folder / (episode.info.episode_id + UNFINISHED), ignore_errors=True)  # of a killed worker
        write_episode(episode, folder, ActionSpace())
        steps += len(episode)
        successes += episode.info.outcome == Outcome.SUCCESS
    return task, len(indices), steps, successes


def _figures(counts: dict[str, TaskCount], wall_s: float) -> dict:
    steps = sum(c.steps for c in counts.values())
    tasks = {name: asdict(c) | {"success_rate": c.success_rate} for name, c in counts.items()}
    return {
        "episodes": sum(c.episodes for c in counts.values()),
        "present": sum(c.present for c in counts.values()),
        "steps": steps,
        "steps_per_s": round(steps / wall_s, 1) if steps else 0.0,
        "wall_s": round(wall_s, 2),
        "tasks": tasks,
    }


class Progress:
    """One line about how far it is, on a terminal overwritten in place, elsewhere one every ten seconds."""

    def __init__(self, stream):
        self._stream, self._started, self._shown = stream, time.monotonic(), 0.0

    def __call__(self, collection: Collection, counts: dict[str, TaskCount]) -> None:
        now, terminal = time.monotonic(), self._stream.isatty()
        total = collection.episodes * len(counts)
        new = sum(c.episodes for c in counts.values())
        done = new + sum(c.present for c in counts.values())
        if done < total and now - self._shown < (0.2 if terminal else 10.0):
            return
        self._shown = now
        wall_s = now - self._started
        rate = sum(c.steps for c in counts.values()) / wall_s
        line = f"collect: {done}/{total} episodes, {rate:.0f} steps/s, {wall_s * (total - done) / new:.0f} s left"
        end = "" if terminal and done < total else "\n"
        print(f"\r\x1b[K{line}" if terminal else line, end=end, file=self._stream, flush=True)

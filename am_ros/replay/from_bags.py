"""Bags -> replay store: every finished bag once, damaged ones named and skipped."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from am_ros.action import ActionSpace
from am_ros.bags.episodes import read_episode
from am_ros.bags.labels import LABELS
from am_ros.episode import Episode
from am_ros.errors import AmRosError
from am_ros.replay.arrays import Rows, content_hash
from am_ros.replay.sources import LocalBag, RemoteBag, bags_at
from am_ros.replay.store import ReplayStore
from am_ros.storage.remote import Place
from am_ros.workers import run_in_order

# Episodes per append: few enough for bounded memory (472x472: 13 MB per episode), many enough to be quick.
CHUNK = 64
# Bags per job of a worker: handing over one small episode takes as long as reading it. 64x64: 16; 472x472: one.
_JOB_PIXELS = 16 * 64 * 64
_JOB_BAGS = 16
Bag: TypeAlias = LocalBag | RemoteBag


@dataclass
class IngestReport:
    """What an ingestion did: `refused` maps a bag to the sentence that says why."""

    added: int = 0
    known: int = 0
    left_out: int = 0  # for their label
    relabelled: int = 0  # of those left out, already in the store: their label has changed since
    refused: dict[Place, str] = field(default_factory=dict)
    renamed: dict[Place, str] = field(default_factory=dict)  # bags whose name another episode has, and theirs
    passed: list[str] = field(default_factory=list)  # what lies there and is not read, a sentence each


def ingest(
    folder: Place,
    store: ReplayStore,
    action_space: ActionSpace,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    skip: frozenset[Place] | set[Place] = frozenset(),
    labels: frozenset[str] = frozenset(LABELS),
    workers: int = 1,
) -> IngestReport:
    """Add all finished bags in `folder`, or at that URL (or the one bag that it is) to the store, oldest name first.

    A bag that cannot be read is refused by name and loses nothing else. Two bags of one name that hold different
    episodes are both taken. `skip` holds bags not to look at again. Bags with a label that is not in `labels` are left
    out, and looked at again the next time. `workers`: processes that read; what they read is taken in the same order.
    Raises AmRosError if the folder does not exist, or if the store is one of vectors.
    """
    if not store.has_images:
        raise AmRosError(f"{store.folder}: is a replay store of vectors, and bags hold images")
    report = IngestReport()
    found, report.passed = bags_at(folder)
    bags = [bag for bag in found if bag.place not in skip]
    adding = _Adding(store, report)
    height, width = store.image_size
    new = _jobs(bags, store, report, labels, height * width)
    done = 0
    jobs = ((job, action_space, (height, width), store.layout.encoded) for job in new)
    for results in run_in_order(_read, jobs, workers, "reading bags"):
        for bag, identity, result in results:
            if isinstance(result, Episode):
                adding.add(bag, identity, result)
            else:
                report.refused[bag.place] = bag.say(result)
        before, done = done, done + len(results)
        if done // CHUNK > before // CHUNK:
            on_progress(min(done + report.known + report.left_out, len(bags)), len(bags))
    adding.flush()
    on_progress(len(bags), len(bags))
    return report


def _jobs(
    bags: list[Bag], store: ReplayStore, report: IngestReport, labels: frozenset[str], pixels: int
) -> Iterator[list[Bag]]:
    """The bags that are to be read, some at a time; the others are counted."""
    longest = max(1, min(_JOB_BAGS, _JOB_PIXELS // pixels))
    job: list[Bag] = []
    for bag in bags:
        try:
            known = _knows(store, bag)
            if labels != frozenset(LABELS) and bag.label() not in labels:
                report.left_out += 1
                report.relabelled += known
                continue
        except AmRosError as error:
            report.refused[bag.place] = bag.say(str(error))
            continue
        if known:
            report.known += 1
            continue
        job.append(bag)
        if len(job) == longest:
            yield job
            job = []
    if job:
        yield job


def _knows(store: ReplayStore, bag: Bag) -> bool:
    """Whether the episode of this very bag is in the store; a bag's folder is named after its episode."""
    if bag.name not in store:
        return False
    there, identity = store.entry(bag.name).get("bag"), bag.identity()
    return there in (None, identity) or _other_name(bag.name, identity) in store


def _other_name(name: str, identity: str) -> str:
    return f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:6]}"


def _read(
    bags: list[Bag], action_space: ActionSpace, image_size: tuple[int, int], keep_files: bool
) -> list[tuple[Bag, str, Episode | str]]:
    """Of each bag its identity, and the episode or the sentence that says why there is none."""
    results: list[tuple[Bag, str, Episode | str]] = []
    for bag in bags:
        try:
            results.append((bag, bag.identity(), read_episode(bag.local(), action_space, image_size, keep_files)))
        except AmRosError as error:
            results.append((bag, "", str(error)))
    return results


class _Adding:
    """Adds episodes to a store, some at a time."""

    def __init__(self, store: ReplayStore, report: IngestReport):
        self._store, self._report = store, report
        self._waiting: dict[str, Episode] = {}
        self._bags: dict[str, str] = {}

    def add(self, bag: Bag, identity: str, episode: Episode) -> None:
        """Take an episode, under another name if there is another one of its name."""
        name = episode.info.episode_id
        if name in self._waiting or name in self._store:
            if self._hash_of(name) == _hash(episode):
                self._report.known += 1  # a copy, or the salvaged form of the same
                return
            name = self._report.renamed[bag.place] = _other_name(name, identity)
            if name in self._waiting or name in self._store:
                self._report.known += 1
                return
        self._waiting[name] = episode.with_info(episode_id=name)
        self._bags[name] = identity
        if len(self._waiting) == CHUNK:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        self._report.added += self._store.append(list(self._waiting.values()), self._bags)
        self._waiting, self._bags = {}, {}

    def _hash_of(self, name: str) -> str:
        return _hash(self._waiting[name]) if name in self._waiting else self._store.entry(name)["sha256"]


def _hash(episode: Episode) -> str:
    return content_hash(Rows(episode.info, episode.images, episode.states, episode.actions))

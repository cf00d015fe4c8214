"""Bags -> replay store: every finished bag once, damaged ones named and skipped."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from am_ros.action import ActionSpace
from am_ros.bags.episodes import read_episode
from am_ros.bags.finder import find_bags
from am_ros.bags.labels import LABELS
from am_ros.bags.relabel import label_of
from am_ros.errors import AmRosError
from am_ros.replay.store import ReplayStore

# Episodes per append: few enough for bounded memory (472x472: 13 MB per episode), many enough to be quick.
CHUNK = 64


@dataclass
class IngestReport:
    """What an ingestion did: `refused` maps a bag to the sentence that says why."""

    added: int = 0
    known: int = 0
    left_out: int = 0  # for their label
    relabelled: int = 0  # of those left out, already in the store: their label has changed since
    refused: dict[Path, str] = field(default_factory=dict)


def ingest(
    folder,
    store: ReplayStore,
    action_space: ActionSpace,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    skip: frozenset[Path] | set[Path] = frozenset(),
    labels: frozenset[str] = frozenset(LABELS),
) -> IngestReport:
    """Add all finished bags in `folder` (or the one bag that it is) to the store, oldest name first.

    A bag that cannot be read is refused by name and loses nothing else. `skip` holds bags not to look at again.
    Bags with a label that is not in `labels` are left out, and looked at again the next time.
    Raises AmRosError if the folder does not exist.
    """
    report, waiting = IngestReport(), []
    bags = [bag for bag in find_bags(folder) if bag not in skip]
    for done, bag in enumerate(bags):
        known = bag.name in store  # a bag's folder is named after its episode
        try:
            if labels != frozenset(LABELS) and label_of(bag) not in labels:
                report.left_out += 1
                report.relabelled += known
                continue
            if known:
                report.known += 1
                continue
            waiting.append(read_episode(bag, action_space, store.image_size))
        except AmRosError as error:
            report.refused[bag] = str(error)
        if len(waiting) == CHUNK:
            report.added += store.append(waiting)
            waiting = []
            on_progress(done + 1, len(bags))
    report.added += store.append(waiting)
    on_progress(len(bags), len(bags))
    return report

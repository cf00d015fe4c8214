"""Episodes of foreign bags to bags of ours: what they are called, and what is there already."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from am_ros.action import ActionSpace
from am_ros.bags.episodes import read_episode, write_episode
from am_ros.episode import Episode
from am_ros.errors import AmRosError
from am_ros.ingest.conversion import BagReport


def write_bags(episodes: Iterator[Episode], out, action_space: ActionSpace, report: BagReport) -> Iterator[Episode]:
    """Write each episode as a bag of ours, unless it is there from an earlier run, and pass it on."""
    for episode in episodes:
        try:
            if _is_there(episode, out, action_space):
                report.dropped["episodes: there already, not written again"] += 1
            else:
                write_episode(episode, out, action_space)
        except OSError as error:
            path = Path(out) / episode.info.episode_id
            raise AmRosError(f"bag {path}: cannot be written: {error.strerror}") from None
        yield episode


def _is_there(episode: Episode, out, action_space: ActionSpace) -> bool:
    """Whether the folder holds this very episode; another one of the same name is for the writer to refuse."""
    path = Path(out) / episode.info.episode_id
    if not path.exists():
        return False
    there = read_episode(path, action_space)
    return np.array_equal(there.stamps_ns, episode.stamps_ns) and np.array_equal(there.actions, episode.actions)


def bag_names(paths: list[Path]) -> dict[Path, str]:
    """A name for each bag that its episodes' names begin with; of bags of the same name, the folder's name is in it."""
    stems = Counter(_stem(path) for path in paths)
    names = {}
    for path in paths:
        stem = _stem(path)
        if stems[stem] > 1:
            where = hashlib.sha256(str(path.resolve().parent).encode()).hexdigest()[:6]
            stem = f"{stem}_{where}"
        names[path] = stem
    return names


def _stem(path: Path) -> str:
    name = path.stem if path.is_file() else path.name
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name or path.resolve().name)[:45]

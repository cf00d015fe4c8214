"""Cut episodes where the object is lifted into parts that nothing connects: the data of goal chaining (section 6.5).

The observation with the lifted object belongs to both parts, as the last of one and the first of the other: so every
transition is kept, and the parts touch in a state, which is what chaining needs. It is a hindsight goal in the first
part alone, because a goal is an observation *after* the state it is paired with. An object that is dropped and taken
up again makes a further cut; otherwise one part would hold both a grasp and what follows it.
"""

from dataclasses import replace
from hashlib import blake2b
from itertools import pairwise

import numpy as np

from am_ros.action import TERMINATE
from am_ros.episode import Episode, EpisodeInfo, Outcome
from am_ros.errors import AmRosError
from am_ros.sim.episodes import first_stamp_ns
from am_ros.sim.tasks import Task, draw_scenario

PARTS = ("grasp", "place")
SHARDS = 256


def parse_split(text: str) -> tuple[str, ...]:
    """The value of --split; AmRosError if it is not the one there is."""
    if tuple(text.split(",")) != PARTS:
        raise AmRosError(f"parameter split: {text!r} is not '{','.join(PARTS)}', the one cut there is")
    return PARTS


def check_can_split(task: Task) -> None:
    """AmRosError unless the task lifts one object and puts it somewhere."""
    if not task.lifts or len(draw_scenario(task, 0).wanted) != 1:
        raise AmRosError(f"parameter split: task {task.name} does not lift a single object")


def part_id(task: str, whole_id: str, number: int) -> str:
    """Name of part `number` (0 is the grasp) of an episode: a digest, so that no name leads to the other part's."""
    digest = blake2b(f"{whole_id}/{number}".encode(), digest_size=8).hexdigest()
    return f"{task}_{PARTS[min(number, 1)]}_{digest}"


def part_shard(name: str) -> str:
    """Folder of a part: drawn by its name, so that the parts of an episode do not lie beside each other."""
    return f"shard_{int(name[-4:], 16) % SHARDS:04d}"


def cut(whole: EpisodeInfo, actions: np.ndarray) -> list[tuple[int, int, EpisodeInfo]]:
    """Where the parts of an episode begin and end, and what is known of each: the grasp, then one from each lift on.

    `actions` [T, D + 3]; a part from `first` to `last` has the observations first ... last and the actions between.
    The metadata says which part it is and keeps nothing that both would have (seed, noise). Only the part that ends
    where the episode ended has its outcome; the others end with the object in the air, short of the goal.
    """
    lifts = [int(t) for t in whole.extra["lifted_at"].split()]
    # A demonstrator that stops after the lift leaves nothing to place.
    cuts = [t for t in lifts if t < len(actions) and not actions[t, TERMINATE]]
    parts = []
    for number, (first, last) in enumerate(pairwise([0, *cuts, len(actions)])):
        ends_here = last == len(actions)
        info = replace(
            whole,
            episode_id=part_id(whole.task, whole.episode_id, number),
            seed=-1,
            outcome=whole.outcome if ends_here else Outcome.FAILURE,
            reason=whole.reason if ends_here else "lifted",
            extra={"part": PARTS[min(number, 1)]},
        )
        parts.append((first, last, info))
    return parts


def split(episode: Episode) -> list[Episode]:
    """The parts of an episode (see `cut`); the episode alone, as one part, if nothing was lifted."""
    parts = []
    for first, last, info in cut(episode.info, episode.actions):
        stamps = episode.stamps_ns[first : last + 1]
        parts.append(
            Episode(
                info,
                episode.images[first : last + 1],
                episode.states[first : last + 1],
                episode.actions[first:last],
                (stamps - stamps[0] + first_stamp_ns(info.episode_id)).astype(np.int64),
            )
        )
    return parts

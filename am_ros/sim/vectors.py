"""The scene as a vector, in place of a picture: what the learner can do when seeing is not the problem.

Every task has the same layout, so one policy can learn them all:

    tool x, y, z [m], sine and cosine of its azimuth, opening of the gripper, and then of each of `TRACKED`
    1 if it is there, x, y, z [m], sine and cosine of its azimuth times its symmetry, x, y, z as seen from the tool [m]

What is not there has a 0, and then the same numbers always, of the middle of the table: zeros would stretch the scale
by which a network sees places. Places from the tool are what a grasp depends on; without them 600 episodes of
grasp_banana gave half of the success (docs/results_new_tasks.md).
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from am_ros.action import ACTION_DIM
from am_ros.replay.arrays import Rows
from am_ros.replay.store import ReplayStore
from am_ros.sim.collect import SCENES_PER_SEED
from am_ros.sim.environment import Environment
from am_ros.sim.episodes import Mixture, Performance, perform
from am_ros.sim.objects import BLOCK, FOODS, find_model
from am_ros.sim.scene import Pose, SceneState
from am_ros.sim.split import check_can_split, cut
from am_ros.sim.tasks import find_task, train_seed
from am_ros.sim.workcell import SimConfig
from am_ros.workers import run_in_order

TRACKED = (BLOCK, f"{BLOCK}_2", "fixture", "plate", "bowl", *FOODS, f"{BLOCK}_3")
_TOOL, _OBJECT = 6, 9
_ABSENT = (0.0, 0.56, 0.0, 0.03, 0.0, 0.0, 0.0, 0.0, 0.0)
VECTOR_SIZE = _TOOL + _OBJECT * len(TRACKED)
_CHUNK = 20  # episodes per job


def place_of(name: str) -> slice:
    """Where x, y, z of one of `TRACKED` lie in a vector."""
    first = _TOOL + _OBJECT * TRACKED.index(name) + 1
    return slice(first, first + 3)


def scene_vector(state: SceneState) -> np.ndarray:
    """The scene as it is, float32 [VECTOR_SIZE]."""
    poses = {thing.name: thing.pose for thing in state.objects}
    return _vector(state.end_effector, state.gripper_opening, poses)


def goal_vector(state: SceneState) -> np.ndarray:
    """The scene as its task wants it, float32 [VECTOR_SIZE]; what it wants nowhere in particular stays where it is."""
    poses = {thing.name: thing.goal or thing.pose for thing in state.objects}
    return _vector(state.end_effector_goal, state.goal_gripper_opening, poses)


def _vector(tool: Pose, opening: float, poses: dict[str, Pose]) -> np.ndarray:
    numbers = [*tool.position_m, math.sin(tool.yaw_rad), math.cos(tool.yaw_rad), opening]
    for name in TRACKED:
        if name in poses:
            pose, turns = poses[name], find_model(name).turns
            numbers += [1.0, *pose.position_m, math.sin(turns * pose.yaw_rad), math.cos(turns * pose.yaw_rad)]
            numbers += np.subtract(pose.position_m, tool.position_m).tolist()
        else:
            numbers += _ABSENT
    return np.array(numbers, np.float32)


def collect_vectors(
    tasks: tuple[str, ...],
    episodes: int,
    folder: Path,
    seed: int = 0,
    mixture: Mixture | None = None,
    workers: int = 1,
    split: bool = False,
    progress: Callable | None = None,
) -> ReplayStore:
    """The episodes of `am-ros collect` for these tasks and seed, as vectors, in a new replay store.

    `split`: cut where the object is lifted (split.py). `progress(done, total)` is called now and then; the store holds
    by then what was done. Raises AmRosError if the folder holds a store already or a task cannot be cut.
    """
    for task in tasks:
        if split:
            check_can_split(find_task(task))
        find_task(task)
    store = ReplayStore.create_for_vectors(folder, VECTOR_SIZE, ACTION_DIM)
    jobs = sorted(_jobs(tasks, episodes, seed, mixture, split), key=lambda job: (job[0], job[1].start))
    count = 0
    for episodes_done, rows in run_in_order(_work, jobs, workers, "collect"):
        store.append_rows(rows)  # at once: who is killed keeps what was done
        count += episodes_done
        if progress:
            progress(count, episodes * len(tasks))
    return store


def _jobs(tasks, episodes: int, seed: int, mixture: Mixture | None, split: bool) -> Iterator[tuple]:
    first = seed * SCENES_PER_SEED
    for task in tasks:
        for start in range(first, first + episodes, _CHUNK):
            yield task, range(start, min(start + _CHUNK, first + episodes)), mixture or Mixture(), split


def _work(task: str, scenes: range, mixture: Mixture, split: bool) -> tuple[int, list[Rows]]:
    with Environment(find_task(task), SimConfig(variety=0.0), sees=False) as environment:
        done = [perform(environment, train_seed(scene), mixture) for scene in scenes]
    return len(scenes), [row for one in done for row in performance_rows(one, split)]


def performance_rows(done: Performance, split: bool = False) -> list[Rows]:
    """A trial as an episode of vectors, or, with `split`, as its unconnected parts."""
    observations = np.stack([scene_vector(state) for state in done.scenes])
    states, actions = np.stack([o.state for o in done.observations]), np.stack(done.actions)
    parts = cut(done.info, actions) if split else [(0, len(actions), done.info)]
    return [Rows(info, observations[a : b + 1], states[a : b + 1], actions[a:b]) for a, b, info in parts]

"""The scene as a vector, in place of a picture: what the learner can do when seeing is not the problem.

Every task has the same layout, so one policy can learn them all:

    tool x, y, z [m], sine and cosine of its azimuth, opening of the gripper, and then of each of `TRACKED`
    1 if it is there, x, y, z [m], sine and cosine of its azimuth times its symmetry; all zero if it is not
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
from am_ros.sim.episodes import Mixture, perform
from am_ros.sim.objects import BLOCK, FOODS, find_model
from am_ros.sim.scene import Pose, SceneState
from am_ros.sim.tasks import find_task, train_seed
from am_ros.sim.workcell import SimConfig
from am_ros.workers import run_jobs

TRACKED = (BLOCK, f"{BLOCK}_2", "fixture", "plate", "bowl", *FOODS)
_TOOL, _OBJECT = 6, 6
VECTOR_SIZE = _TOOL + _OBJECT * len(TRACKED)
_CHUNK = 20  # episodes per job


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
        else:
            numbers += [0.0] * _OBJECT
    return np.array(numbers, np.float32)


def collect_vectors(
    tasks: tuple[str, ...],
    episodes: int,
    folder: Path,
    seed: int = 0,
    mixture: Mixture | None = None,
    workers: int = 1,
    progress: Callable | None = None,
) -> ReplayStore:
    """The episodes of `am-ros collect` for these tasks and seed, as vectors, in a new replay store.

    `progress(done, total)` is called now and then. Raises AmRosError if the folder holds a store already.
    """
    tasks = tuple(find_task(task).name for task in tasks)
    store = ReplayStore.create_for_vectors(folder, VECTOR_SIZE, ACTION_DIM)
    jobs = _jobs(tasks, episodes, seed, mixture or Mixture())
    done = {}
    for key, rows in run_jobs(_work, jobs, workers, "collect"):
        done[key] = rows
        if progress:
            progress(sum(map(len, done.values())), episodes * len(tasks))
    store.append_rows([row for key in sorted(done) for row in done[key]])  # the same order with any number of workers
    return store


def _jobs(tasks, episodes: int, seed: int, mixture: Mixture) -> Iterator[tuple]:
    first = seed * SCENES_PER_SEED
    for task in tasks:
        for start in range(first, first + episodes, _CHUNK):
            yield task, range(start, min(start + _CHUNK, first + episodes)), mixture


def _work(task: str, scenes: range, mixture: Mixture) -> tuple[tuple, list[Rows]]:
    with Environment(find_task(task), SimConfig(variety=0.0)) as environment:
        done = [perform(environment, train_seed(scene), mixture) for scene in scenes]
    return (task, scenes.start), [
        Rows(
            one.info,
            np.stack([scene_vector(state) for state in one.scenes]),
            np.stack([o.state for o in one.observations]),
            np.stack(one.actions),
        )
        for one in done
    ]

"""Episodes of one scene, paired: where one of them stood, and the end of another that was a success, as its goal.

Hindsight only shows goals that were reached, and a goal of another scene is told apart at a glance. A policy has to
tell this scene at the goal from this scene with the arm there and the object elsewhere. Its own trials show both, and
the simulator, or whoever labels the bags, says which is which. A success is at the goal where it ended, and not before;
a failure is nowhere at the goal.

A scene is a task and a seed: `am-ros collect --policy` plays those that the demonstrator played.
"""

import numpy as np

from am_ros.episode import Outcome
from am_ros.errors import AmRosError
from am_ros.replay.store import ReplayStore


class TrialEnds:
    """Pairs of the episodes `chosen` (bool [episodes]) of a store. Raises AmRosError if there are none."""

    def __init__(self, store: ReplayStore, chosen: np.ndarray):
        outcomes, task = store.outcomes, np.full(len(store.steps), -1)
        for number, name in enumerate(name for name in store.summary() if name):
            task[store.of_task(name)] = number
        numbers = np.flatnonzero(chosen & (task >= 0) & (store.seeds >= 0) & (outcomes != Outcome.UNKNOWN))
        scenes = np.stack([task, store.seeds], axis=1)[numbers]
        scene = np.unique(scenes, axis=0, return_inverse=True)[1].reshape(-1)
        won = outcomes[numbers] == Outcome.SUCCESS
        by_scene = np.argsort(scene[won], kind="stable")
        self._goals = numbers[won][by_scene]  # the successes of scene 0, of scene 1, ...
        wins = np.bincount(scene[won], minlength=len(numbers))
        before = np.cumsum(wins) - wins
        place = np.full(len(numbers), -1)  # of a success among those of its scene
        place[np.flatnonzero(won)[by_scene]] = np.arange(len(by_scene)) - before[scene[won][by_scene]]
        others = wins[scene] - won if len(numbers) else wins
        paired = np.flatnonzero(others > 0)
        if not len(paired):
            raise AmRosError(
                f"parameter trial_share: {store.folder} holds no two episodes of one scene, one of them a success; "
                "collect some with a policy (am-ros collect --policy)"
            )
        self._trial, self._won, self._own = numbers[paired], won[paired], place[paired]
        self._others, self._before = others[paired], before[scene[paired]]
        self._first, self._steps = store.first, store.steps

    def __len__(self) -> int:
        """Episodes that have a goal."""
        return len(self._trial)

    def draw(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows of the store int64 [count], half of them ends; their goals int64 [count]; bool [count]: is it there?"""
        chosen = rng.integers(len(self), size=count)
        trial, own = self._trial[chosen], self._own[chosen]
        other = (rng.random(count) * self._others[chosen]).astype(np.int64)
        other += (own >= 0) & (other >= own)  # not itself
        goal = self._goals[self._before[chosen] + other]
        step = (rng.random(count) * (self._steps[trial] + 1)).astype(np.int64)
        step = np.where(rng.random(count) < 0.5, self._steps[trial], step)
        right = self._won[chosen] & (step == self._steps[trial])
        return self._first[trial] + step, self._first[goal] + self._steps[goal], right

"""When to stop, from trials that the policy plays: Q of terminating step by step, and whether its goal was reached.

Episodes of the data say when a demonstrator was at a goal (learning/stopping.py). A policy stands elsewhere when it
fails: beside the goal, or at it without the thing that it lost on the way. A rule that is chosen by what the policy
does itself knows such places.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np

from am_ros.errors import AmRosError
from am_ros.evaluation.actors import SCRIPTED, ActorConfig, PolicyActor
from am_ros.evaluation.trials import TrialPlan, job_name, kept_environment, run_trial
from am_ros.learning.policy import Decision
from am_ros.learning.stopping import WRONG_SHARE, StopRule, choose_level
from am_ros.sim.camera import CameraConfig
from am_ros.sim.environment import Environment, Observation
from am_ros.sim.tasks import Task
from am_ros.sim.workcell import SimConfig
from am_ros.workers import Workers, at_most, run_jobs

OTHER_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2)  # of trials that end elsewhere, shown beside the one that was asked for


class WatchedActor(PolicyActor):
    """A policy that nothing ends; `walk` holds Q of terminating and whether the goal was reached, step by step."""

    def __init__(self, config: ActorConfig):
        never = (("stop_q", 0.0), ("stop_sum", 0.0), ("terminate", False))
        super().__init__(replace(config, search=(*config.search, *never)))
        self.walk: list[tuple[float, bool]] = []

    def begin(self, task: Task, scene: int) -> None:
        """Start a trial."""
        super().begin(task, scene)
        self.walk = []

    def decide(self, seen: Observation, goal_image: np.ndarray, environment: Environment) -> Decision:
        """The next action. Raises AmRosError if the network gives no finite value."""
        q = self.policy.q_of_terminating(*self.inputs(seen, goal_image, environment))
        self.walk.append((q, environment.outcome().reached))
        return super().decide(seen, goal_image, environment)


def calibrate_by_trials(
    plan: TrialPlan,
    wrong_share: float = WRONG_SHARE,
    workers: Workers = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[StopRule, list[tuple[float, StopRule]]]:
    """The rule for the plan's checkpoint, from its trials, and what others would give: wrong shares with their rules.

    `progress(done, total)` is called after each trial. Raises AmRosError if the plan names no checkpoint.
    """
    if plan.actor.name in SCRIPTED:
        raise AmRosError(f"{plan.actor.name}: is no checkpoint, and has no Q of terminating")
    WatchedActor(plan.actor)  # fail here, in one sentence, and not in every worker
    jobs = [(plan.actor, task, scene, plan.variety, plan.goal_variety) for task, scene in plan.scenes]
    walks: list[list[tuple[float, bool]]] = []
    for walk in run_jobs(_play, jobs, at_most(workers, len(jobs)), "calibrate", job_name):
        walks.append(walk)
        progress(len(walks), len(jobs))
    steps = np.array([step for walk in walks for step in walk])  # [N, 2]
    number = np.repeat(np.arange(len(walks)), [len(walk) for walk in walks])

    def rule(share: float) -> StopRule:
        return replace(choose_level(steps[:, 0], steps[:, 1] > 0, number, share), played=True)

    return rule(wrong_share), [(share, rule(share)) for share in OTHER_SHARES]


def _play(
    config: ActorConfig, task: str, scene: int, variety: float, goal_variety: float | None
) -> list[tuple[float, bool]]:
    actor = _watched(config)
    cell = SimConfig(variety=variety, camera=CameraConfig(image_size=actor.image_size))
    run_trial(kept_environment(task, cell, actor.sees), actor, scene, goal_variety=goal_variety)
    return actor.walk


_watched = lru_cache(maxsize=1)(WatchedActor)  # per process

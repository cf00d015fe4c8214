"""Trials in the simulated cell: the same scenes and goals for whoever acts, judged by the simulator's state."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

from am_ros.configuration import check
from am_ros.errors import AmRosError
from am_ros.evaluation.actors import ActorConfig, make_actor
from am_ros.evaluation.statistics import Trial
from am_ros.sim.camera import CameraConfig
from am_ros.sim.environment import Environment
from am_ros.sim.tasks import evaluation_seed, find_task
from am_ros.sim.workcell import SimConfig
from am_ros.workers import Workers, at_most, run_jobs

# The default of ActingConfig.max_refusals in ros/messages/acting.py, so that an episode ends alike with and without
# the nodes.
MAX_REFUSALS = 5


@dataclass(frozen=True)
class TrialPlan:
    """What is to be tried: scenes `seed` ... `seed + trials - 1` of the evaluation set, for each of the tasks."""

    actor: ActorConfig
    tasks: tuple[str, ...]
    trials: int
    seed: int = 0
    frames_px: int = 0  # keep pictures of the steps, no larger than this; 0: keep none
    variety: float = SimConfig.variety  # of light, colours and camera from scene to scene
    goal_variety: float | None = None  # of light and camera when the goal is recorded; None: those of the trial

    def __post_init__(self):
        for task in self.tasks:
            find_task(task)
        check(SimConfig(variety=self.variety))
        if self.goal_variety is not None and not 0 <= self.goal_variety <= 1:
            raise AmRosError(f"parameter goal_variety: {self.goal_variety} is outside 0 ... 1")
        if self.trials < 1:
            raise AmRosError(f"parameter trials: {self.trials} is not a positive number")
        evaluation_seed(self.seed)
        evaluation_seed(self.seed + self.trials - 1)

    @property
    def scenes(self) -> list[tuple[str, int]]:
        """All (task, scene), task by task."""
        return [(task, scene) for task in self.tasks for scene in range(self.seed, self.seed + self.trials)]


def run_trials(plans: Sequence[TrialPlan], workers: Workers = 1) -> Iterator[Trial]:
    """Run the plans in one pool of `workers`, one thread each; yields trials as they end, in any order.

    Raises AmRosError before the first trial if an actor cannot be had or does not fit the cell.
    """
    for plan in plans:
        make_actor(plan.actor)  # fail here, in one sentence, and not in every worker
    jobs = [
        (plan.actor, task, scene, plan.frames_px, plan.variety, plan.goal_variety)
        for plan in plans
        for task, scene in plan.scenes
    ]
    return run_jobs(_work, jobs, at_most(workers, len(jobs)), "evaluate", job_name)


def job_name(job: tuple) -> str:
    """Who, task and scene of a job that begins with the three."""
    actor, task, scene = job[:3]
    return f"{actor.name}, {task}, scene {scene}"


def _work(
    actor: ActorConfig, task: str, scene: int, frames_px: int, variety: float, goal_variety: float | None
) -> Trial:
    who = _actor(actor)
    config = SimConfig(variety=variety, camera=CameraConfig(image_size=who.image_size))
    environment = kept_environment(task, config, who.sees or frames_px > 0)
    return replace(run_trial(environment, who, scene, frames_px, goal_variety), actor=actor.name)


_actor = lru_cache(maxsize=1)(make_actor)  # per process; jobs come actor by actor and task by task
_kept: dict[tuple[str, SimConfig, bool], Environment] = {}


def kept_environment(task: str, config: SimConfig, sees: bool) -> Environment:
    """The environment of a task, for its construction takes as long as a trial. One per process, to bound memory."""
    key = (task, config, sees)
    if key not in _kept:
        while _kept:
            _kept.popitem()[1].close()
        _kept[key] = Environment(find_task(task), config, sees=sees)
    return _kept[key]


def reset_trial(environment: Environment, scene: int, goal_variety: float | None = None):
    """Put scene number `scene` of the evaluation set to its start; return the first observation and the goal image.

    The goal image is that of the same scene in its goal configuration, and all zeros if the task shows none
    (section 5 of the paper: a task reward instead of a goal image). Where nobody looks, it is as empty as all images.
    """
    seed, goal_image = evaluation_seed(scene), None
    if environment.task.goal_image and environment.sees:
        goal_image = environment.reset(seed, "goal", goal_variety).image
    observation = environment.reset(seed, "start")
    return observation, np.zeros_like(observation.image) if goal_image is None else goal_image


def run_trial(
    environment: Environment, actor, scene: int, frames_px: int = 0, goal_variety: float | None = None
) -> Trial:
    """One trial of an actor (see actors.py) on scene number `scene` of the evaluation set."""
    task = environment.task
    observation, goal_image = reset_trial(environment, scene, goal_variety)
    actor.begin(task, scene)
    frames, decisions, end, reason = [observation.image], [], "step_limit", ""
    steps, refusals, q = 0, 0, math.nan
    while steps < task.max_steps:
        try:
            decision = actor.decide(observation, goal_image, environment)
        except AmRosError as error:
            end, reason = "fault", str(error)
            break
        q = decision.q_value
        decisions.append(decision.decision_ms)
        steps += 1
        position = observation.state[[2, 3, 1]]
        observation = environment.step(environment.limits.keep_inside(position, decision.action))
        frames.append(observation.image)
        if decision.action.terminate:
            end = "terminated"
            break
        refusals = refusals + 1 if observation.refused else 0
        if refusals >= MAX_REFUSALS:
            end, reason = "fault", observation.refused
            break
    outcome = environment.outcome()
    return Trial(
        task=task.name, seed=scene, success=outcome.reached, success_once=outcome.reached_once, steps=steps, end=end,
        distance_m=outcome.distance_m, best_distance_m=outcome.best_distance_m, final_q=q, reason=reason,
        decision_ms=[ms for ms in decisions if not math.isnan(ms)],
        frames=shrink(frames, frames_px), goal_image=shrink([goal_image], frames_px)[0] if frames_px else None,
    )  # fmt: skip


def shrink(frames: list[np.ndarray], frames_px: int) -> list[np.ndarray]:
    """Pictures uint8 [H, W, 3] no larger than `frames_px`: trials at 472x472 hold 14 MB each otherwise; 0: none."""
    if not frames_px:
        return []
    if frames[0].shape[0] <= frames_px:
        return frames
    return [cv2.resize(frame, (frames_px, frames_px), interpolation=cv2.INTER_AREA) for frame in frames]

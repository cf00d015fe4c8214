"""Trials in the simulated cell: the same scenes and goals for whoever acts, judged by the simulator's state."""

import math
import multiprocessing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from am_ros.action import ActionSpace, CartesianAction
from am_ros.errors import AmRosError
from am_ros.evaluation.statistics import Trial
from am_ros.learning.cem import CemConfig
from am_ros.learning.policy import Policy
from am_ros.sim.camera import CameraConfig
from am_ros.sim.environment import Environment
from am_ros.sim.tasks import evaluation_seed, find_task
from am_ros.sim.workcell import SimConfig


@dataclass(frozen=True)
class TrialPlan:
    """What is to be tried. `actor` is a checkpoint folder, `expert` or `random`."""

    actor: str
    task: str
    trials: int
    seed: int = 0  # scene i of the evaluation set is seed + i
    samples: int = 64
    iterations: int = 2
    image_size: int = 64  # of expert and random; a checkpoint knows its own
    keep_frames: bool = True

    def __post_init__(self):
        find_task(self.task)
        if self.trials < 1:
            raise AmRosError(f"trials: {self.trials} is not a positive number")


# An actor maps (image, goal image, state, environment, rng) to (action, q, milliseconds).
Actor = Callable[[np.ndarray, np.ndarray, np.ndarray, Environment], tuple[CartesianAction, float, float]]


def run_trials(plan: TrialPlan, workers: int = 1) -> Iterator[Trial]:
    """Run a plan in `workers` processes, one thread each; yields trials as they end, in any order.

    Raises AmRosError before the first trial if the actor cannot be loaded or does not fit the cell.
    """
    _make_actor(plan)  # fail here, in one sentence, and not in every worker
    scenes = list(range(plan.seed, plan.seed + plan.trials))
    if workers <= 1:
        yield from _run_scenes(plan, scenes)
        return
    shares = [scenes[i::workers] for i in range(workers)]
    jobs = [(plan, share[i : i + 5]) for share in shares for i in range(0, len(share), 5)]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for trials in pool.imap_unordered(_job, jobs):
            yield from trials


def _job(job) -> list[Trial]:
    return list(_run_scenes(*job))


def _run_scenes(plan: TrialPlan, scenes: list[int]) -> Iterator[Trial]:
    actor, image_size, action_space = _make_actor(plan)
    config = SimConfig(camera=CameraConfig(image_size=image_size))
    with Environment(find_task(plan.task), config, action_space=action_space) as environment:
        for scene in scenes:
            yield run_trial(environment, actor, scene, plan.keep_frames)


def _make_actor(plan: TrialPlan) -> tuple[Actor, int, ActionSpace]:
    if plan.actor == "expert":
        task = find_task(plan.task)
        return (
            (lambda image, goal, state, env: (task.act(env.scene()), math.nan, math.nan)),
            plan.image_size,
            ActionSpace(),
        )
    if plan.actor == "random":
        space, rng = ActionSpace(), np.random.default_rng(plan.seed)

        def act_randomly(image, goal, state, env):
            vector = np.concatenate([rng.uniform(-1, 1, 4), np.eye(3)[rng.integers(2)]])
            return space.from_vector(vector), math.nan, math.nan

        return act_randomly, plan.image_size, space
    if not Path(plan.actor).exists():
        raise AmRosError(f"{plan.actor}: is neither a checkpoint folder nor one of expert, random")
    torch.set_num_threads(1)  # one decision is too small to share among cores
    policy = Policy.load(plan.actor, CemConfig(samples=plan.samples, iterations=plan.iterations))

    def act(image, goal, state, env):
        decision = policy.act(image, goal, state)
        return decision.action, decision.q_value, decision.decision_ms

    act.reset = policy.reset
    return act, policy.image_size, policy.action_space


def run_trial(environment: Environment, actor: Actor, scene: int, keep_frames: bool = True) -> Trial:
    """One trial on scene number `scene` of the evaluation set: goal image first, then the scene from its start."""
    seed = evaluation_seed(scene)
    task = environment.task
    goal_image = environment.reset(seed, "goal").image
    observation = environment.reset(seed, "start")
    getattr(actor, "reset", lambda _seed: None)(scene)
    frames, decisions, end, q, steps = [observation.image], [], "step_limit", math.nan, 0
    while steps < task.max_steps:
        action, q, milliseconds = actor(observation.image, goal_image, observation.state, environment)
        decisions.append(milliseconds)
        steps += 1
        position = observation.state[[2, 3, 1]]
        observation = environment.step(environment.limits.keep_inside(position, action))
        frames.append(observation.image)
        if action.terminate:
            end = "terminated"
            break
    outcome = environment.outcome()
    return Trial(
        task=task.name, seed=scene, success=outcome.reached, success_once=outcome.reached_once, steps=steps, end=end,
        distance_m=outcome.distance_m, best_distance_m=outcome.best_distance_m, final_q=q,
        decision_ms=[ms for ms in decisions if not math.isnan(ms)],
        frames=frames if keep_frames else [], goal_image=goal_image if keep_frames else None,
    )  # fmt: skip

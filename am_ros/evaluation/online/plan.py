"""What an online fine-tuning is to do, checked before any work."""

import dataclasses
from dataclasses import dataclass, replace
from typing import Any

from am_ros import configuration
from am_ros.configuration import parameter
from am_ros.errors import AmRosError
from am_ros.evaluation.actors import load_policy
from am_ros.evaluation.policy_episodes import Exploration
from am_ros.learning import checkpoint, methods
from am_ros.learning.networks import NetworkConfig
from am_ros.learning.trainer_config import LearnerConfig
from am_ros.sim.camera import CameraConfig
from am_ros.sim.collect import SCENES_PER_SEED
from am_ros.sim.tasks import find_task
from am_ros.sim.workcell import SimConfig


@dataclass(frozen=True)
class LoopConfig:
    """How often, how much."""

    rounds: int = parameter(10, "how often to collect and learn; more may be asked for later", range=(1, 10_000))
    episodes: int = parameter(100, "episodes collected per round", range=(1, 1_000_000))
    updates: int = parameter(500, "gradient updates per round", range=(1, 10_000_000))
    first_updates: int = parameter(0, "offline updates on the given bags before the first round", range=(0, 10_000_000))
    trials: int = parameter(50, "evaluation scenes that judge each policy", range=(1, 1_000_000))
    variety: float = parameter(0.0, "how far light, colours and camera pose differ from scene to scene", range=(0, 1))
    workers: int = parameter(1, "processes that collect and judge", range=(1, 1024))
    seed: int = parameter(0, "of training scenes, exploration and learning", range=(0, 100_000))


class Plan:
    """What is to be done: the task, the loop, how to explore, the learner, and the checkpoint to start from, if any.

    Of the learner, `updates` and `seed` become those of the loop, and `reward_task` the task if it learns from a
    reward. Raises AmRosError, naming the parameter, if it cannot be done.
    """

    def __init__(
        self,
        task: str,
        learner: LearnerConfig,
        loop: LoopConfig | None = None,
        exploration: Exploration | None = None,
        start_from=None,
    ):
        self.task, self.start_from = find_task(task), start_from
        self.loop, self.exploration = loop or LoopConfig(), exploration or Exploration()
        configuration.check(self.loop)
        configuration.check(self.exploration)
        if self.loop.rounds * self.loop.episodes > SCENES_PER_SEED:
            raise AmRosError(f"parameters rounds and episodes: together more than {SCENES_PER_SEED} episodes")
        goals = learner.goals
        if goals.reward_share:
            goals = replace(goals, reward_task=task)
        trainer = replace(learner.trainer, updates=self.updates_before(self.loop.rounds), seed=self.loop.seed)
        self.learner = replace(learner, goals=goals, trainer=trainer)
        self._check_learner()
        self.sim = SimConfig(variety=self.loop.variety, camera=CameraConfig(image_size=self.learner.network.image_size))
        configuration.check(self.sim)
        self._start = None if start_from is None else self._check_start()

    def first_scene(self, number: int) -> int:
        """Training scene of the first episode of round `number`."""
        return self.loop.seed * SCENES_PER_SEED + number * self.loop.episodes

    def updates_before(self, number: int) -> int:
        """Updates that policy `number` is made of."""
        return self.loop.first_updates + number * self.loop.updates

    def describe(self) -> dict:
        """Flat JSON data of all that decides the result. Rounds may be added later, workers change nothing."""
        loop = {
            name: value for name, value in dataclasses.asdict(self.loop).items() if name not in ("rounds", "workers")
        }
        parts: list[Any] = [self.learner.network, self.learner.method, self.learner.goals, self.learner.acting]
        learner = {name: value for part in parts for name, value in dataclasses.asdict(part).items()}
        learner |= {f"target_cem.{name}": value for name, value in learner.pop("target_cem").items()}
        trainer = {name: getattr(self.learner.trainer, name) for name in ("learning_rate", "batch_size", "decay_from")}
        start = self._start and self._start.meta["files"]["model"]
        exploration = dataclasses.asdict(self.exploration)
        return {"task": self.task.name, "start_from": start, **loop, **exploration, **learner, **trainer}

    def _check_learner(self) -> None:
        learner, name = self.learner, self.task.name
        configuration.check(learner)
        methods.check_goals(learner.method, learner.goals)
        if learner.network.preset == "state":
            raise AmRosError("parameter preset: state takes vectors, but bags hold images")
        if self.task.goal_image and learner.method.method == "qt_opt":
            raise AmRosError(f"parameter recipe: qt_opt learns without goal image, but task {name} shows one")
        if not self.task.goal_image and not learner.goals.reward_share:
            raise AmRosError(f"parameter recipe: task {name} shows no goal image, use one with a reward, as qt_opt")
        if learner.trainer.minutes or learner.trainer.processes != 1:
            raise AmRosError("parameters minutes and processes: a round ends by its updates, in one process")

    def _check_start(self) -> checkpoint.Checkpoint:
        try:
            found = checkpoint.load(self.start_from)
            load_policy(self.start_from)
        except AmRosError as error:
            raise AmRosError(f"parameter start_from: {error}") from None
        theirs = configuration.from_dict(NetworkConfig, found.meta["config"]["network"])
        for field in dataclasses.fields(theirs):
            mine, its = getattr(self.learner.network, field.name), getattr(theirs, field.name)
            if mine != its:
                raise AmRosError(f"parameter {field.name}: {mine}, but the network of {self.start_from} has {its}")
        return found

"""The tasks of the simulated cell, by name. One small file each: scene, success, expert."""

from dataclasses import replace
from typing import Protocol

import numpy as np

from am_ros.action import CartesianAction
from am_ros.errors import AmRosError
from am_ros.sim.appearance import at_another_hour, draw_appearance
from am_ros.sim.scene import Appearance, Scenario, SceneState
from am_ros.sim.tasks.container_placing import ContainerPlacing
from am_ros.sim.tasks.downstream_grasping import DownstreamGrasping
from am_ros.sim.tasks.fixture_placing import FixturePlacing
from am_ros.sim.tasks.food_grasping import FoodGrasping
from am_ros.sim.tasks.instance_grasping import InstanceGrasping
from am_ros.sim.tasks.pick_place import PickPlace
from am_ros.sim.tasks.reach import Reach
from am_ros.sim.tasks.rearrangement import Rearrangement
from am_ros.sim.tasks.stacking import Stacking


class Task(Protocol):
    """What a task has to say: how its scenes are drawn, how far from the goal a scene is, how it is done."""

    name: str
    max_steps: int
    lifts: bool  # whether an object has to be lifted on the way
    goal_image: bool  # false: a task reward says what is wanted, and the goal image is all zeros
    tolerance_m: float  # a trial counts as reached at this distance or below

    @property
    def objects(self) -> tuple[str, ...]:
        """All that its scenes may show."""

    def draw(self, rng: np.random.Generator) -> Scenario:
        """Draw a trial."""

    def distance(self, state: SceneState) -> float:
        """Distance [m] of what has to be moved from its goal."""

    def act(self, state: SceneState) -> CartesianAction:
        """The scripted expert: the next step, from the state alone."""


_TASKS: tuple[Task, ...] = (
    Reach(), PickPlace(), Stacking(), FixturePlacing(), FoodGrasping(), InstanceGrasping(), Rearrangement(),
    ContainerPlacing(), *map(DownstreamGrasping, ("box", "banana", "bottle", "milk")),
)  # fmt: skip
TASKS: dict[str, Task] = {task.name: task for task in _TASKS}

# Scenes of training and scenes of evaluation never meet: evaluation seeds have this bit set.
EVALUATION_BIT = 1 << 40


def find_task(name: str) -> Task:
    """The task of that name; AmRosError with the names there are otherwise."""
    if name not in TASKS:
        raise AmRosError(f"task {name!r}: use one of {', '.join(TASKS)}")
    return TASKS[name]


def train_seed(index: int) -> int:
    """Seed of the scene `index` (0 ... 2^40 - 1) of the training set."""
    if not 0 <= index < EVALUATION_BIT:
        raise AmRosError(f"scene index {index}: must lie in 0 ... {EVALUATION_BIT - 1}")
    return index


def evaluation_seed(index: int) -> int:
    """Seed of the scene `index` (0 ... 2^40 - 1) of the evaluation set."""
    return EVALUATION_BIT | train_seed(index)


def goal_appearance(scenario: Scenario, seed: int, variety: float) -> Appearance:
    """How the scene of that seed looks when its goal is recorded, at another hour than the trial."""
    return at_another_hour(scenario.appearance, np.random.default_rng([seed, 4]), variety)


def draw_scenario(task: Task, seed: int, variety: float = 1.0) -> Scenario:
    """The trial of that seed; the same seed gives the same trial. Raises AmRosError if the seed is negative.

    `variety` (0 ... 1) is how far light, colours and camera differ from one scene to the next.
    """
    if seed < 0:
        raise AmRosError(f"scene seed {seed}: must not be negative")
    scenario = task.draw(np.random.default_rng([seed, 0]))
    # A stream of random numbers of its own: the look of a scene does not depend on how its objects were placed.
    appearance = draw_appearance(np.random.default_rng([seed, 2]), scenario.start.objects, variety)
    return replace(scenario, appearance=appearance)

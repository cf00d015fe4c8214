"""Episodes of the simulated cell: who acts, how, and what is kept of it."""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from am_ros.action import CartesianAction
from am_ros.configuration import parameter
from am_ros.episode import Episode, EpisodeInfo, Outcome
from am_ros.sim.environment import Environment, Observation
from am_ros.sim.expert import NoisyExpert
from am_ros.sim.scene import SceneState
from am_ros.sim.tasks import Task
from am_ros.sim.workcell import SimConfig

SOURCE = "expert"
# Simulated time starts at a moment of its own for each episode, not at zero: a stamp of zero means "none" in ROS, and
# when bags are played one after the other, images of different episodes must not have the same stamp.
FIRST_STAMP_NS = 1_000_000_000
_START_SPACING_NS = 250_000_007  # 2^32 starts fit into the 31 bits of seconds; never a whole number of frames apart


@dataclass(frozen=True)
class Mixture:
    """How the demonstrators of a data set differ from one episode to the next.

    The defaults span random to expert and put the success rate of every task between 5 % and 55 %, as in the data of
    the paper (section 6.2). An episode's noise is also the chance that its policy has a flaw (flaws.py).
    """

    random_share: float = parameter(0.35, "share of episodes that act at random", range=(0, 1))
    expert_share: float = parameter(0.1, "share of episodes without any noise", range=(0, 1))
    lift_share: float = parameter(
        0.15, "share of episodes that end once the object is lifted, if the task lifts one", range=(0, 1)
    )
    noise_low: float = parameter(0.0, "least noise of the other episodes", range=(0, 1))
    noise_high: float = parameter(0.8, "most noise of the other episodes", range=(0, 1))

    def draw(self, task: Task, rng: np.random.Generator) -> NoisyExpert:
        """The demonstrator of one episode."""
        kind, noise = rng.random(), rng.uniform(self.noise_low, self.noise_high)
        up_to_lift = self.random_share + self.lift_share
        stop_after_lift = task.lifts and self.random_share <= kind < up_to_lift
        if kind < self.random_share:
            noise = 1.0
        elif up_to_lift <= kind < up_to_lift + self.expert_share:
            noise = 0.0
        return NoisyExpert(task, noise, rng, stop_after_lift)


def fixed_noise(noise: float) -> Mixture:
    """All episodes with the same noise; 0 is the expert alone."""
    return Mixture(random_share=0.0, expert_share=0.0, lift_share=0.0, noise_low=noise, noise_high=noise)


def generate_episodes(
    task: Task, seeds: Iterable[int], config: SimConfig | None = None, mixture: Mixture | None = None
) -> Iterator[Episode]:
    """Episodes of the scenes with these seeds, one by one. The same seed gives the same episode, byte by byte."""
    mixture = mixture or Mixture()
    with Environment(task, config) as environment:
        for seed in seeds:
            yield play(environment, seed, mixture)


def episode_id(task: str, seed: int) -> str:
    """Name of the episode of a scene."""
    return f"{task}_{seed}"


def first_stamp_ns(name: str) -> int:
    """Where the simulated clock of an episode of this name starts [ns]; the same name gives the same start."""
    return FIRST_STAMP_NS + zlib.crc32(name.encode()) * _START_SPACING_NS


def demonstrator_rng(task: Task, seed: int) -> np.random.Generator:
    """What the demonstrator of a scene draws from: not the scene's own, and another one in each task."""
    return np.random.default_rng([seed, 1, zlib.crc32(task.name.encode())])


@dataclass(frozen=True)
class Performance:
    """A trial: T action vectors, T+1 observations, and the ground truth at each of these."""

    info: EpisodeInfo
    observations: list[Observation]
    actions: list[np.ndarray]
    scenes: list[SceneState]


def perform(environment: Environment, seed: int, mixture: Mixture) -> Performance:
    """One trial: until the demonstrator terminates or the task's step limit."""
    task = environment.task
    demonstrator = mixture.draw(task, demonstrator_rng(task, seed))
    observations, scenes = [environment.reset(seed)], [environment.scene()]
    vectors: list[np.ndarray] = []
    terminated = False
    while not terminated and len(vectors) < task.max_steps:
        action = demonstrator.act(scenes[-1])
        vector, observation = execute(environment, observations[-1], action)
        terminated = action.terminate
        vectors.append(vector)
        observations.append(observation)
        scenes.append(environment.scene())
    info = EpisodeInfo(
        episode_id(task.name, seed),
        task.name,
        source=SOURCE,
        seed=seed,
        outcome=Outcome.SUCCESS if environment.outcome().reached else Outcome.FAILURE,
        reason="terminated" if terminated else "step_limit",
        extra=demonstrator.description,
    )
    return Performance(info, observations, vectors, scenes)


def play(environment: Environment, seed: int, mixture: Mixture) -> Episode:
    """One episode: what a camera and the robot's joints show of a demonstrator's trial."""
    return as_episode(perform(environment, seed, mixture))


def as_episode(done: Performance) -> Episode:
    """A trial as its robot saw it; the simulated clock depends on the episode's name."""
    start_ns = first_stamp_ns(done.info.episode_id)
    return Episode(
        done.info,
        np.stack([o.image for o in done.observations]),
        np.stack([o.state for o in done.observations]),
        np.stack(done.actions),
        np.array([start_ns + round(o.time_s * 1e9) for o in done.observations], np.int64),
    )


def execute(environment: Environment, last: Observation, action: CartesianAction) -> tuple[np.ndarray, Observation]:
    """Do what an actor wants as far as the cell allows; return the action vector that was executed and what is seen.

    A step out of the workspace box is cut short, one that the planner refuses becomes a step on the spot: what is
    recorded is what happened.
    """
    space, opening = environment.action_space, float(last.state[0])
    tool = environment.workcell.end_effector()
    vector = space.to_vector(environment.limits.keep_inside(tool.position_m, action), opening)
    observation = environment.step(space.from_vector(vector))
    if observation.refused:
        vector = space.to_vector(replace(action, translation_m=(0.0, 0.0, 0.0), rotation_z_rad=0.0), opening)
        observation = environment.step(space.from_vector(vector))
    return vector, observation

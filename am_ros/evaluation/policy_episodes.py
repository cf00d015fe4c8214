"""Episodes of a policy that explores, as bags: what online fine-tuning collects (sections 5.2 and 6.6 of the paper).

The simulator judges after every step. Once the task is reached, the next action is `terminate`, whatever the policy
wants: the episode ends with its reward, as in QT-Opt, and shows by the way where terminating is right. That it would be
wrong anywhere else, the policy learns from its own attempts. An episode that reaches the task with its last step has
no step left for it.
"""

import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from am_ros.action import CLOSE, CONTINUOUS_DIM, OPEN, ActionSpace, CartesianAction
from am_ros.bags.episodes import write_episode
from am_ros.bags.writer import clear_unfinished
from am_ros.configuration import parameter
from am_ros.episode import EpisodeInfo, Outcome
from am_ros.evaluation.actors import ActorConfig, PolicyActor
from am_ros.sim.dataset_card import BagFacts, read_facts
from am_ros.sim.environment import Environment, Observation
from am_ros.sim.episodes import Performance, as_episode, execute
from am_ros.sim.expert import TOGGLE
from am_ros.sim.tasks import find_task, train_seed
from am_ros.sim.workcell import SimConfig
from am_ros.workers import Workers, at_most, run_jobs

SOURCE = "policy"
REACHED, TERMINATED, STEP_LIMIT = "reached", "terminated", "step_limit"  # why an episode ended


@dataclass(frozen=True)
class Exploration:
    """How the collecting policy differs from the one that is judged."""

    exploration: float = parameter(0.2, "share of steps whose action is random", range=(0, 1))
    noise_std: float = parameter(0.1, "Gaussian noise on the other steps, in units of the largest step", range=(0, 1))
    # Before its first rewards a policy may terminate everywhere at once, and then it would see nothing else.
    patient_share: float = parameter(0.5, "share of episodes in which the policy cannot terminate", range=(0, 1))


AS_IN_A_TRIAL = Exploration(0.0, 0.0, 0.0)


class Explorer:
    """A checkpoint's policy with exploration, for one episode after the other."""

    def __init__(self, policy: Path, exploration: Exploration):
        self._actor = PolicyActor(ActorConfig(str(policy)))
        self._exploration, self._search = exploration, self._actor.policy.cem

    def begin(self, environment: Environment, seed: int) -> None:
        """Start the episode of a scene; all chance in it depends on the scene alone."""
        task = environment.task
        self._rng = np.random.default_rng([seed, 3, zlib.crc32(task.name.encode())])  # not the demonstrators' stream
        patient = self._rng.random() < self._exploration.patient_share
        self._actor.policy.cem = replace(self._search, terminate=self._search.terminate and not patient)
        self._actor.begin(task, seed)
        self.random_steps = 0

    def act(self, seen: Observation, goal_image: np.ndarray, environment: Environment) -> CartesianAction:
        """The next action. Random ones never terminate, and leave the gripper as it is most of the time."""
        space, opening = environment.action_space, float(seen.state[0])
        if self._rng.random() < self._exploration.exploration:
            self.random_steps += 1
            vector = space.to_vector(CartesianAction(), opening)
            vector[:CONTINUOUS_DIM] = self._rng.uniform(-1, 1, CONTINUOUS_DIM)
            if self._rng.random() < TOGGLE:
                vector[[CLOSE, OPEN]] = vector[[OPEN, CLOSE]]
            return space.from_vector(vector)
        action = self._actor.decide(seen, goal_image, environment).action
        if action.terminate:
            return action
        vector = space.to_vector(action, opening)
        vector[:CONTINUOUS_DIM] += self._rng.normal(0, self._exploration.noise_std, CONTINUOUS_DIM)
        return space.from_vector(vector)  # which keeps it within the limits


def play(environment: Environment, explorer: Explorer, seed: int, name: str) -> Performance:
    """One episode on the scene of that seed, judged by the simulator."""
    task, goal_image = environment.task, None
    if task.goal_image:
        goal_image = environment.reset(seed, "goal").image
    observations, end = [environment.reset(seed)], STEP_LIMIT
    vectors: list[np.ndarray] = []
    scenes = [environment.scene()]
    if goal_image is None:
        goal_image = np.zeros_like(observations[0].image)
    explorer.begin(environment, seed)
    while end == STEP_LIMIT and len(vectors) < task.max_steps:
        if environment.outcome().reached:
            action, end = CartesianAction(terminate=True), REACHED
        else:
            action = explorer.act(observations[-1], goal_image, environment)
            end = TERMINATED if action.terminate else STEP_LIMIT
        vector, observation = execute(environment, observations[-1], action)
        vectors.append(vector)
        observations.append(observation)
        scenes.append(environment.scene())
    info = EpisodeInfo(
        name,
        task.name,
        source=SOURCE,
        seed=seed,
        outcome=Outcome.SUCCESS if environment.outcome().reached else Outcome.FAILURE,
        reason=end,
        extra={"random_steps": str(explorer.random_steps)},
    )
    return Performance(info, observations, vectors, scenes)


@dataclass(frozen=True)
class PolicyRound:
    """Episodes of one policy on training scenes `first_scene` and the following, one bag each in `folder`."""

    task: str
    policy: Path  # a checkpoint
    weights: str  # sha256 of its weights
    exploration: Exploration
    sim: SimConfig
    folder: Path
    first_scene: int

    def name(self, index: int) -> str:
        """Id of episode `index`, other for each policy: two runs may meet in one store without loss."""
        kind = f"{self.weights} {self.exploration} {self.sim}"
        digest = hashlib.blake2b(kind.encode(), digest_size=6).hexdigest()
        return f"{self.task}_{self.first_scene + index}_{digest}"


def collect_round(what: PolicyRound, episodes: int, workers: Workers = 1) -> Iterator[BagFacts]:
    """Facts of the bags of episodes 0 ... `episodes` - 1: those that are there already first, then the others, as they
    are made. The same round gives the same bags, byte by byte, however often it was interrupted.

    Raises AmRosError if the policy cannot act in the cell, or a bag that is there is damaged.
    """
    missing = []
    for index in range(episodes):
        path = what.folder / what.name(index)
        if path.is_dir():
            yield read_facts(path)
        else:
            missing.append(index)
    if missing:
        jobs = [(what, index) for index in missing]
        processes = at_most(workers, len(jobs))
        yield from run_jobs(_work, jobs, processes, "collect", lambda job: what.name(job[1]), (what.folder,))


def _work(what: PolicyRound, index: int) -> BagFacts:
    name = what.name(index)
    clear_unfinished(what.folder, name)  # of a worker that was killed
    environment = _environment(what.task, what.sim)
    explorer = _explorer(what.policy, what.weights, what.exploration)
    done = play(environment, explorer, train_seed(what.first_scene + index), name)
    return read_facts(write_episode(as_episode(done), what.folder, ActionSpace()))


@lru_cache(maxsize=1)
def _environment(task: str, sim: SimConfig) -> Environment:
    """One per process, for its construction takes as long as an episode."""
    return Environment(find_task(task), sim)


@lru_cache(maxsize=1)
def _explorer(policy: Path, _weights: str, exploration: Exploration) -> Explorer:
    return Explorer(policy, exploration)

"""Who acts in a trial: a checkpoint's policy, the scripted expert, or random actions."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from am_ros import configuration
from am_ros.action import CONTINUOUS_DIM, DISCRETE_DIM, ActionSpace
from am_ros.errors import AmRosError
from am_ros.learning.cem import CemConfig
from am_ros.learning.planning import PlanConfig, PlanningPolicy, plan_through
from am_ros.learning.policy import Decision, Policy
from am_ros.pretrained import checkpoint_names, find_checkpoint
from am_ros.sim.camera import CameraConfig
from am_ros.sim.environment import Environment, Observation
from am_ros.sim.episodes import demonstrator_rng, fixed_noise
from am_ros.sim.tasks import Task, evaluation_seed
from am_ros.sim.vectors import VECTOR_SIZE, goal_vector, scene_vector

SCRIPTED = ("expert", "random")


@dataclass(frozen=True)
class ActorConfig:
    """Who acts, and how. `name` is a checkpoint folder, `expert` or `random`."""

    name: str
    noise: float = 0.0  # of the expert: 0 the expert itself ... 1 random exploration
    image_size: int | None = None  # [px]; None: the checkpoint's own, or 64
    search: tuple[tuple[str, object], ...] = ()  # what is changed of the policy's search, see `searching`
    plan_through: str = ""  # folder of a replay store, or of a run with one: far goals by way of what it holds
    waypoints: int = PlanConfig.waypoints  # of that plan

    def __post_init__(self):
        if self.name != "expert" and self.noise:
            raise AmRosError(f"parameter noise: belongs to the expert, not to {self.name}")
        if not 0 <= self.noise <= 1:
            raise AmRosError(f"parameter noise: {self.noise} is outside 0 ... 1")
        if self.plan_through and self.name in SCRIPTED:
            raise AmRosError(f"parameter plan_through: belongs to a checkpoint, not to {self.name}")
        configuration.from_dict(CemConfig, dict(self.search))
        configuration.check(PlanConfig(self.waypoints))
        if self.image_size is not None:
            configuration.check(CameraConfig(image_size=self.image_size))


def searching(**changes) -> tuple[tuple[str, object], ...]:
    """Fields of CemConfig that replace those of a checkpoint, for ActorConfig.search: `searching(samples=8)`."""
    return tuple(sorted(changes.items()))


class PolicyActor:
    """A checkpoint's policy; the search of a trial is seeded by its scene, as the policy server does it."""

    def __init__(self, config: ActorConfig):
        torch.set_num_threads(1)  # one decision is too small to share among cores
        self.policy = policy = load_policy(config.name, config.image_size, SCRIPTED, **dict(config.search))
        self._acts: Policy | PlanningPolicy = policy  # the same, or by way of waypoints
        if config.plan_through:
            self._acts = plan_through(policy, config.plan_through, PlanConfig(config.waypoints))
        self.image_size = policy.image_size
        self.sees = policy.network.config.preset != "state"

    def begin(self, task: Task, scene: int) -> None:
        """Start a trial."""
        self._acts.reset(scene)

    def decide(self, seen: Observation, goal_image: np.ndarray, environment: Environment) -> Decision:
        """The next action. Raises AmRosError if the network gives no finite value."""
        return self._acts.act(*self.inputs(seen, goal_image, environment))

    def inputs(
        self, seen: Observation, goal_image: np.ndarray, environment: Environment
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the policy takes: observation, goal and state."""
        if self.sees:
            return seen.image, goal_image, seen.state
        scene = environment.scene()
        return scene_vector(scene), goal_vector(scene) * bool(environment.task.goal_image), seen.state


class ExpertActor:
    """The task's scripted expert with noise, as `am-ros collect` draws it for the seed of the scene."""

    sees = False

    def __init__(self, config: ActorConfig):
        self.image_size = config.image_size or CameraConfig.image_size
        self._mixture = fixed_noise(config.noise)

    def begin(self, task: Task, scene: int) -> None:
        """Start a trial."""
        self._expert = self._mixture.draw(task, demonstrator_rng(task, evaluation_seed(scene)))

    def decide(self, seen: Observation, goal_image: np.ndarray, environment: Environment) -> Decision:
        """The next action, from the simulator's state."""
        return Decision(self._expert.act(environment.scene()), math.nan, math.nan)


class RandomActor:
    """Uniform displacements, the gripper open or closed by chance; never terminates."""

    sees = False

    def __init__(self, config: ActorConfig):
        self.image_size = config.image_size or CameraConfig.image_size
        self._space = ActionSpace()

    def begin(self, task: Task, scene: int) -> None:
        """Start a trial; its actions depend on the scene alone."""
        self._rng = np.random.default_rng([evaluation_seed(scene), 2])

    def decide(self, seen: Observation, goal_image: np.ndarray, environment: Environment) -> Decision:
        """The next action."""
        choice = np.eye(DISCRETE_DIM)[self._rng.integers(2)]
        vector = np.concatenate([self._rng.uniform(-1, 1, CONTINUOUS_DIM), choice])
        return Decision(self._space.from_vector(vector), math.nan, math.nan)


def make_actor(config: ActorConfig) -> PolicyActor | ExpertActor | RandomActor:
    """The actor; raises AmRosError in one sentence if it cannot be had or does not fit the simulated cell."""
    if config.name == "expert":
        return ExpertActor(config)
    return RandomActor(config) if config.name == "random" else PolicyActor(config)


def load_policy(folder, image_size: int | None = None, others: tuple[str, ...] = (), **search) -> Policy:
    """A checkpoint's policy that fits the simulated cell. Raises AmRosError, naming the folder, if it does not.

    `image_size` is what the user asked for: a network has a size of its own and takes no other. `search` replaces
    fields of the CemConfig that the checkpoint asks for. `others`: what else could have been named in its place.
    """
    if not find_checkpoint(folder).exists():
        names = ", ".join((*others, *checkpoint_names()))
        raise AmRosError(f"{folder}: is neither a checkpoint folder nor one of {names}")
    policy = Policy.load(folder, **search)
    network = policy.network.config
    if network.preset == "state" and (network.observation_size, network.displacements) != (VECTOR_SIZE, CONTINUOUS_DIM):
        raise AmRosError(
            f"{folder}: takes vectors of {network.observation_size} numbers and {network.displacements} displacements, "
            f"the cell has {VECTOR_SIZE} and {CONTINUOUS_DIM}"
        )
    size, network_size = policy.image_size, network.image_size
    if size != network_size:
        raise AmRosError(f"{folder}: says images of {size} px, but its network takes {network_size} px")
    if image_size not in (None, size):
        raise AmRosError(f"{folder}: takes images of {size} px, not of {image_size} px as image_size says")
    try:
        configuration.check(CameraConfig(image_size=size))
    except AmRosError as error:
        raise AmRosError(f"{folder}: the cell has no camera for it ({error})") from None
    theirs, ours = policy.action_space, ActionSpace()
    if theirs != ours:
        raise AmRosError(
            f"{folder}: its actions reach {_limits(theirs)}, those of the cell's controller {_limits(ours)}"
        )
    return policy


def _limits(space: ActionSpace) -> str:
    x, y, z = space.max_translation_m
    return f"{x:g}, {y:g}, {z:g} m and {space.max_rotation_rad:g} rad"

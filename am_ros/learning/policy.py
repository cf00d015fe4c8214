"""Acting: argmax over actions of Q(s, a, g) by CEM, from a verified checkpoint."""

import dataclasses
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from am_ros import configuration
from am_ros.action import DISCRETE_DIM, ActionSpace, CartesianAction
from am_ros.episode import STATE_DIM
from am_ros.errors import AmRosError
from am_ros.learning import checkpoint
from am_ros.learning.cem import CemConfig, maximise, objective_value
from am_ros.learning.device import find_device
from am_ros.learning.networks import NetworkConfig, QNetwork, make_network
from am_ros.learning.qt_opt_acting import for_acting
from am_ros.learning.types import Encoding
from am_ros.paths import Folder


@dataclass(frozen=True)
class Decision:
    """What the policy chose: the action in SI units, its Q in (0, 1), and how long it took."""

    action: CartesianAction
    q_value: float
    decision_ms: float


@dataclass(frozen=True)
class Choice:
    """An action vector [D + 3] (see action.py; the last number says to terminate) and its Q in (0, 1)."""

    vector: np.ndarray
    q_value: float

    @property
    def terminate(self) -> bool:
        return bool(self.vector[-1] > 0.5)


def acting_of(meta: dict[str, Any]) -> CemConfig:
    """How a checkpoint asks to be searched; it ends episodes by the rule that its training found, if it found one."""
    acting: CemConfig = configuration.from_dict(CemConfig, meta["config"].get("acting", {}))
    rule = meta.get("stopping", {})
    stop_sum, stop_q = rule.get("stop_sum", 0.0), rule.get("stop_q", 0.0)
    if acting.stop_q or acting.stop_sum or not (stop_sum or stop_q):
        return acting
    return replace(acting, stop_sum=stop_sum, stop_q=stop_q, stop_alone=rule.get("stop_alone", False))


class Policy:
    """A goal-conditioned policy: `policy(observation, goal) -> displacement`, on the robot `policy.act -> Decision`.

    Build it with `Policy.load(folder)`. Searches are seeded, so the same calls give the same actions. How to search is
    part of a checkpoint (`acting`): a cloned policy acts by its prior, a Q-function by CEM over Q. With
    `keeps_candidates`, `candidates` holds what the last search looked at: actions [n, D + 3] and their logits [n].
    """

    def __init__(
        self,
        network: QNetwork,
        meta: dict[str, Any],
        cem: CemConfig,
        seed: int = 0,
        data_actions: torch.Tensor | None = None,
        precision: str = "auto",
    ) -> None:
        if cem.objective == "prior" and not (network.config.behaviour_prior and cem.prior_weight):
            raise AmRosError("objective prior: needs a network with a behaviour prior, and prior_weight above 0")
        self.network, self.meta, self.cem = network.eval(), meta, cem
        self.image_size: int = meta["image_size"]
        self.action_space = configuration.from_dict(ActionSpace, meta["action_space"])
        self.device = next(network.parameters()).device
        self.acting = for_acting(network, precision)  # the same values, at less cost for the full-size network
        self.generator = torch.Generator(self.device)
        self.data_actions = None if data_actions is None else data_actions.to(self.device).float()  # [P, D + 3]
        if cem.data_share and data_actions is None:
            raise AmRosError("parameter data_share: the checkpoint holds no actions of the data")
        self.keeps_candidates = False  # whether `candidates` is filled: for pictures, it costs a copy
        self.candidates: tuple[np.ndarray, np.ndarray] | None = None
        self.reset(seed)

    @classmethod
    def load(
        cls,
        folder: Folder,
        cem: CemConfig | None = None,
        device: str = "cpu",
        seed: int = 0,
        precision: str = "auto",
        **changes: Any,
    ) -> "Policy":
        """Read and verify a checkpoint; raises AmRosError naming what is wrong with it.

        `cem` replaces the search that the checkpoint asks for, `changes` only some of its fields. `precision`: what the
        full-size network computes in, fp32 or bf16; auto: bf16 where the hardware multiplies it.
        """
        found = checkpoint.load(folder)
        found_device = find_device(device)
        if unknown := set(changes) - {f.name for f in dataclasses.fields(CemConfig)}:
            known = ", ".join(f.name for f in dataclasses.fields(CemConfig))
            raise AmRosError(f"Policy.load: the search has no parameter {', '.join(sorted(unknown))}; it has {known}")
        if cem is not None and not isinstance(cem, CemConfig):
            raise AmRosError(f"Policy.load: cem is a {type(cem).__name__}, not a CemConfig")
        try:
            config = configuration.from_dict(NetworkConfig, found.meta["config"]["network"])
            network = make_network(config)
            network.load_state_dict(found.weights)
            asked = acting_of(found.meta)
            if changes.keys() & {"stop_q", "stop_sum"}:  # another rule, or none, in place of the one that was found
                asked = replace(asked, stop_q=0.0, stop_sum=0.0, stop_alone=False)
            search = replace(cem or asked, **changes)
            if not found.meta["config"].get("method", {}).get("terminates", True):
                if changes.get("terminate"):
                    raise AmRosError(f"{folder}: parameter terminate: was trained for a task without an end")
                search = replace(search, terminate=False)
            configuration.check(search)
            policy = cls(network.to(found_device), found.meta, search, seed, found.data_actions, precision)
        except (KeyError, TypeError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise AmRosError(f"{folder}: does not fit this version of am_ros ({reason})") from None
        return policy

    def reset(self, seed: int) -> None:
        """Start a new episode: the random numbers of the search begin anew from `seed`, and so does `stop_sum`."""
        self.generator.manual_seed(seed)
        self._summed: tuple[np.ndarray, torch.Tensor] | None = None  # goals, Q of terminating so far [B]

    def __call__(self, observation: ArrayLike, goal: ArrayLike, state: ArrayLike | None = None) -> np.ndarray:
        """The displacement [D] in -1 ... 1, float32, as in ReplayStore.from_arrays; zeros where it terminates.

        Of a batch of observations and goals, each with one dimension more, the displacements [B, D].
        """
        if np.ndim(observation) > len(self.network.config.observation_shape):
            return np.stack([c.vector[:-DISCRETE_DIM] for c in self.choose_batch(observation, goal, state)])
        return self.choose(observation, goal, state).vector[:-DISCRETE_DIM]

    def act(self, image: np.ndarray, goal_image: np.ndarray, state: np.ndarray) -> Decision:
        """Choose the robot's action for uint8 images [size, size, 3] and a state [STATE_DIM].

        Raises AmRosError if a shape does not fit or every Q is not finite: nothing must move then. What comes back is
        finite and within the action space.
        """
        began = time.perf_counter()
        choice = self.choose(image, goal_image, state)
        action = self.action_space.from_vector(choice.vector)
        self.action_space.check(action)
        return Decision(action, choice.q_value, (time.perf_counter() - began) * 1e3)

    def choose(self, observation: ArrayLike, goal: ArrayLike, state: ArrayLike | None = None) -> Choice:
        """The best action for an observation and a goal of the shape that the network takes.

        `state`: what goes with an image, [STATE_DIM]; zeros if left out. Raises AmRosError if a shape does not fit or
        every Q is not finite.
        """
        states = None if state is None else np.asarray(state)[None]
        return self.choose_batch(np.asarray(observation)[None], np.asarray(goal)[None], states)[0]

    @torch.no_grad()
    def choose_batch(
        self, observations: ArrayLike, goals: ArrayLike, states: ArrayLike | None = None
    ) -> list[Choice]:
        """The best actions for observations and goals [B, ...], and states [B, STATE_DIM], in one search.

        A single goal [...] is that of all.

        The random numbers are drawn for the whole batch, so an action may differ from the one that `choose` finds.
        Raises AmRosError as `choose` does.
        """
        observations, goals = np.asarray(observations), np.asarray(goals)
        batch = len(observations) if observations.ndim else 0
        if goals.shape == self.network.config.observation_shape:
            goals = np.broadcast_to(goals, (batch, *goals.shape))
        states = np.zeros((batch, STATE_DIM), np.float32) if states is None else np.asarray(states)
        if len(goals) != batch or len(states) != batch or not batch:
            raise AmRosError(f"a batch of {batch} observations, {len(goals)} goals and {len(states)} states")
        inputs = [self._checked("image", observations), self._checked("goal image", goals)]
        if states.shape != (batch, STATE_DIM) or not np.isfinite(states).all():
            raise AmRosError(f"state: expected {STATE_DIM} finite numbers, got {states[0] if batch == 1 else states}")
        tensors = [
            torch.as_tensor(np.ascontiguousarray(a)).to(self.device) for a in (*inputs, states.astype(np.float32))
        ]
        encoding = self.acting.encode(*tensors)
        self.candidates, seen = None, []

        def value(actions: torch.Tensor) -> torch.Tensor:
            logits = self.acting.score(encoding, actions).float()
            if self.keeps_candidates:
                seen.append((actions[0], logits[0]))
            return objective_value(self.cem, logits)

        ends, q_end = self._stop(encoding, goals)
        if ends.all():
            return [Choice(self._terminate().cpu().numpy(), float(q)) for q in q_end]
        vectors, scores = maximise(
            value,
            batch,
            self._search,
            self.device,
            self.generator,
            self.acting.prior(encoding),
            self.network.config.displacements,
            self._shuffled_data_actions(),
        )
        if seen:
            tried, tried_q = (torch.cat(parts).cpu().numpy() for parts in zip(*seen, strict=True))
            self.candidates = tried, tried_q
        q = self.acting.score(encoding, vectors.unsqueeze(1)).float().sigmoid().squeeze(1)
        # Without a finite score no candidate was chosen, and the vector is that of nobody.
        if not (scores.isfinite() & q.isfinite() & vectors.isfinite().all(dim=1)).all():
            raise AmRosError("policy_not_finite: the network's values are not numbers; nothing is moved")
        actions = torch.where(ends.unsqueeze(1), self._terminate(), vectors).cpu().numpy()
        values = torch.where(ends, q_end, q).tolist()
        return [Choice(vector, value) for vector, value in zip(actions, values, strict=True)]

    @torch.no_grad()
    def q_of_terminating(self, observation: ArrayLike, goal: ArrayLike, state: ArrayLike | None = None) -> float:
        """Q of ending the episode here, as `choose` takes its arguments."""
        states = np.zeros(STATE_DIM, np.float32) if state is None else np.asarray(state, np.float32)
        inputs = [
            self._checked("image", np.asarray(observation)[None]),
            self._checked("goal image", np.asarray(goal)[None]),
            states[None],
        ]
        encoding = self.acting.encode(*(torch.as_tensor(np.ascontiguousarray(a)).to(self.device) for a in inputs))
        return float(self._q_of_terminating(encoding, 1))

    def _q_of_terminating(self, encoding: Encoding, batch: int) -> torch.Tensor:
        """Q of terminating [B]."""
        return self.acting.score(encoding, self._terminate().expand(batch, 1, -1)).float().sigmoid().squeeze(1)

    @property
    def _search(self) -> CemConfig:
        """That of the search: without terminating, if a rule alone says when."""
        cem = self.cem
        return replace(cem, terminate=False) if cem.stop_alone and (cem.stop_q or cem.stop_sum) else cem

    def _stop(self, encoding: Encoding, goals: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Whether Q of terminating ends the episode, by itself or by its sum so far, bool [B]; and that Q [B]."""
        batch, cem = len(goals), self.cem
        if not ((cem.stop_q or cem.stop_sum) and cem.terminate):
            return torch.zeros(batch, dtype=torch.bool, device=self.device), torch.zeros(batch, device=self.device)
        q = self._q_of_terminating(encoding, batch)
        ends = q >= cem.stop_q if cem.stop_q else torch.zeros_like(q, dtype=torch.bool)
        if cem.stop_sum:
            known = self._summed is not None and np.array_equal(self._summed[0], goals)  # another goal: another episode
            total = self._summed[1] + q if known and self._summed is not None else q
            self._summed = goals.copy(), total
            ends = ends | (total >= cem.stop_sum)
        return ends, q

    def _terminate(self) -> torch.Tensor:
        """The action vector [D + 3] that terminates."""
        vector = torch.zeros(self.network.config.displacements + DISCRETE_DIM, device=self.device)
        vector[-1] = 1.0
        return vector

    def _shuffled_data_actions(self) -> torch.Tensor | None:
        if self.data_actions is None or not self.cem.data_share:
            return None
        order = torch.randperm(len(self.data_actions), generator=self.generator, device=self.device)
        return self.data_actions[order].unsqueeze(0)

    def _checked(self, name: str, batch: np.ndarray) -> np.ndarray:
        """The batch [B, ...] as the network takes it."""
        config = self.network.config
        if config.preset == "state":
            if batch.shape[1:] != config.observation_shape or not np.isfinite(batch).all():
                name = name.replace("goal image", "goal").replace("image", "observation")
                shown = batch[0] if len(batch) == 1 else batch
                raise AmRosError(f"{name}: expected {config.observation_size} finite numbers, got {shown}")
            return batch.astype(np.float32)
        if batch.shape[1:] != config.observation_shape or batch.dtype != np.uint8:
            size, shape = config.image_size, batch.shape[1:]
            raise AmRosError(f"{name}: is {batch.dtype} {shape}, the policy needs uint8 ({size}, {size}, 3)")
        return batch

"""Goal chaining by planning: far goals by way of observations of the data set, with Q as the distance.

The paper names planning as future work (section 7); this is search on the replay buffer (Eysenbach et al., 2019). Some
observations of the replay store are waypoints of a graph. Q is about gamma^(k-1) for a goal k steps away
(methods/bellman.py), so from w to v it is 1 + log_gamma max_a Q(w, a, v) steps. Long edges are dropped, for Q learned
from short episodes says little of what is far. A policy walks along the shortest path: the goal that it is given is the
path's first waypoint.
"""

import copy
import math
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike

from am_ros import configuration
from am_ros.configuration import parameter
from am_ros.episode import STATE_DIM
from am_ros.errors import AmRosError
from am_ros.learning.cem import maximise
from am_ros.learning.methods import MethodConfig
from am_ros.learning.networks import check_fits
from am_ros.learning.policy import Choice, Decision, Policy
from am_ros.paths import Folder
from am_ros.replay.sampling import GoalConfig
from am_ros.replay.store import ReplayStore

_PAIRS, _PAIR_BYTES = 2048, 2**24  # encoded at once: at most so many, and no more than 25 images of 472 px


@dataclass(frozen=True)
class PlanConfig:
    """Which waypoints, and which edges between them."""

    waypoints: int = parameter(200, "observations of the replay store to plan through", range=(1, 10_000))
    # How far Q can be trusted, and how long a step seems to it, differs from training to training; how dense a graph
    # has to be, much less. In docs/examples/planning.py 4 tears it apart and longer edges lead through the wall.
    neighbours: int = parameter(6, "edges of the median waypoint: they say how long an edge may be", range=(1, 10_000))
    max_steps: float = parameter(0.0, "longest edge that is trusted [steps]; 0: as neighbours says", range=(0.0, 1e4))
    patience: int = parameter(3, "decisions of an episode for which a waypoint is pursued", range=(1, 1000))
    seed: int = parameter(0, "of the draw of the waypoints and of the search for best actions", range=(0, 2**31 - 1))


@dataclass(frozen=True)
class PlannedChoice(Choice):
    """A choice, what it was for, and its Q for that: waypoint number `waypoint`, or the goal itself (None)."""

    waypoint: int | None = None
    steps_left: float = math.inf  # of the whole path to the goal; infinity: no path was found


@dataclass(frozen=True)
class PlannedDecision(Decision):
    """The same for a robot's action."""

    waypoint: int | None = None
    steps_left: float = math.inf


class WaypointGraph:
    """Observations of a store and the steps between them, as a policy's Q sees them; nothing changes it later.

    `observations` [N, ...] and `states` [N, STATE_DIM] are the waypoints, rows `rows` of the store; `edges` [N, N] the
    steps from one to another, infinite where more than `horizon`; `between` [N, N] the same along the shortest path.

    Raises AmRosError if Q cannot be had or the store does not fit the network.
    """

    def __init__(self, policy: Policy, store: ReplayStore, config: PlanConfig = PlanConfig()):
        configuration.check(config)
        self.network, self.device, self.config = policy.acting, policy.device, config
        learned = policy.meta["config"]
        method = configuration.from_dict(MethodConfig, learned.get("method", {}))
        if not method.learns_q or method.method == "contrastive":
            raise AmRosError(f"method {method.method}: has no Q to plan with, in steps to the goal")
        if configuration.from_dict(GoalConfig, learned.get("goals", {})).reward_share == 1:
            raise AmRosError(f"method {method.method}: learned a task reward and no goals, so there is none to plan to")
        check_fits(store, policy.network.config)
        self._log_gamma = math.log(method.gamma)
        # As cheap as the search that made the targets which Q was fitted to. Who walks on does not terminate.
        self._search = replace(method.target_cem, prior_weight=0.0, objective="q", terminate=False)
        self._data_actions = policy.data_actions
        self.rows = draw_rows(store, config.waypoints, config.seed)
        self.observations, self.states = store.observations[self.rows], store.states[self.rows]
        count = len(self.rows)
        first, second = np.divmod(np.arange(count * count), count)
        steps = self.steps(self.observations, self.states, self.observations, first, second).reshape(count, count)
        self.horizon = self._horizon(steps)
        self.edges = self._trusted(steps)
        self.between = shortest_paths(self.edges)

    def __len__(self) -> int:
        return len(self.rows)

    @torch.no_grad()
    def steps(
        self, observations: np.ndarray, states: np.ndarray, goals: np.ndarray, seen: np.ndarray, wanted: np.ndarray
    ) -> np.ndarray:
        """Estimated steps [P] from observation number seen[p] to goal number wanted[p], at least 1.

        `observations` and `goals` are arrays of what the network takes, `states` [len(observations), STATE_DIM].
        """
        network, values = self.network, []
        chunk = max(1, min(_PAIRS, _PAIR_BYTES // goals[0].nbytes))
        generator = torch.Generator(self.device).manual_seed(self.config.seed)
        for begin in range(0, len(seen), chunk):
            i, j = seen[begin : begin + chunk], wanted[begin : begin + chunk]
            inputs = [torch.as_tensor(x).to(self.device) for x in (observations[i], goals[j], states[i])]
            encoding = network.encode(*inputs)
            actions, _ = maximise(
                partial(network.score, encoding),
                len(i),
                self._search,
                self.device,
                generator,
                network.prior(encoding),
                network.config.displacements,
                self._some_data_actions(len(i), generator),
            )
            logits = network.score(encoding, actions.unsqueeze(1)).squeeze(1).float()
            values.append(torch.nn.functional.logsigmoid(logits).double().cpu().numpy())
        steps: np.ndarray = 1 + np.concatenate(values) / self._log_gamma
        return np.where(np.isfinite(steps), np.maximum(steps, 1), np.inf)

    def _some_data_actions(self, pairs: int, generator: torch.Generator) -> torch.Tensor | None:
        """Other ones for each pair [pairs, samples, D + 3]: the search takes no more than that."""
        if self._data_actions is None:
            return None
        which = torch.randint(
            len(self._data_actions), (pairs, self._search.samples), generator=generator, device=self.device
        )
        return self._data_actions[which]

    def steps_to(self, goal: np.ndarray) -> np.ndarray:
        """Steps [N] from each waypoint to a goal along the shortest path; infinity where there is none."""
        count = len(self)
        last = self.steps(self.observations, self.states, goal[None], np.arange(count), np.zeros(count, np.int64))
        shortest: np.ndarray = (self.between + self._trusted(last)).min(axis=1)
        return shortest

    def plan(
        self, observation: np.ndarray, state: np.ndarray, goal: np.ndarray, steps_to_goal: np.ndarray
    ) -> tuple[int | None, float]:
        """The waypoint to go to next, None for the goal itself, and the steps of the whole path.

        `steps_to_goal` is what `steps_to` says of that goal, infinite for waypoints not to go to next. The goal is a
        node like any other: going there directly is one edge, trusted as far as the others. Without any path the policy
        goes directly, too, and does what it can.
        """
        goals, count = np.concatenate([self.observations, goal[None]]), len(self)
        here = self._trusted(
            self.steps(observation[None], state[None], goals, np.zeros(count + 1, np.int64), np.arange(count + 1))
        )
        paths = here[:-1] + steps_to_goal
        best = int(paths.argmin())
        return (best, float(paths[best])) if paths[best] < here[-1] else (None, float(here[-1]))

    def _trusted(self, steps: np.ndarray) -> np.ndarray:
        return np.where(steps <= self.horizon, steps, np.inf)

    def _horizon(self, steps: np.ndarray) -> float:
        """Median distance of a waypoint's `neighbours`-th nearest, or `max_steps` if that is given."""
        if self.config.max_steps or len(self) == 1:
            return self.config.max_steps or math.inf
        others = np.sort(np.where(np.eye(len(self), dtype=bool), np.inf, steps), axis=1)
        return float(np.median(others[:, min(self.config.neighbours, len(self) - 1) - 1]))


class PlanningPolicy:
    """A Policy that goes to far goals by way of a graph's waypoints; the same interface.

    It plans anew at every decision, which costs one batch of N + 1 values: a waypoint kept for longer would be missed
    or passed unnoticed, since Q knows no exact "reached". What was pursued for `patience` decisions of an episode is
    not pursued again in it: where an edge is wrong (Q sees through a wall), the same plan would be made for ever. Only
    towards the goal itself it may terminate. A goal of zeros stands for a task reward and is not planned for.
    """

    def __init__(self, policy: Policy, graph: WaypointGraph):
        self.policy, self.graph = policy, graph
        self.network, self.meta, self.device = policy.network, policy.meta, policy.device
        self.image_size, self.action_space = policy.image_size, policy.action_space
        self._onward = copy.copy(policy)  # with the same random numbers, which `reset` begins anew
        self._onward.cem = replace(policy.cem, terminate=False)
        self._goal: np.ndarray | None = None
        self._steps_to_goal = np.zeros(len(graph))
        self._pursued = np.zeros(len(graph), np.int64)  # decisions of this episode

    def reset(self, seed: int) -> None:
        """Start a new episode: the random numbers of the search begin anew from `seed`."""
        self.policy.reset(seed)
        self._pursued[:] = 0

    def __call__(self, observation: ArrayLike, goal: ArrayLike, state: ArrayLike | None = None) -> np.ndarray:
        """The displacement [D], as Policy."""
        return self.choose(observation, goal, state).vector[: self.network.config.displacements]

    def act(self, image: np.ndarray, goal_image: np.ndarray, state: np.ndarray) -> PlannedDecision:
        """Choose the robot's action, as Policy; the time includes the planning."""
        began = time.perf_counter()
        choice = self.choose(image, goal_image, state)
        action, ms = self.action_space.from_vector(choice.vector), (time.perf_counter() - began) * 1e3
        return PlannedDecision(action, choice.q_value, ms, choice.waypoint, choice.steps_left)

    def choose(self, observation: ArrayLike, goal: ArrayLike, state: ArrayLike | None = None) -> PlannedChoice:
        """The best action towards the goal, or towards the next waypoint on the way; raises what Policy raises."""
        waypoint, steps_left = None, math.inf
        if self._fits(observation, goal, state) and np.any(goal):  # the policy refuses others in its own words
            kind = self.graph.observations.dtype
            goal_array = np.asarray(goal, kind)
            if self._goal is None or not np.array_equal(goal_array, self._goal):
                self._goal, self._steps_to_goal = goal_array.copy(), self.graph.steps_to(goal_array)
                self._pursued[:] = 0
            left = np.where(self._pursued < self.graph.config.patience, self._steps_to_goal, np.inf)
            seen = np.zeros(STATE_DIM, np.float32) if state is None else np.asarray(state, np.float32)
            waypoint, steps_left = self.graph.plan(np.asarray(observation, kind), seen, goal_array, left)
        if waypoint is None:
            choice = self.policy.choose(observation, goal, state)
        else:
            self._pursued[waypoint] += 1
            choice = self._onward.choose(observation, self.graph.observations[waypoint], state)
        return PlannedChoice(choice.vector, choice.q_value, waypoint, steps_left)

    def _fits(self, observation: ArrayLike, goal: ArrayLike, state: ArrayLike | None) -> bool:
        shape = self.network.config.observation_shape
        return np.shape(observation) == shape == np.shape(goal) and (state is None or np.shape(state) == (STATE_DIM,))


def plan_through(policy: Policy, folder: Folder, config: PlanConfig = PlanConfig()) -> PlanningPolicy:
    """A policy that plans through the replay store in `folder`, or in `folder/replay` as a training leaves it."""
    folder = Path(folder)
    found = next((f for f in (folder, folder / "replay") if (f / "store.json").exists()), None)
    if found is None:
        raise AmRosError(f"{folder}: holds no replay store to plan through, neither itself nor in replay/")
    return PlanningPolicy(policy, WaypointGraph(policy, ReplayStore.open(found), config))


def draw_rows(store: ReplayStore, count: int, seed: int = 0) -> np.ndarray:
    """`count` rows of a store, or all it has: one of every episode before a second of any, at any of its steps.

    The last ones are not preferred: ways lead through the middle of episodes, and few end where others pass.
    """
    if not store.rows:
        raise AmRosError(f"{store.folder}: the replay store holds no observation to plan through")
    order = np.random.default_rng(seed).permutation(store.rows)
    grouped = np.argsort(store.first_row[order], kind="stable")
    episode = store.first_row[order][grouped]
    turn = np.empty(store.rows, np.int64)
    turn[grouped] = np.arange(store.rows) - np.searchsorted(episode, episode)
    return np.sort(order[np.argsort(turn, kind="stable")[:count]])


def shortest_paths(edges: np.ndarray) -> np.ndarray:
    """Lengths [N, N] of the shortest paths along edges [N, N] (Floyd and Warshall); zeros on the diagonal.

    Nearly every pair may have an edge, so nothing is gained by a sparse search, nor by a library for these lines.
    """
    lengths = edges.copy()
    np.fill_diagonal(lengths, 0.0)
    for via in range(len(lengths)):
        np.minimum(lengths, lengths[:, via, None] + lengths[via], out=lengths)
    return lengths

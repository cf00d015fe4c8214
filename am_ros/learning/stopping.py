"""When to stop: how high the sum of Q of terminating over an episode has to be, from episodes of the data.

A policy whose cloning head decides with Q ends nearly no episode, and a level set by hand fits one training alone. Here
the goal is an observation of an episode, and the same episode is walked through: a step is at the goal if the tool is
where the goal's is (Sampler.near), and to stop at any other step is wrong. The level is the lowest at which at most
`wrong_share` of the walks are ended wrongly.
"""

from dataclasses import dataclass

import numpy as np
import torch

from am_ros.learning.networks import QNetwork
from am_ros.learning.trainer_config import LearnerConfig
from am_ros.replay.sampling import NEAR_STEPS, GoalConfig, Sampler, is_held_out
from am_ros.replay.store import ReplayStore

WRONG_SHARE = 0.02  # of the walks ended away from their goal
LEAST_ENDED = 0.05  # a level that ends fewer of the walks at their goal is of no use
WALKS, PAIRS_AT_ONCE = 200, 256
LEVELS = np.geomspace(2.0, 0.05, 75)  # tried from above: 5 % apart


@dataclass(frozen=True)
class StopRule:
    """The level, and what it gave on the walks that it was chosen by. `stop_sum` 0: no level is of use."""

    stop_sum: float
    ended_share: float  # of the walks that come to their goal: those ended there
    wrong_share: float  # of all walks: those ended before
    walks: int
    held_out: bool  # whether the training never saw those episodes

    def __str__(self) -> str:
        seen = "held-out" if self.held_out else "training"
        return (
            f"stop_sum {self.stop_sum:.3f}: of {self.walks} walks of {seen} episodes, {self.ended_share:.0%} of those "
            f"that come to their goal end there, {self.wrong_share:.1%} end elsewhere"
        )


def teaches_stopping(config: LearnerConfig) -> bool:
    """Whether Q of terminating at a goal is learned at all."""
    return config.method.method == "actionable_models" and config.method.terminates and config.goals.at_goal_share > 0


def calibrate(
    network: QNetwork,
    store: ReplayStore,
    goals: GoalConfig,
    walks: int = WALKS,
    wrong_share: float = WRONG_SHARE,
    seed: int = 0,
) -> StopRule:
    """The rule for a network in evaluation, from the held-out episodes, or from all if none are held out."""
    held_out = goals.held_out_share > 0 and any(is_held_out(e["id"], goals.held_out_share) for e in store.episodes)
    rows, goal, walk = draw_walks(store, goals.held_out_share if held_out else 0.0, walks, seed)
    at_goal = Sampler(store, goals, 1, seed, held_out=held_out).near(rows, goal)
    q = q_of_terminating(network, store, rows, goal)
    return choose_level(q, at_goal, walk, wrong_share, held_out)


def draw_walks(
    store: ReplayStore, held_out_share: float, walks: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of observations, rows of their goals and the number of their walk, each int64 [N].

    Half of the goals are the last observation of their episode, the others any. A walk ends beside its goal. The goal
    itself is left out: a camera never sees its very picture again.
    """
    rng = np.random.default_rng(seed)
    episodes = [
        e for e in store.episodes if e["steps"] > 1 and (not held_out_share or is_held_out(e["id"], held_out_share))
    ]
    if not episodes:
        return (np.zeros(0, np.int64),) * 3
    rows, goals, numbers = [], [], []
    for number in range(walks):
        episode = episodes[rng.integers(len(episodes))]
        first, last = episode["first"], episode["first"] + episode["steps"]
        goal = last if rng.random() < 0.5 else int(rng.integers(first + 1, last + 1))
        walked = np.setdiff1d(np.arange(first, min(last, goal + NEAR_STEPS) + 1), [goal])
        rows.append(walked)
        goals.append(np.full(len(walked), goal))
        numbers.append(np.full(len(walked), number))
    return np.concatenate(rows), np.concatenate(goals), np.concatenate(numbers)


@torch.no_grad()
def q_of_terminating(network: QNetwork, store: ReplayStore, rows: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """Q of terminating at observations `rows` for the goals `goals`, float32 [N]."""
    device = next(network.parameters()).device
    terminate = torch.zeros(1, 1, store.action_dim, device=device)
    terminate[..., -1] = 1
    parts = []
    for start in range(0, len(rows), PAIRS_AT_ONCE):
        some = slice(start, start + PAIRS_AT_ONCE)
        arrays = store.observations[rows[some]], store.observations[goals[some]], store.states[rows[some]]
        encoding = network.encode(*(torch.from_numpy(np.ascontiguousarray(a)).to(device) for a in arrays))
        actions = terminate.expand(len(arrays[0]), 1, -1)
        parts.append(network.score(encoding, actions).float().sigmoid().squeeze(1).cpu().numpy())
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def choose_level(
    q: np.ndarray, at_goal: np.ndarray, walk: np.ndarray, wrong_share: float, held_out: bool = True
) -> StopRule:
    """The lowest level from which on at most `wrong_share` of the walks end wrongly: Q [N], bool [N], walks [N].

    The steps of a walk are in their order. Q that is not a number adds nothing.
    """
    count = int(walk.max(initial=-1)) + 1
    comes = np.unique(walk[at_goal])  # the walks that are at their goal at some step
    q = np.nan_to_num(q, nan=0.0)
    sums = np.cumsum(q) - np.repeat(*_before(q, walk)) if len(q) else q
    best = StopRule(0.0, 0.0, 0.0, count, held_out)
    for level in LEVELS:
        over = np.flatnonzero(sums >= level)
        first = np.unique(walk[over], return_index=True)[1]
        right = at_goal[over[first]]
        wrong, well = float((~right).sum()) / max(1, count), float(right.sum()) / max(1, len(comes))
        if wrong > wrong_share:
            break
        if well >= LEAST_ENDED:
            best = StopRule(float(level), well, wrong, count, held_out)
    return best


def _before(q: np.ndarray, walk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sum of Q before each walk, and how many steps it has."""
    _, first, steps = np.unique(walk, return_index=True, return_counts=True)
    return np.concatenate([[0.0], np.cumsum(q)])[first], steps

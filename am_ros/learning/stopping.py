"""When to stop: how high Q of terminating, or its sum over an episode, has to be, from episodes of the data.

A policy whose cloning head decides with Q ends nearly no episode, and a level set by hand fits one training alone. Here
the goal is an observation of an episode, and the same episode is walked through: a step is at the goal if the tool is
where the goal's is (Sampler.near), and to stop at any other step is wrong. A level is the lowest at which at most
`wrong_share` of the walks are ended wrongly; of the level of Q and that of its sum, the one that ends more walks at
their goal is taken. Nothing else ends an episode then.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from am_ros.episode import STATE_NAMES
from am_ros.learning.networks import QNetwork
from am_ros.learning.trainer_config import LearnerConfig
from am_ros.replay.alike import POSITION
from am_ros.replay.sampling import NEAR_STEPS, GoalConfig, Sampler, is_held_out
from am_ros.replay.store import ReplayStore

WRONG_SHARE = 0.02  # of the walks ended away from their goal
LEAST_ENDED = 0.05  # a level that ends fewer of the walks at their goal is of no use
OPENING = STATE_NAMES.index("gripper_opening")
WALKS, PAIRS_AT_ONCE = 200, 256
LEVELS = np.geomspace(20.0, 0.05, 123)  # of the sum, tried from above: 5 % apart; a goal may last twenty steps
Q_LEVELS = np.linspace(0.99, 0.05, 95)  # of a single Q


@dataclass(frozen=True)
class StopRule:
    """The level, and what it gave on the walks that it was chosen by. Both 0: no level is of use."""

    stop_sum: float
    ended_share: float  # of the walks that come to their goal: those ended there
    wrong_share: float  # of all walks: those ended before
    walks: int
    held_out: bool  # whether the training never saw those episodes
    played: bool = False  # whether they are trials of the policy
    stop_q: float = 0.0  # if a level of a single Q is better than any of the sum
    stop_alone: bool = True  # as CemConfig has it

    def __str__(self) -> str:
        walks = "trials" if self.played else f"walks of {'held-out' if self.held_out else 'training'} episodes"
        if not (self.stop_q or self.stop_sum):
            return (
                f"no rule, from {self.walks} {walks}: no level of Q ends at least {LEAST_ENDED:.0%} of those that come "
                "to their goal there, and few enough elsewhere; the search alone chooses to terminate"
            )
        level = f"stop_q {self.stop_q:.2f}" if self.stop_q else f"stop_sum {self.stop_sum:.3f}"
        return (
            f"{level}: of {self.walks} {walks}, {self.ended_share:.0%} of those "
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
    all_new: bool = False,
) -> StopRule:
    """The rule for a network in evaluation, from the held-out episodes, or from all if none are held out.

    `all_new`: the training saw none of the store's episodes, so all are taken.
    """
    held_out = goals.held_out_share > 0 and any(is_held_out(name, goals.held_out_share) for name in store.ids())
    rows, goal, walk = draw_walks(store, goals.held_out_share if held_out and not all_new else 0.0, walks, seed)
    at_goal = Sampler(store, replace(goals, held_out_share=0.0, reward_share=0.0), 1, seed).near(rows, goal)
    on_the_way = (rows < goal) | at_goal  # what the data did after its goal was for another one
    rows, goal, walk, at_goal = (x[on_the_way] for x in (rows, goal, walk, at_goal))
    away = ~(at_goal | _beside(store, rows, goal, goals.near_goal_m))
    q = q_of_terminating(network, store, rows, goal)
    return choose_level(q, at_goal, walk, wrong_share, held_out or all_new, away)


def _beside(store: ReplayStore, rows: np.ndarray, goals: np.ndarray, near_m: float) -> np.ndarray:
    """Whether the tool is within twice `near_m` of the goal's, with the same gripper: to stop there is not wrong."""
    a, b = store.states[rows], store.states[goals]
    near: np.ndarray = np.linalg.norm(a[:, POSITION] - b[:, POSITION], axis=1) < 2 * near_m
    near &= (np.abs(a[:, OPENING] - b[:, OPENING]) < 0.1) & a.any(axis=1)
    return near


def draw_walks(
    store: ReplayStore, held_out_share: float, walks: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of observations, rows of their goals and the number of their walk, each int64 [N].

    At most two walks an episode: to its last observation, and to any other. A walk ends beside its goal. The goal
    itself is left out: a camera never sees its very picture again.
    """
    rng = np.random.default_rng(seed)
    chosen = store.steps > 1
    if held_out_share:
        chosen &= np.array([is_held_out(name, held_out_share) for name in store.ids()], bool)
    firsts, lasts = store.first[chosen], (store.first + store.steps)[chosen]
    if not len(firsts):
        return (np.zeros(0, np.int64),) * 3
    rows, goals, numbers = [], [], []
    for number, which in enumerate(rng.permutation(2 * len(firsts))[:walks].tolist()):
        first, last = int(firsts[which % len(firsts)]), int(lasts[which % len(firsts)])
        goal = last if which < len(firsts) else int(rng.integers(first + 1, last))
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
    q: np.ndarray,
    at_goal: np.ndarray,
    walk: np.ndarray,
    wrong_share: float,
    held_out: bool = True,
    away: np.ndarray | None = None,
) -> StopRule:
    """The rule that ends most walks at their goal and at most `wrong_share` of all wrongly: Q [N], bool [N], walks [N].

    The steps of a walk are in their order. To end at a step `away` from the goal is wrong, bool [N]; None: wherever it
    is not at the goal. Q that is not a number adds nothing.
    """
    away = ~at_goal if away is None else away
    count = int(walk.max(initial=-1)) + 1
    comes = np.unique(walk[at_goal])  # the walks that are at their goal at some step
    q = np.nan_to_num(q, nan=0.0)
    sums = np.cumsum(q) - np.repeat(*_before(q, walk)) if len(q) else q
    best = StopRule(0.0, 0.0, 0.0, count, held_out)
    for values, levels in ((sums, LEVELS), (q, Q_LEVELS)):
        rule = None
        for level in levels:
            over = np.flatnonzero(values >= level)
            first = np.unique(walk[over], return_index=True)[1]
            ends = over[first]  # where each walk ends that does
            wrong, well = float(away[ends].sum()) / max(1, count), float(at_goal[ends].sum()) / max(1, len(comes))
            if wrong > wrong_share:
                break
            if well >= LEAST_ENDED:
                rule = StopRule(0.0, well, wrong, count, held_out)
                rule = replace(rule, stop_q=float(level)) if values is q else replace(rule, stop_sum=float(level))
        if rule is not None and rule.ended_share > best.ended_share:
            best = rule
    return best


def _before(q: np.ndarray, walk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sum of Q before each walk, and how many steps it has."""
    _, first, steps = np.unique(walk, return_index=True, return_counts=True)
    return np.concatenate([[0.0], np.cumsum(q)])[first], steps

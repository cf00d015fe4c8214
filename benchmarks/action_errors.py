"""How far a checkpoint's actions are from the demonstrators', on episodes it has not seen: in seconds of CPU time.

    python benchmarks/action_errors.py runs/speedrun/pick_place/best_3min/0/checkpoint --data runs/speed_pick_place

Of successful episodes: a transition, and as its goal the last observation of its episode. Each checkpoint is asked in
each way in which it can act (am_ros/evaluation/ways.py). Demonstrators are noisy, so no error is zero; what counts are
differences between checkpoints, on the same items. It ranks ideas before trials do, and replaces none. With episodes
of the expert alone (`vector_study.py collect --random-share 0 --lift-share 0 --expert-share 1 --seed 77`) it says
how far Q's best action is from the expert's.

`q_seen` is mean Q of the demonstrators' actions, `q_beside` that of actions moved by so much along one displacement: a
Q that hardly falls there has nothing to be precise by.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

from am_ros.action import CONTINUOUS_DIM, TERMINATE, ActionSpace
from am_ros.evaluation.ways import ways_to_act
from am_ros.learning.policy import Policy
from am_ros.replay.store import ReplayStore

CHUNK = 64  # items per search
BESIDE = (0.05, 0.15, 0.3, 0.6)  # of displacements [normalised]; 0.1 is 8 mm, or 0.05 rad


def items(store: ReplayStore, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of `count` transitions that move, of successful episodes, and the rows of their goals."""
    rows = store.transition_rows[store.successful[store.transition_rows]]
    rows = rows[store.actions[rows, TERMINATE] < 0.5]
    rows = np.sort(np.random.default_rng(seed).choice(rows, min(count, len(rows)), replace=False))
    return rows, store.last_row[rows]


def errors(policy: Policy, store: ReplayStore, rows: np.ndarray, goals: np.ndarray) -> dict:
    """Distances [cm] of the chosen displacements to those of the data, level ones and turns [rad] apart (median and
    80 %); how often the choice agrees; Q of the chosen and the seen actions, and beside those."""
    chosen, beside = [], []
    for begin in range(0, len(rows), CHUNK):
        i, j = rows[begin : begin + CHUNK], goals[begin : begin + CHUNK]
        chosen += policy.choose_batch(store.observations[i], store.observations[j], store.states[i])
        beside.append(q_beside(policy, store, i, j))
    vectors, seen = np.array([c.vector for c in chosen]), store.actions[rows]
    reach_cm = 100 * np.array(ActionSpace().max_translation_m)
    distance = np.linalg.norm((vectors - seen)[:, :3] * reach_cm, axis=1)
    agrees = vectors[:, CONTINUOUS_DIM:].argmax(axis=1) == seen[:, CONTINUOUS_DIM:].argmax(axis=1)
    level_cm = np.hypot(*(vectors - seen)[:, :2].T * reach_cm[:2, None])
    turn_rad = np.abs(vectors - seen)[:, CONTINUOUS_DIM - 1] * ActionSpace().max_rotation_rad
    beside = np.concatenate(beside).mean(axis=0, dtype=float).round(3).tolist()
    return {
        "mean_cm": round(float(distance.mean()), 2),
        "median_cm": round(float(np.median(distance)), 2),
        "level_cm": np.quantile(level_cm, (0.5, 0.8)).round(2).tolist(),
        "turn_rad": np.quantile(turn_rad, (0.5, 0.8)).round(3).tolist(),
        "choice_agrees": round(float(agrees.mean()), 3),
        "q": round(float(np.mean([c.q_value for c in chosen])), 3),
        "q_seen": beside[0],
        "q_beside": beside[1:],
    }


@torch.no_grad()
def q_beside(policy: Policy, store: ReplayStore, rows: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """Q [N, 1 + len(BESIDE)] of the seen actions, and of those moved by BESIDE along an axis: means over directions."""
    inputs = store.observations[rows], store.observations[goals], store.states[rows]
    encoding = policy.network.encode(*(torch.from_numpy(np.array(x)) for x in inputs))
    directions = np.concatenate([np.eye(CONTINUOUS_DIM), -np.eye(CONTINUOUS_DIM)])
    offsets = np.zeros((1 + len(BESIDE), len(directions), store.action_dim), np.float32)
    offsets[1:, :, :CONTINUOUS_DIM] = np.multiply.outer(BESIDE, directions)
    actions = store.actions[rows][:, None] + offsets.reshape(1, -1, store.action_dim)
    q = policy.network.score(encoding, torch.from_numpy(actions)).float().sigmoid()
    means: np.ndarray = q.view(len(rows), len(offsets), -1).mean(dim=2).numpy()
    return means


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="a replay store of other episodes")
    parser.add_argument("--items", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    store = ReplayStore.open(a.data)
    rows, goals = items(store, a.items, a.seed)
    for folder in a.checkpoints:
        policy = Policy.load(folder)
        method, has_head = policy.meta["config"]["method"]["method"], policy.network.config.behaviour_prior
        for way, search in ways_to_act(policy.cem, method, has_head).items():
            found = errors(Policy.load(folder, **dict(search)), store, rows, goals)
            print(json.dumps({"checkpoint": str(folder), "way": way, "items": len(rows), **found}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

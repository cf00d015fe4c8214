"""How far a checkpoint's actions are from the demonstrators', on episodes it has not seen: in seconds of CPU time.

    python benchmarks/action_errors.py runs/speedrun/pick_place/best_3min/0/checkpoint --data runs/speed_pick_place

Of successful episodes: a transition, and as its goal the last observation of its episode. Each checkpoint is asked in
each way in which it can act (am_ros/evaluation/ways.py). Demonstrators are noisy, so no error is zero; what counts are
differences between checkpoints, on the same items. It ranks ideas before trials do, and replaces none.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from am_ros.action import CONTINUOUS_DIM, TERMINATE, ActionSpace
from am_ros.evaluation.ways import ways_to_act
from am_ros.learning.policy import Policy
from am_ros.replay.store import ReplayStore

CHUNK = 64  # items per search


def items(store: ReplayStore, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of `count` transitions that move, of successful episodes, and the rows of their goals."""
    rows = store.transition_rows[store.successful[store.transition_rows]]
    rows = rows[store.actions[rows, TERMINATE] < 0.5]
    rows = np.sort(np.random.default_rng(seed).choice(rows, min(count, len(rows)), replace=False))
    return rows, store.last_row[rows]


def errors(policy: Policy, store: ReplayStore, rows: np.ndarray, goals: np.ndarray) -> dict[str, float]:
    """Mean and median distance [cm] of the chosen displacements to those of the data; how often the choice agrees."""
    chosen = []
    for begin in range(0, len(rows), CHUNK):
        i, j = rows[begin : begin + CHUNK], goals[begin : begin + CHUNK]
        chosen += policy.choose_batch(store.observations[i], store.observations[j], store.states[i])
    vectors, seen = np.array([c.vector for c in chosen]), store.actions[rows]
    reach_cm = 100 * np.array(ActionSpace().max_translation_m)
    distance = np.linalg.norm((vectors - seen)[:, :3] * reach_cm, axis=1)
    agrees = vectors[:, CONTINUOUS_DIM:].argmax(axis=1) == seen[:, CONTINUOUS_DIM:].argmax(axis=1)
    return {
        "mean_cm": round(float(distance.mean()), 2),
        "median_cm": round(float(np.median(distance)), 2),
        "choice_agrees": round(float(agrees.mean()), 3),
        "q": round(float(np.mean([c.q_value for c in chosen])), 3),
    }


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

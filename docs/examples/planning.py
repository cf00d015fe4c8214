"""Goal chaining by planning: places behind a wall that no recorded walk goes round, by way of what was seen.

    python docs/examples/planning.py                          # three seeds: about 6 minutes on one core
    python docs/examples/planning.py --seeds 1 --updates 500  # a quick look

The walks have five steps, the way round the wall has more. Trained without and with random goals (goal chaining by
learning, section 4.2 of the paper), then tried as it is and with planning (am_ros/learning/planning.py).
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from point_mass import REACHED, STEP  # the other example in this folder

from am_ros.learning.networks import NetworkConfig
from am_ros.learning.planning import PlanConfig, PlanningPolicy, WaypointGraph
from am_ros.learning.policy import Policy
from am_ros.learning.trainer import Trainer
from am_ros.learning.trainer_config import LearnerConfig, TrainerConfig
from am_ros.replay.sampling import GoalConfig
from am_ros.replay.store import ReplayStore

LEFT, RIGHT, TOP = 0.35, 0.65, 0.6  # a wall too thick to be crossed in one step; the way round it is over its top


def in_wall(place: np.ndarray) -> bool:
    """Whether a place is in the wall."""
    return LEFT < place[0] < RIGHT and place[1] < TOP


def move(place: np.ndarray, action: np.ndarray) -> np.ndarray:
    """One step in the unit square; who would enter the wall, or cut its corner, stays where he is."""
    new = np.clip(place + STEP * np.clip(action, -1, 1), 0, 1)
    return place if in_wall(new) or in_wall((place + new) / 2) else new


def short_walks(episodes: int, steps: int, seed: int = 0):
    """Observations [N, 2], actions [N, 2], episode ends [N]: aimless walks from anywhere, as in point_mass.py."""
    rng = np.random.default_rng(seed)
    observations, actions = [], []
    for _ in range(episodes):
        place, heading = rng.random(2), rng.uniform(-1, 1, 2)
        while in_wall(place):
            place = rng.random(2)
        for _ in range(steps + 1):
            heading = rng.uniform(-1, 1, 2) if rng.random() < 0.3 else heading
            observations.append(place)
            actions.append(heading)
            place = move(place, heading)
    return np.array(observations), np.array(actions), np.arange(len(observations)) % (steps + 1) == steps


def success_behind_the_wall(policy, trials: int, seed: int = 1) -> float:
    """Share of trials from one side of the wall to the other that come within 0.1 of the goal in 25 steps."""
    rng, reached = np.random.default_rng(seed), 0
    for trial in range(trials):
        left, right = (rng.uniform((0, 0), (0.3, 0.4)) for _ in range(2))
        right[0] = 1 - right[0]
        place, goal = (left, right) if trial % 2 else (right, left)
        policy.reset(trial)
        for _ in range(25):
            place = move(place, policy(place, goal))
            if np.linalg.norm(place - goal) < REACHED:
                reached += 1
                break
    return reached / trials


def learn(folder, random_share: float, seed: int = 0, updates: int = 2000) -> tuple[Policy, ReplayStore]:
    """A policy whose Q alone judges, and the walks it learned from."""
    config = LearnerConfig(
        network=NetworkConfig(preset="state", observation_size=2, displacements=2, width=128),
        goals=GoalConfig(random_share=random_share),
        trainer=TrainerConfig(updates=updates, batch_size=256, learning_rate=2e-3, warmup_updates=50, seed=seed),
    )
    store = ReplayStore.from_arrays(Path(folder) / "replay", *short_walks(4000, steps=5, seed=seed))
    Trainer(config, folder).fit(store)
    # A trial ends by itself, so nothing has to terminate.
    return Policy.load(Path(folder) / "checkpoint", terminate=False, prior_weight=0.0), store


def compare(policy: Policy, store: ReplayStore, trials: int = 50, waypoints: int = 200) -> dict[str, float]:
    """Success rates behind the wall: the policy as it is, and planning with the same weights."""
    planning = PlanningPolicy(policy, WaypointGraph(policy, store, PlanConfig(waypoints)))
    return {name: success_behind_the_wall(p, trials) for name, p in (("plain", policy), ("planning", planning))}


def main(updates: int = 2000, seeds: int = 3) -> None:
    """Print the table, a line per random share and seed."""
    print("| random goals | seed | plain | planning |\n|---|---|---|---|")
    for random_share in (0.0, 0.3):
        for seed in range(seeds):
            with tempfile.TemporaryDirectory() as folder:
                rates = compare(*learn(folder, random_share, seed, updates))
            print(f"| {random_share:.0%} | {seed} | {rates['plain']:.0%} | {rates['planning']:.0%} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    main(arguments.updates, arguments.seeds)

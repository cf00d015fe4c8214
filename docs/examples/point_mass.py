"""Learn from aimless walks to reach any place of a room with a wall: arrays in, a policy out, no ROS and no simulator.

    python docs/examples/point_mass.py                # less than a minute on one core
    python docs/examples/point_mass.py --updates 300  # a quick look
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from am_ros.learning.networks import NetworkConfig
from am_ros.learning.policy import Policy
from am_ros.learning.trainer import Trainer
from am_ros.learning.trainer_config import LearnerConfig, TrainerConfig
from am_ros.replay.store import ReplayStore

STEP, REACHED = 0.15, 0.1
WALL_X, DOOR_Y = 0.5, 0.5  # a wall from y = 0 up to a door, which is the upper half


def move(place: np.ndarray, action: np.ndarray) -> np.ndarray:
    """One step in the unit square; who would cross the wall stays where he is."""
    new = np.clip(place + STEP * np.clip(action, -1, 1), 0, 1)
    crosses = (place[0] - WALL_X) * (new[0] - WALL_X) <= 0 and min(place[1], new[1]) < DOOR_Y
    return place if crosses else new


def free_place(rng) -> np.ndarray:
    """A place that is not in the wall."""
    place = rng.random(2)
    return place if abs(place[0] - WALL_X) > 0.02 else free_place(rng)


def aimless_walks(episodes: int, steps: int, seed: int = 0):
    """Observations [N, 2], actions [N, 2], episode ends [N]: walks that keep a direction for a while."""
    rng = np.random.default_rng(seed)
    observations, actions, ends = [], [], []
    for _ in range(episodes):
        place, heading = free_place(rng), rng.uniform(-1, 1, 2)
        for step in range(steps + 1):
            heading = rng.uniform(-1, 1, 2) if rng.random() < 0.3 else heading
            observations.append(place)
            actions.append(heading)
            ends.append(step == steps)
            place = move(place, heading)
    return np.array(observations), np.array(actions), np.array(ends)


def success_rate(act, trials: int = 100, seed: int = 1) -> float:
    """Share of trials that come within 0.1 of the goal in 20 steps. `act(place, goal) -> action`."""
    rng, reached = np.random.default_rng(seed), 0
    for _ in range(trials):
        place, goal = free_place(rng), free_place(rng)
        for _ in range(20):
            if np.linalg.norm(place - goal) < REACHED:
                reached += 1
                break
            place = move(place, act(place, goal))
    return reached / trials


def main(updates: int = 2000, episodes: int = 1000, trials: int = 100) -> dict[str, float]:
    """Learn, print and return the success rates: of Q, of cloning (the same network's prior), of random actions."""
    config = LearnerConfig(
        network=NetworkConfig(preset="state", observation_size=2, displacements=2, width=128),
        trainer=TrainerConfig(updates=updates, batch_size=256, learning_rate=2e-3, warmup_updates=50),
    )
    with tempfile.TemporaryDirectory() as folder:
        store = ReplayStore.from_arrays(Path(folder) / "replay", *aimless_walks(episodes, steps=20))
        Trainer(config, folder).fit(store)
        actors = {
            # The prior proposes candidates, Q alone judges them. The walk ends by itself, so nothing has to terminate.
            "Q": Policy.load(Path(folder) / "checkpoint", terminate=False, prior_weight=0.0),
            "cloning": Policy.load(Path(folder) / "checkpoint", terminate=False, objective="prior"),
        }
    rng = np.random.default_rng(2)
    actors["chance"] = lambda place, goal: rng.uniform(-1, 1, 2)
    rates = {name: success_rate(act, trials) for name, act in actors.items()}
    shown = ", ".join(f"{name} {rate:.0%}" for name, rate in rates.items())
    print(f"{updates} updates on {len(store)} transitions; of {trials} goals reached: {shown}")
    return rates


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=2000)
    main(parser.parse_args().updates)

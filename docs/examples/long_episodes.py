"""Learn from long logs of vectors, as state-based benchmarks have them: no pictures, no outcome, no end.

    python docs/examples/long_episodes.py                    # a minute on one core
    python docs/examples/long_episodes.py --cpu-minutes 0.1  # a quick look

A puck slides over a table. Episodes have 1000 steps: something pushed it from one place to the next, and none of the
places was written down.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from am_ros.learning.policy import Policy
from am_ros.learning.recipes import find_recipe
from am_ros.learning.trainer import Trainer
from am_ros.replay.store import ReplayStore

STEPS, PUSH, FRICTION, REACHED = 1000, 0.02, 0.7, 0.08


def move(pucks: np.ndarray, pushes: np.ndarray) -> np.ndarray:
    """One step of pucks [B, 4], which are places in the unit square and velocities, under pushes [B, 2]."""
    velocity = FRICTION * pucks[:, 2:] + PUSH * np.clip(pushes, -1, 1)
    place = np.clip(pucks[:, :2] + velocity, 0, 1)
    return np.concatenate([place, place - pucks[:, :2]], axis=1)


def at_rest(rng: np.random.Generator, count: int) -> np.ndarray:
    """Pucks [count, 4] anywhere."""
    return np.concatenate([rng.random((count, 2)), np.zeros((count, 2))], axis=1)


def logs(episodes: int, seed: int = 0):
    """Observations [N, 4], actions [N, 2], episode ends [N]: pushed to a place, with noise, then to the next."""
    rng = np.random.default_rng(seed)
    pucks, places = at_rest(rng, episodes), rng.random((episodes, 2))
    seen, done = [pucks], []
    for _ in range(STEPS):
        arrived = np.linalg.norm(pucks[:, :2] - places, axis=1) < REACHED
        places = np.where(arrived[:, None], rng.random((episodes, 2)), places)
        wanted = (places - pucks[:, :2] - 2 * pucks[:, 2:]) / 0.1
        done.append(np.clip(wanted + rng.normal(0, 0.5, wanted.shape), -1, 1))
        pucks = move(pucks, done[-1])
        seen.append(pucks)
    observations = np.stack(seen, axis=1).reshape(-1, 4)
    actions = np.stack([*done, np.zeros((episodes, 2))], axis=1).reshape(-1, 2)
    return observations, actions, np.tile(np.arange(STEPS + 1) == STEPS, episodes)


def success_rate(act, trials: int = 100, seed: int = 1) -> float:
    """Share of trials that come within 0.08 of their goal in 60 steps. `act(pucks, goals) -> pushes`, all at once."""
    rng = np.random.default_rng(seed)
    pucks, goals = at_rest(rng, trials), at_rest(rng, trials)
    reached = np.zeros(trials, bool)
    for _ in range(60):
        pucks = move(pucks, act(pucks, goals))
        reached |= np.linalg.norm(pucks[:, :2] - goals[:, :2], axis=1) < REACHED
    return float(reached.mean())


def main(
    cpu_minutes: float = 1.0, episodes: int = 100, trials: int = 100, recipe: str = "q_alone", **changes
) -> dict[str, float]:
    """Learn, print and return the success rates. `changes` go to the recipe, as flags of `am-ros train` do."""
    config = find_recipe(
        recipe, preset="state", observation_size=4, displacements=2, width=128, batch_size=64, learning_rate=2e-3,
        warmup_updates=20, cpu_minutes=cpu_minutes, terminates=False, **{"hindsight_steps": 20.0, **changes},
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        store = ReplayStore.from_arrays(Path(folder) / "replay", *logs(episodes))
        progress = Trainer(config, folder).fit(store)
        policy = Policy.load(Path(folder) / "checkpoint", samples=64)
    rng = np.random.default_rng(2)
    rates = {
        recipe: success_rate(policy, trials),
        "chance": success_rate(lambda pucks, goals: rng.uniform(-1, 1, (len(pucks), 2)), trials),
    }
    shown = ", ".join(f"{name} {rate:.0%}" for name, rate in rates.items())
    print(f"{progress.update} updates, ended by {progress.ended}; of {trials} goals reached: {shown}")
    return rates


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpu-minutes", type=float, default=1.0)
    parser.add_argument("--recipe", default="q_alone", help="as of am-ros train")
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    main(a.cpu_minutes, recipe=a.recipe, seed=a.seed)

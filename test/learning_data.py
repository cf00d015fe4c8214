"""Small data for the tests of the learner: episodes of random pixels, and a world of one moving dot."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from am_ros.action import ACTION_DIM, CONTINUOUS_DIM, OPEN, TERMINATE
from am_ros.episode import STATE_DIM, Episode, EpisodeInfo, Outcome
from am_ros.learning.recipes import find_recipe
from am_ros.learning.trainer_config import LearnerConfig
from am_ros.replay.store import ReplayStore

# For tests of how a training goes, not of what it learns.
SMALL = {"image_size": 16, "width": 16, "channels": 4, "layers": 1, "random_shift_px": 0, "batch_size": 8}
CHUNK = {"warmup_updates": 1, "precision": "fp32", "threads": 1}


def random_episodes(count: int, steps: int, size: int) -> list[Episode]:
    """Episodes of random pixels and actions; number i is always the same."""
    episodes = []
    for i in range(count):
        rng = np.random.default_rng((i, steps, size))
        actions = np.zeros((steps, ACTION_DIM), np.float32)
        actions[:, :CONTINUOUS_DIM] = rng.uniform(-1, 1, (steps, CONTINUOUS_DIM))
        actions[np.arange(steps), CONTINUOUS_DIM + rng.integers(2, size=steps)] = 1
        pixels = rng.integers(0, 256, (steps + 1, size, size, 3), dtype=np.uint8)
        states = rng.normal(size=(steps + 1, STATE_DIM)).astype(np.float32)
        info = EpisodeInfo(f"e{i}_s{size}", task="noise")
        episodes.append(Episode(info, pixels, states, actions, np.arange(steps + 1) * 1_000_000))
    return episodes


def noise_store(folder: Path) -> ReplayStore:
    """Eight episodes of six pictures each, every second one a success."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 255, (48, 16, 16, 3), np.uint8)
    actions = rng.uniform(-1, 1, (48, 4)).astype(np.float32)
    states, outcomes = rng.uniform(-1, 1, (48, STATE_DIM)), np.arange(8) % 2 == 0
    return ReplayStore.from_arrays(folder, pictures, actions, np.arange(48) % 6 == 5, outcomes, states)


def small_recipe(name: str, updates: int = 4, **changes) -> LearnerConfig:
    """A recipe with a network that learns in milliseconds."""
    return find_recipe(name, **{**SMALL, **CHUNK, "updates": updates, **changes})


class DotWorld:
    """A bright dot on a dark square; an action moves it by up to a quarter of the square along x and y."""

    size, reach = 16, 4.0

    def __init__(self, rng):
        self.rng = rng
        self.position = rng.uniform(2, self.size - 3, 2)

    def image(self) -> np.ndarray:
        """uint8 [16, 16, 3]: a blurred dot."""
        axis = np.arange(self.size)
        blob = np.exp(-0.5 * ((axis - self.position[1])[:, None] ** 2 + (axis - self.position[0]) ** 2) / 1.2**2)
        return np.repeat((20 + 220 * blob[..., None]).astype(np.uint8), 3, axis=2)

    def step(self, action) -> None:
        """Apply an action vector [7]."""
        self.position = np.clip(self.position + self.reach * np.asarray(action[:2]), 2, self.size - 3)

    @classmethod
    def episode(cls, seed: int, steps: int = 6) -> Episode:
        """An episode of random moves."""
        rng = np.random.default_rng(seed)
        world = cls(rng)
        images, actions = [world.image()], []
        for _ in range(steps):
            action = np.zeros(ACTION_DIM, np.float32)
            action[:CONTINUOUS_DIM] = rng.uniform(-1, 1, CONTINUOUS_DIM)
            action[OPEN] = 1
            world.step(action)
            images.append(world.image())
            actions.append(action)
        states = np.zeros((steps + 1, STATE_DIM), np.float32)
        stamps = np.arange(steps + 1) + 1_000 * (seed + 1)  # its own: stamps say which episode an image belongs to
        return Episode(EpisodeInfo(f"dot_{seed}"), np.array(images), states, np.array(actions), stamps)

    def in_corner(self) -> bool:
        """The task of `corner_episode`: the dot is in the corner at the top left."""
        return bool((self.position < 5).all())

    @classmethod
    def corner_episode(cls, seed: int, max_steps: int = 6) -> Episode:
        """Random moves until the dot is in the corner (success) or the steps are over (failure)."""
        episode, rng = cls.episode(seed, max_steps), np.random.default_rng(seed)
        world = cls(rng)
        steps = 0
        while steps < max_steps and not (steps and world.in_corner()):
            world.step(episode.actions[steps])
            steps += 1
        return Episode(
            replace(episode.info, outcome=Outcome.SUCCESS if world.in_corner() else Outcome.FAILURE),
            episode.images[: steps + 1], episode.states[: steps + 1], episode.actions[:steps],
            episode.stamps_ns[: steps + 1],
        )  # fmt: skip


__all__ = ["SMALL", "TERMINATE", "DotWorld", "noise_store", "random_episodes", "small_recipe"]

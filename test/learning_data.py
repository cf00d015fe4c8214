"""Small data for the tests of the learner: episodes of random pixels, and a world of one moving dot."""

from dataclasses import replace

import numpy as np

from am_ros.action import ACTION_DIM, CONTINUOUS_DIM, OPEN, TERMINATE
from am_ros.episode import STATE_DIM, Episode, EpisodeInfo, Outcome


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


__all__ = ["TERMINATE", "DotWorld", "random_episodes"]

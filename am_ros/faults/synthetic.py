"""Episodes that nobody acted: smooth pictures, random states and actions, the same ones for the same seed."""

import cv2
import numpy as np

from am_ros.action import ACTION_DIM, CONTINUOUS_DIM, OPEN, TERMINATE
from am_ros.episode import Episode, EpisodeInfo, Outcome, state_vector

START_NS = 1_750_000_000_123_456_789


def flip_bit(data: bytes, random: np.random.Generator) -> bytes:
    """The same bytes, but for one bit anywhere."""
    bit = int(random.integers(8 * len(data)))
    return data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]


def make_episode(episode_id: str = "e0", steps: int = 6, size: int = 64, seed: int = 0, period_ns: int = 400_000_000):
    """A smooth picture per step, which JPEG keeps nearly as it is; random states and actions; the last terminates."""
    rng = np.random.default_rng(seed)
    images = np.stack([_picture(rng, size) for _ in range(steps + 1)])
    states = np.stack(
        [state_vector(rng.uniform(-1, 1, 3), rng.uniform(-4, 4), rng.uniform()) for _ in range(steps + 1)]
    )
    actions = np.zeros((steps, ACTION_DIM), np.float32)
    actions[:, :CONTINUOUS_DIM] = rng.uniform(-1, 1, (steps, CONTINUOUS_DIM))
    actions[np.arange(steps), rng.integers(CONTINUOUS_DIM, OPEN + 1, steps)] = 1
    actions[-1] = 0
    actions[-1, TERMINATE] = 1
    info = EpisodeInfo(
        episode_id, "reach", "goal_1", "expert", seed, Outcome.SUCCESS, "terminated", {"note": "für C:\\x"}
    )
    start_ns = START_NS + seed * 1_000_000_000_000  # as if recorded a quarter of an hour after the one before
    return Episode(info, images, states, actions, start_ns + np.arange(steps + 1, dtype=np.int64) * period_ns)


def _picture(rng, size: int) -> np.ndarray:
    coarse = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)


def difference(first: Episode, second: Episode) -> str:
    """In what two episodes differ, or an empty string."""
    if first.info != second.info:
        return "info"
    for name in ("stamps_ns", "actions", "states", "images"):
        if not np.array_equal(getattr(first, name), getattr(second, name)):
            return name
    return ""

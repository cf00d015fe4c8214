"""A replay store of noise, and recipes small enough for it: for tests of how a training goes, not of what it learns."""

from pathlib import Path

import numpy as np

from am_ros.episode import STATE_DIM
from am_ros.learning.recipes import find_recipe
from am_ros.learning.trainer_config import LearnerConfig
from am_ros.replay.store import ReplayStore

SMALL = {"image_size": 16, "width": 16, "channels": 4, "layers": 1, "random_shift_px": 0, "batch_size": 8}
CHUNK = {"warmup_updates": 1, "precision": "fp32", "threads": 1}


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

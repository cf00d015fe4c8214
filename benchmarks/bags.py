"""Time to write and read episodes: `python benchmarks/bags.py`. Figures in docs come from here."""

import platform
import tempfile
import time
from pathlib import Path

import cv2
import mcap.writer
import numpy as np

from am_ros.action import CONTINUOUS_DIM, OPEN, ActionSpace
from am_ros.bags import writer
from am_ros.bags.episodes import read_episode, write_episode
from am_ros.bags.finder import find_bags
from am_ros.episode import Episode, EpisodeInfo, state_vector

EPISODES, STEPS = 200, 15


def make_episode(size: int) -> Episode:
    """Smooth random pictures with some noise: JPEGs of about the size of camera images."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (STEPS + 1, 8, 8, 3), dtype=np.uint8)
    images = np.stack([cv2.resize(c, (size, size), interpolation=cv2.INTER_CUBIC) for c in coarse])
    images = np.clip(images.astype(int) + rng.integers(-6, 7, images.shape), 0, 255).astype(np.uint8)
    actions = np.zeros((STEPS, 7), np.float32)
    actions[:, :CONTINUOUS_DIM] = rng.uniform(-1, 1, (STEPS, CONTINUOUS_DIM))
    actions[:, OPEN] = 1
    states = np.stack([state_vector(rng.uniform(-1, 1, 3), 0.3, 1.0)] * (STEPS + 1))
    return Episode(EpisodeInfo("e"), images, states, actions, np.arange(1, STEPS + 2, dtype=np.int64) * 10**9)


def measure(size: int, compression: mcap.writer.CompressionType, durable: bool, episodes: int) -> None:
    """Print one line."""
    writer.CompressionType = type("Chosen", (), {"LZ4": compression})
    space, episode = ActionSpace(), make_episode(size)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        write_ms, read_ms = [], []
        for i in range(episodes):
            began = time.perf_counter()
            bag = write_episode(episode.with_info(episode_id=f"e{i}"), folder, space, durable)
            written = time.perf_counter()
            read_episode(bag, space)
            write_ms.append((written - began) * 1e3)
            read_ms.append((time.perf_counter() - written) * 1e3)
        began = time.perf_counter()
        found = len(find_bags(folder))
        find_us = (time.perf_counter() - began) / found * 1e6
        size_kb = sum(file.stat().st_size for file in bag.iterdir()) / 1e3
    print(
        f"{size:4} px  {compression.name.lower():4}  {'fsync' if durable else 'quick'}  "
        f"write {np.median(write_ms):6.2f} ms  read {np.median(read_ms):6.2f} ms  {size_kb:7.1f} kB  "
        f"find {find_us:4.0f} us per bag"
    )


def main() -> None:
    print(f"{STEPS} steps per episode, {platform.machine()}, Python {platform.python_version()}")
    for compression in mcap.writer.CompressionType:
        measure(64, compression, durable=False, episodes=EPISODES)
        measure(472, compression, durable=False, episodes=EPISODES // 10)
    measure(64, mcap.writer.CompressionType.LZ4, durable=True, episodes=EPISODES)


if __name__ == "__main__":
    main()

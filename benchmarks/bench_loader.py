"""Images per second of the loader alone, against what this machine copies from memory to memory.

python benchmarks/bench_loader.py [--image-size PX] [--batch-size N] [--threads N] [--batches N] [--json FILE]

A batch has three images per item. The least that a loader can do is to read each once and write it once: that is a
copy, so the copies of a block of the same size, by as many threads, are the limit. Loader and copies take turns, and
medians are shown, so that whatever else the machine does meets both. The store is random pixels, warm in memory.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from output import output_file

from am_ros.learning.loader import to_tensors
from am_ros.replay.gather import Gather
from am_ros.replay.sampling import GoalConfig, Sampler
from am_ros.replay.store import ReplayStore


def random_store(folder: Path, image_size: int, rows: int) -> ReplayStore:
    """Episodes of 20 steps with random pixels."""
    rng = np.random.default_rng(0)
    rows = max(21, rows // 21 * 21)
    pixels = rng.integers(0, 256, (rows, image_size, image_size, 3), dtype=np.uint8)
    return ReplayStore.from_arrays(folder, pixels, rng.uniform(-1, 1, (rows, 4)), np.arange(rows) % 21 == 20)


class Copies:
    """Copies as many bytes as a batch holds, from as many threads."""

    def __init__(self, shape: tuple[int, ...], threads: int):
        self._source, self._target = np.ones(shape, np.uint8), np.ones(shape, np.uint8)
        self._parts = np.array_split(np.arange(len(self._source)), threads)
        self._pool = ThreadPoolExecutor(threads)

    def __call__(self) -> None:
        list(self._pool.map(self._copy, [(part[0], part[-1] + 1) for part in self._parts if len(part)]))

    def _copy(self, part: tuple[int, int]) -> None:
        np.copyto(self._target[slice(*part)], self._source[slice(*part)])


def measure(arguments: argparse.Namespace) -> dict:
    """Medians of the ways, each in seconds per batch of wall and of CPU time."""
    size, batch, threads = arguments.image_size, arguments.batch_size, arguments.threads
    with tempfile.TemporaryDirectory() as folder:
        store = random_store(Path(folder) / "replay", size, arguments.rows)
        goals = GoalConfig(random_shift_px=4)
        as_they_are = Sampler(store, goals, batch, 0)
        as_they_are.gather = Gather(threads, shifts=False)
        on_the_way = Sampler(store, goals, batch, 0)
        on_the_way.gather = Gather(threads, shifts=True)
        memory = np.zeros(as_they_are.observed_shape, as_they_are.observed_dtype)
        copies = Copies((3 * batch, size, size, 3), threads)
        ways = {
            "copy": lambda step: copies(),
            "images as they are": lambda step: as_they_are.batch(step, memory),
            "shifted on the way": lambda step: on_the_way.batch(step, memory),
            "the same, as tensors": lambda step: to_tensors(on_the_way.batch(step, memory), torch.device("cpu")),
        }
        spent: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for step in range(arguments.batches + 1):
            for name, way in ways.items():
                wall, cpu = time.monotonic(), time.process_time()
                way(step)
                spent[name].append((time.monotonic() - wall, time.process_time() - cpu))
    gigabytes = 3 * batch * size * size * 3 / 1e9
    result = {
        "image_size": size, "batch_size": batch, "threads": threads, "load_average": os.getloadavg()[0],
        "cores": os.cpu_count(), "gigabytes_per_batch": gigabytes,
    }  # fmt: skip
    limit = statistics.median(cpu for _, cpu in spent["copy"][1:])
    for name, times in spent.items():
        wall, cpu = (statistics.median(column) for column in zip(*times[1:], strict=True))
        result[name] = {
            "items_per_s": batch / wall, "items_per_cpu_s": batch / cpu, "gigabytes_per_cpu_s": gigabytes / cpu,
            "of_the_limit": limit / cpu,
        }  # fmt: skip
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image-size", type=int, default=472)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batches", type=int, default=5)
    parser.add_argument("--rows", type=int, default=1500, help="observations in the store")
    parser.add_argument("--json", type=output_file)
    result = measure(arguments := parser.parse_args())
    print(
        f"{result['image_size']} px, batch {result['batch_size']}: {result['gigabytes_per_batch']:.2f} GB; "
        f"{result['threads']} threads, load average {result['load_average']:.1f} on {result['cores']} cores"
    )
    for name in ("copy", "images as they are", "shifted on the way", "the same, as tensors"):
        way = result[name]
        print(
            f"{name:<22}{way['items_per_s']:8.0f} items/s   per second of CPU time {way['items_per_cpu_s']:8.0f} items,"
            f" {way['gigabytes_per_cpu_s']:5.2f} GB   {way['of_the_limit']:4.0%} of the limit"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

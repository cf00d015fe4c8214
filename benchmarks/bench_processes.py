"""What sharing a batch costs: CPU time of an update by one process, by two, and by one that has half of the items.

python benchmarks/bench_processes.py [--rounds N] [--updates N] [--recipe NAME]

Preset small, 64 px, batch 128, two processes of one thread over gloo. The ways take turns in both processes, and
medians are shown. The CPU time of a process counts its gloo threads, and no waiting: on a busy machine it is what can
be compared. Wall time is shown beside the load.
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from am_ros.learning.group import Alone, Group, Launch
from am_ros.learning.learner import Learner
from am_ros.learning.loader import to_tensors
from am_ros.learning.networks import parameter_count
from am_ros.learning.recipes import find_recipe
from am_ros.learning.trainer_config import LearnerConfig
from am_ros.replay.sampling import Sampler
from am_ros.replay.store import ReplayStore

BATCH = 128
WHOLE, HALF, TWO, TWO_BF16 = "one, 128 items", "one, 64 items", "two, 64 items each", "the same, bf16 gradients"


def config_of(recipe: str, batch: int, compression: str = "none") -> LearnerConfig:
    config = find_recipe(recipe)
    trainer = replace(
        config.trainer, updates=10**6, batch_size=batch, threads=1, gradient_compression=compression
    )  # fmt: skip
    return replace(config, trainer=trainer)


def work(rank: int, rendezvous: str, folder: str, arguments: argparse.Namespace, results) -> None:
    """One of the two processes."""
    group = Group(Launch(rank, 2, rank, 2), rendezvous)
    store, recipe = ReplayStore.open(folder), arguments.recipe
    ways = {
        WHOLE: (Learner(config_of(recipe, BATCH), Alone()), 0, 1),
        HALF: (Learner(config_of(recipe, BATCH // 2), Alone()), 0, 2),
        TWO: (Learner(config_of(recipe, BATCH), group), rank, 2),
        TWO_BF16: (Learner(config_of(recipe, BATCH, "bf16"), group), rank, 2),
    }
    batches = {}
    for name, (learner, first, size) in ways.items():
        sampler = Sampler(store, learner.config.goals, BATCH, 0, first, size)
        batches[name] = {k: v.clone() for k, v in to_tensors(sampler.batch(0), learner.device).items()}
        for _ in range(2):
            learner.step(batches[name])
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(arguments.rounds):
        for name, (learner, *_) in ways.items():
            group.barrier()
            cpu, wall = time.process_time(), time.monotonic()
            for _ in range(arguments.updates):
                learner.step(batches[name])
            each = 1e3 / arguments.updates
            spent[name].append(((time.process_time() - cpu) * each, (time.monotonic() - wall) * each))
    results.put((rank, spent, parameter_count(ways[WHOLE][0].network)))
    group.barrier()
    group.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=8)
    parser.add_argument("--recipe", default="default")
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        from bench_update import noise_store

        noise_store(Path(folder) / "replay")
        results = context.Queue()
        place = f"file://{folder}/meet", f"{folder}/replay"
        processes = [context.Process(target=work, args=(rank, *place, arguments, results)) for rank in range(2)]
        for process in processes:
            process.start()
        got = [results.get() for _ in processes]
        for process in processes:
            process.join()
    print(f"{torch.get_num_threads()} threads seen, load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    cpu = {}
    for name in got[0][1]:
        times = [one for _, spent, _ in got for one in spent[name]]
        cpu[name], wall = (statistics.median(column) for column in zip(*times, strict=True))
        print(f"{name:<28}CPU time {cpu[name]:7.1f} ms per update and process   wall {wall:7.1f} ms")
    for name in (TWO, TWO_BF16):
        print(
            f"{name}: {cpu[name] - cpu[HALF]:.1f} ms more than the same items alone ({got[0][2]:,} gradients); "
            f"efficiency {cpu[WHOLE] / 2 / cpu[name]:.0%}, and {cpu[WHOLE] / 2 / cpu[HALF]:.0%} without any exchange"
        )


if __name__ == "__main__":
    main()

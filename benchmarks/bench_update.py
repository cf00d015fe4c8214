"""Where the time of an update goes: small preset, batch 128 of 64x64 pairs, one thread; milliseconds of CPU time.

python benchmarks/bench_update.py [recipe]
python benchmarks/bench_update.py --compile    # the network alone, forward and backward, eager and torch.compile
"""

import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from am_ros.action import ACTION_DIM
from am_ros.episode import STATE_DIM
from am_ros.learning import methods
from am_ros.learning.loader import to_tensors
from am_ros.learning.methods.actionable_models import negative_loss
from am_ros.learning.methods.bellman import td_target
from am_ros.learning.networks import NetworkConfig, make_network
from am_ros.learning.recipes import find_recipe
from am_ros.learning.trainer import Trainer
from am_ros.replay.sampling import Sampler
from am_ros.replay.shared import make_sampler
from am_ros.replay.store import ReplayStore

ROUNDS = 60


def noise_store(folder: Path) -> ReplayStore:
    """200 episodes of 12 steps: what is in the pixels costs nothing."""
    rng, rows = np.random.default_rng(0), 200 * 13
    pixels = rng.integers(0, 256, (rows, 64, 64, 3), dtype=np.uint8)
    return ReplayStore.from_arrays(folder, pixels, rng.uniform(-1, 1, (rows, 4)), np.arange(rows) % 13 == 12)


class Clock:
    """CPU time by name; `lap(name)` books what passed since the last lap."""

    def __init__(self):
        self.spent, self._last = defaultdict(float), time.process_time()

    def lap(self, name: str | None = None) -> None:
        now = time.process_time()
        if name:
            self.spent[name] += now - self._last
        self._last = now


def measure(recipe: str) -> None:
    """Print the parts, each run alone, and what whole updates take."""
    with tempfile.TemporaryDirectory() as folder:
        store, config = noise_store(Path(folder) / "replay"), find_recipe(recipe)
        config = replace(config, trainer=replace(config.trainer, updates=4 * ROUNDS))
        trainer = Trainer(config, folder)
        trainer.fit(store, until_update=10)  # what is compiled and allocated once
        sampler = make_sampler(store, trainer.config.goals, config.trainer.batch_size, 0)
        clock = Clock()
        for step in range(ROUNDS):
            parts(clock, trainer, sampler, step)
        for name, seconds in clock.spent.items():
            print(f"{name:<38}{1e3 * seconds / ROUNDS:7.1f} ms")
        began, wall = time.process_time(), time.monotonic()
        trainer.fit(store, until_update=10 + ROUNDS)
        cpu, wall = time.process_time() - began, time.monotonic() - wall
        print(
            f"{'whole updates':<38}{1e3 * cpu / ROUNDS:7.1f} ms, {ROUNDS / cpu:.1f} per CPU second, "
            f"{ROUNDS / wall:.1f} per second, {'bf16' if trainer.learner.bf16 else 'fp32'}"
        )


def parts(clock: Clock, trainer: Trainer, sampler: Sampler, step: int) -> None:
    """One update in pieces, as Trainer and the method do it."""
    method, network, target = trainer.config.method, trainer.learner.network, trainer.learner.target
    clock.lap()
    batch = to_tensors(sampler.batch(step), trainer.learner.device)
    clock.lap("sampling")
    generator = torch.Generator().manual_seed(step)
    with torch.autocast("cpu", torch.bfloat16, enabled=trainer.learner.bf16):
        batch = methods.shown(batch, network, target)
        with torch.no_grad():
            target.encode(batch["next_image"], batch["goal_image"], batch["next_state"])
        clock.lap("encoder of the lagged network")
        y = td_target(target, batch, method, generator)
        clock.lap("encoder of the lagged network and CEM")
        encoding = network.encode(batch["image"], batch["goal_image"], batch["state"])
        clock.lap("encoder")
        negative_loss(network, encoding, batch, method, generator, y)
        clock.lap("negatives and head")
        loss, _ = methods.loss(network, target, batch, method, generator)
    clock.lap("(the whole loss, forward)")
    loss.backward()
    clock.lap("backward")
    trainer.learner.optimizer.step()
    trainer.learner.optimizer.zero_grad()
    clock.lap("optimiser")


def compare_compiled() -> None:
    """Print what encoding a batch and scoring 17 actions per item takes, forward and backward, in both ways."""
    torch.manual_seed(0)
    network = make_network(NetworkConfig())
    image, state = torch.randint(0, 256, (128, 64, 64, 3), dtype=torch.uint8), torch.zeros(128, STATE_DIM)
    actions = torch.rand(128, 17, ACTION_DIM)

    def milliseconds(encode, score) -> float:
        for done in range(3 + ROUNDS // 3):
            if done == 3:  # compiled and allocated
                began = time.process_time()
            score(encode(image, image.flip(0), state), actions).square().mean().backward()
        return 1e3 * (time.process_time() - began) / (ROUNDS // 3)

    print(f"eager          {milliseconds(network.encode, network.score):7.1f} ms")
    print(f"torch.compile  {milliseconds(torch.compile(network.encode), torch.compile(network.score)):7.1f} ms")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if "--compile" in sys.argv:
        compare_compiled()
    else:
        measure(sys.argv[1] if len(sys.argv) > 1 else "default")

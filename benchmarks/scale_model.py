"""What a training costs on one and two processes here, and what it would on many GPUs: measured, simulated, drawn.

python benchmarks/scale_model.py measure     # docs/data/scale.json, ten minutes of one core
python benchmarks/scale_model.py predict     # docs/images/scale.png and the tables of docs/scale.md

`measure`: an update by batch size, an exchange by its bytes (gloo, two processes, over the loopback), and whole steps
of one and two processes that share a batch. All in CPU time: over the loopback an exchange is copying alone, and others
on the machine do not count. `predict`: a simulation of the loader and the exchange, event by event, is run with what
was measured, compared with the whole steps, and then run with assumptions about GPUs (Card).
"""

import argparse
import functools
import json
import math
import multiprocessing
import os
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from am_ros.learning import methods
from am_ros.learning.cem import CemConfig
from am_ros.learning.describe import describe
from am_ros.learning.loader import to_tensors
from am_ros.learning.networks import NetworkConfig, make_network
from am_ros.learning.recipes import find_recipe
from am_ros.replay.sampling import GoalConfig, Sampler
from am_ros.replay.store import ReplayStore

ROOT = Path(__file__).parents[1]
DATA, PICTURE = ROOT / "docs" / "data" / "scale.json", ROOT / "docs" / "images" / "scale.png"
BATCHES = (64, 128)
BYTES = (4_096, 1_048_576, 8_388_608)
ROUNDS = int(os.environ.get("ROUNDS", 10))  # of each measurement; the smallest counts
BUCKET = 25_000_000  # bytes that torch's DistributedDataParallel exchanges at once
FORWARD = 1 / 3  # of an update's time passes before the first gradient is there


@dataclass(frozen=True)
class Link:
    """What exchanges go over: seconds before the first byte, and bytes per second."""

    latency_s: float
    bytes_per_s: float

    def exchange_s(self, size: float, processes: int) -> float:
        """All processes have the sum of `size` bytes: up a tree and down again, each byte twice over every link."""
        if processes < 2:
            return 0.0
        carried = 2 * (processes - 1) / processes * size
        return 2 * math.ceil(math.log2(processes)) * self.latency_s + carried / self.bytes_per_s


@dataclass(frozen=True)
class Training:
    """One training, for the simulation; times of one process."""

    compute_s: float  # an update's, with this process's items
    spread: float  # of it from update to update, as a share
    gradient_bytes: float
    link: Link
    overlap: bool  # gradients are exchanged while the others are still computed
    items: int  # of this process per update
    loader_items_per_s: float  # for this process


def simulate(training: Training, processes: int, steps: int = 300, seed: int = 0) -> dict[str, float]:
    """Seconds per step, and the shares of it that are waited for data and for the exchange; event by event."""
    rng = np.random.default_rng(seed)
    t, rest = training, training.gradient_bytes
    buckets = []
    while rest > 0:
        buckets.append(min(BUCKET, rest))
        rest -= buckets[-1]
    ready = np.zeros(processes)  # when each loader has its next batch, two ahead at most
    now, waited_data, waited_exchange = 0.0, 0.0, 0.0
    for _ in range(steps):
        begin = np.maximum(now, ready)
        waited_data += float((begin - now).mean())
        ready = np.maximum(ready, now - t.items / t.loader_items_per_s) + t.items / t.loader_items_per_s
        ends = begin + t.compute_s * np.exp(rng.normal(0, t.spread, processes))
        slowest = float(ends.max())
        free = slowest
        if processes > 1:
            span = t.compute_s * (1 - FORWARD)
            free = 0.0
            for number, size in enumerate(buckets):
                there = slowest - span * (1 - (number + 1) / len(buckets)) if t.overlap else slowest
                free = max(free, there) + t.link.exchange_s(size, processes)
            free = max(free, slowest)
        waited_exchange += free - float(ends.mean())
        now = free
    return {"step_s": now / steps, "data_wait": waited_data / now, "exchange_wait": waited_exchange / now}


# ------------------------------------------------------------------------------------------------------- measuring


class Update:
    """The work of an update with `batch` items at 64 px: sampling, loss, backward, optimiser; one thread."""

    def __init__(self, folder: Path, batch: int, rank: int = 0, size: int = 1):
        rng, rows = np.random.default_rng(0), 100 * 13
        if not folder.exists():
            pixels = rng.integers(0, 256, (rows, 64, 64, 3), dtype=np.uint8)
            ends = np.arange(rows) % 13 == 12
            ReplayStore.from_arrays(folder, pixels, rng.uniform(-1, 1, (rows, 4)), ends)
        torch.manual_seed(0)
        self.method = find_recipe("default").method
        self.network, self.lagged = make_network(NetworkConfig()), make_network(NetworkConfig())
        self.sampler = Sampler(ReplayStore.open(folder), GoalConfig(), batch, 0, rank, size)
        self.optimizer = torch.optim.Adam(self.network.parameters(), 1e-4)
        self.steps, self.together = 0, size > 1

    def __call__(self) -> None:
        self.steps += 1
        batch = to_tensors(self.sampler.batch(self.steps), torch.device("cpu"))
        generator = torch.Generator().manual_seed(self.steps)
        loss, _ = methods.loss(self.network, self.lagged, batch, self.method, generator)
        self.optimizer.zero_grad()
        loss.backward()
        if self.together:
            gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
            flat = torch.cat([g.reshape(-1) for g in gradients])
            dist.all_reduce(flat)
            torch._foreach_copy_(gradients, [p.view_as(g) for p, g in zip(split(flat, gradients), gradients)])
        self.optimizer.step()


def split(flat: torch.Tensor, like: list[torch.Tensor]) -> list[torch.Tensor]:
    return list(flat.split([g.numel() for g in like]))


def timed(call, rounds: int) -> list[float]:
    """CPU seconds of each call, the first two left out."""
    took = []
    for _ in range(rounds + 2):
        began = time.process_time()
        call()
        took.append(time.process_time() - began)
    return took[2:]


def _pair(rank: int, folder: str, results) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    exchange = {}
    for size in BYTES:
        block = torch.zeros(size // 4)
        exchange[size] = min(timed(lambda block=block: dist.all_reduce(block), 10 * ROUNDS))
    step = min(timed(Update(Path(folder) / "replay", BATCHES[-1], rank, 2), 2 * ROUNDS))
    if rank == 0:
        results.put({"exchange_s": exchange, "step_2_s": step})
    dist.barrier()
    dist.destroy_process_group()


def measure_pair(folder: str) -> dict:
    """Exchanges and whole steps of two processes."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    pair = [context.Process(target=_pair, args=(rank, folder, results), daemon=True) for rank in range(2)]
    for process in pair:
        process.start()
    found = results.get(timeout=1500)
    for process in pair:
        process.join(60)
    return found


def measure_one(folder: str) -> dict:
    """Updates, and drawing, of one process."""
    torch.set_num_threads(1)
    updates = {batch: Update(Path(folder) / "replay", batch) for batch in BATCHES}
    update = updates[BATCHES[-1]]
    return {
        "update_s": {batch: min(timed(one, ROUNDS)) for batch, one in updates.items()},
        "step_1_s": min(timed(update, ROUNDS)),
        "loader_items_per_s": BATCHES[-1] / min(timed(lambda: update.sampler.batch(update.steps), 3 * ROUNDS)),
        "gradient_bytes": 4 * sum(p.numel() for p in update.network.parameters()),
    }


def measure() -> dict:
    """Everything that docs/scale.md starts from."""
    with tempfile.TemporaryDirectory() as folder:
        return {"cores": os.cpu_count(), **measure_one(folder), **measure_pair(folder)}


# ------------------------------------------------------------------------------------------------------ predicting


def fitted_link(exchange: dict[str, float]) -> Link:
    """Latency of the smallest exchange, and what the largest one takes more per byte."""
    sizes = sorted(exchange, key=int)
    small, large = sizes[0], sizes[-1]
    slope = (exchange[large] - exchange[small]) / (int(large) - int(small))
    return Link(exchange[small] / 2, 1 / slope)  # of two processes: 2 (n - 1) / n = 1


def here(data: dict, items: int) -> Training:
    """The training that was measured, for a process with so many items."""
    return Training(
        compute_s=data["update_s"][str(items)], spread=0.0, gradient_bytes=data["gradient_bytes"],
        link=fitted_link(data["exchange_s"]), overlap=False, items=items,
        loader_items_per_s=1e12,  # sampling is part of the update there
    )  # fmt: skip


@dataclass(frozen=True)
class Card:
    """What is assumed of a GPU and its host, for none was at hand: data sheets, and a share of them that is usual."""

    flops: float = 989e12  # bf16, dense, of an H100
    reached: float = 0.3  # convolutions of this size rarely reach more
    launches_s: float = 2e-3  # an update is some hundred kernels, and starting them takes this long at least
    inside: Link = Link(10e-6, 300e9)  # NVLink
    between: Link = Link(30e-6, 40e9)  # InfiniBand, 400 Gbit/s for each GPU
    loader_bytes_per_s: float = 100e9  # of memory, for the 8 GPUs of a host together
    loader_cores: int = 8  # for each GPU
    spread: float = 0.03


CARD, PER_HOST, BATCH = Card(), 8, 256
PRESETS = {"small, 64 px": NetworkConfig(), "qt_opt, 472 px": NetworkConfig(preset="qt_opt", image_size=472)}


facts_of = functools.cache(describe)


def on_gpus(config: NetworkConfig, gpus: int, drawn_per_core: float, card: Card = CARD) -> Training:
    """An update of BATCH items on each GPU; one core draws so many items of 64 px per second."""
    facts, method = facts_of(config, CemConfig()), find_recipe("default").method
    adds = facts["multiply_adds"]
    searched = method.target_cem.samples * method.target_cem.iterations
    # The lagged network looks and searches; the network looks and judges the negatives, forward and backward (2 x).
    per_item = adds["tower_per_state"] * (1 + 3) + adds["tail_per_candidate"] * (searched + 3 * (1 + method.negatives))
    image = 3 * config.image_size**2
    return Training(
        compute_s=max(card.launches_s, 2 * per_item * BATCH / (card.flops * card.reached)), spread=card.spread,
        gradient_bytes=2 * (facts["parameters"] + facts["parameters_behaviour_prior"]),  # as bf16
        link=card.inside if gpus <= PER_HOST else card.between, overlap=True, items=BATCH,
        # Three pictures an item; each byte is read once and written once, by cores and over the memory of the host.
        loader_items_per_s=min(
            card.loader_cores * drawn_per_core * (64 / config.image_size) ** 2,
            card.loader_bytes_per_s / min(gpus, PER_HOST) / (2 * 3 * image),
        ),
    )  # fmt: skip


def predict(data: dict) -> None:
    """Print the tables of docs/scale.md and draw the picture."""
    one, two = simulate(here(data, 128), 1), simulate(here(data, 64), 2)
    print("| step, batch 128 at 64 px | measured | simulated |\n|---|---|---|")
    print(f"| 1 process | {1e3 * data['step_1_s']:.0f} ms | {1e3 * one['step_s']:.0f} ms |")
    print(f"| 2 processes | {1e3 * data['step_2_s']:.0f} ms | {1e3 * two['step_s']:.0f} ms |\n")
    print(
        "| network | GPUs | items/s | of linear | waits for data | waits for the exchange |\n|---|---|---|---|---|---|"
    )
    curves: dict[str, list[tuple[int, float, float]]] = {}
    for name, config in PRESETS.items():
        for gpus in (1, 2, 4, 8, 16, 32, 64, 128, 256):
            training = on_gpus(config, gpus, data["loader_items_per_s"])
            found = simulate(training, gpus)
            rate = gpus * BATCH / found["step_s"]
            full = simulate(replace(training, loader_items_per_s=1e12), gpus)
            curves.setdefault(name, []).append((gpus, rate, gpus * BATCH / full["step_s"]))
            if gpus in (1, 8, 64):
                linear = rate / gpus / curves[name][0][2]
                print(f"| {name} | {gpus} | {rate:,.0f} | {linear:.0%} | {found['data_wait']:.0%} | "
                      f"{found['exchange_wait']:.0%} |")  # fmt: skip
    draw(curves, data, (one, two))


def draw(curves: dict[str, list[tuple[int, float, float]]], data: dict, here_too: tuple[dict, dict]) -> None:
    """Left: what was measured beside what the simulation says. Right: the prediction."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), width_ratios=(1, 2), layout="constrained")
    at = np.arange(2)
    left.bar(at - 0.2, [1e3 * data[f"step_{n}_s"] for n in (1, 2)], 0.4, label="measured", color="#4477aa")
    left.bar(at + 0.2, [1e3 * found["step_s"] for found in here_too], 0.4, label="simulated", color="#ccbb44")
    left.set(xticks=at, xticklabels=["1 process", "2 processes"], ylabel="one step, batch 128 at 64 px [ms of CPU]")
    left.set_ylim(0, 1.3 * left.get_ylim()[1])
    left.legend(frameon=False, loc="upper center", ncols=2)
    for (name, points), colour in zip(curves.items(), ("#4477aa", "#ee6677")):
        gpus = [n for n, _, _ in points]
        first = points[0][2]
        right.loglog(gpus, [rate for _, rate, _ in points], "o-", color=colour, label=name)
        right.loglog(gpus, [free for _, _, free in points], ":", color=colour, label="with any loader")
        right.loglog(gpus, [first * n for n in gpus], color=colour, alpha=0.25, lw=5)
    right.set(xlabel="GPUs, 8 in a host, 256 items each", ylabel="items per second", xticks=gpus, xticklabels=gpus)
    right.minorticks_off()
    right.set_title("predicted; wide line: linear", fontsize=10)
    right.legend(frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(PICTURE, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("measure", "predict"))
    if parser.parse_args().what == "measure":
        DATA.write_text(json.dumps(measure(), indent=1) + "\n")
        print(DATA.read_text())
    else:
        predict(json.loads(DATA.read_text()))


if __name__ == "__main__":
    main()

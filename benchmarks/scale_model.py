"""What a training costs on one and two processes here, and what it would on many GPUs: measured, simulated, drawn.

python benchmarks/scale_model.py measure     # docs/data/scale.json, ten minutes of one core
python benchmarks/scale_model.py predict     # docs/images/scale.png and the tables of docs/scale.md

`measure`: an update by batch size, an exchange by its bytes (gloo, two processes, over the loopback), what the loader
reads, and whole steps of one and two processes that share a batch, with a loader that keeps up and with one that does
not. Times of the clock, so the machine must be quiet; the least of many, of whole steps the median. `predict`: a
simulation of the loader and the exchange, event by event, is run with what was measured, compared with the whole steps,
which it has not seen, and then run with assumptions about GPUs (Card).
"""

import argparse
import functools
import json
import math
import multiprocessing
import os
import statistics
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import bench_loader
import numpy as np
import torch
import torch.distributed as dist

from am_ros.learning import methods
from am_ros.learning.cem import CemConfig
from am_ros.learning.describe import describe
from am_ros.learning.loader import Loader
from am_ros.learning.networks import NetworkConfig, make_network
from am_ros.learning.recipes import find_recipe
from am_ros.replay.sampling import Batch, GoalConfig, Sampler
from am_ros.replay.store import ReplayStore

ROOT = Path(__file__).parents[1]
DATA, PICTURE = ROOT / "docs" / "data" / "scale.json", ROOT / "docs" / "images" / "scale.png"
BATCHES = (64, 128)
BYTES = (4_096, 1_048_576, 8_388_608)
ROUNDS = int(os.environ.get("ROUNDS", 10))  # of each measurement; the smallest counts
BUCKET = 25_000_000  # bytes that torch's DistributedDataParallel exchanges at once
SLOW = 1.5  # a batch of the loader that does not keep up takes so many times as long as an update
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


class Late(Sampler):
    """A sampler whose disk is slow: a batch takes so long [s] at least."""

    batch_s = 0.0

    def batch(self, step: int, out: np.ndarray | None = None) -> Batch:
        """Batch `step`, late."""
        ends = time.monotonic() + self.batch_s
        batch = super().batch(step, out)
        time.sleep(max(0.0, ends - time.monotonic()))
        return batch


class Update:
    """The work of an update with `batch` items at 64 px: loss, backward, exchange, optimiser; one thread.

    The loader draws ahead in a thread of its own, a batch in `batch_s` seconds at least.
    """

    def __init__(self, folder: Path, batch: int, rank: int = 0, size: int = 1, batch_s: float = 0.0):
        rng, rows = np.random.default_rng(0), 100 * 13
        if not folder.exists():
            pixels = rng.integers(0, 256, (rows, 64, 64, 3), dtype=np.uint8)
            ends = np.arange(rows) % 13 == 12
            ReplayStore.from_arrays(folder, pixels, rng.uniform(-1, 1, (rows, 4)), ends)
        torch.manual_seed(0)
        self.method = find_recipe("default").method
        self.network, self.lagged = make_network(NetworkConfig()), make_network(NetworkConfig())
        self.sampler = Late(ReplayStore.open(folder), GoalConfig(), batch, 0, rank, size)
        self.sampler.batch_s = batch_s
        self.optimizer = torch.optim.Adam(self.network.parameters(), 1e-4)
        self.steps, self.together, self.waited_s = 0, size > 1, 0.0

    def __enter__(self) -> "Update":
        self.loader = Loader(self.sampler, 1, torch.device("cpu")).__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.loader.__exit__(*error)

    def __call__(self) -> None:
        self.steps += 1
        began = time.perf_counter()
        batch = self.loader.next()
        self.waited_s += time.perf_counter() - began
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


def timed(call: Callable[[], object], rounds: int) -> list[float]:
    """Seconds of each call, the first two left out."""
    took = []
    for _ in range(rounds + 2):
        began = time.perf_counter()
        call()
        took.append(time.perf_counter() - began)
    return took[2:]


def whole_steps(folder: Path, rank: int, size: int, batch_s: float) -> tuple[float, float]:
    """Seconds of a step of `size` processes that share a batch, and the share of them that is waited for data."""
    with Update(folder, BATCHES[-1], rank, size, batch_s) as update:
        for _ in range(4):  # what was drawn ahead
            update()
        update.waited_s = 0.0
        took = timed(update, 4 * ROUNDS)
    typical = statistics.median(took)
    return typical, update.waited_s / (len(took) + 2) / typical


def _pair(rank: int, folder: str, slow_s: float, results) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    store, exchange = Path(folder) / "replay", {}
    for size in BYTES:
        block = torch.zeros(size // 4)
        exchange[size] = min(timed(lambda block=block: dist.all_reduce(block), 10 * ROUNDS))
    with Update(store, BATCHES[0]) as alone:  # both at once: they share the memory and, it may be, a core
        dist.barrier()
        took = timed(alone, 4 * ROUNDS)
    found = {"exchange_s": exchange, "update_beside_s": statistics.median(took), "spread": float(np.log(took).std())}
    found["step_2_s"], found["data_wait_2"] = whole_steps(store, rank, 2, 0.0)
    found["slow_step_2_s"], found["slow_data_wait_2"] = whole_steps(store, rank, 2, slow_s)
    if rank == 0:
        results.put(found)
    dist.barrier()
    dist.destroy_process_group()


def measure_pair(folder: str, slow_s: float) -> dict:
    """Exchanges and whole steps of two processes."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    pair = [context.Process(target=_pair, args=(rank, folder, slow_s, results), daemon=True) for rank in range(2)]
    for process in pair:
        process.start()
    found = results.get(timeout=1500)
    for process in pair:
        process.join(60)
    return found


def measure_one(folder: str) -> dict:
    """Updates, and drawing, of one process."""
    torch.set_num_threads(1)
    store, found = Path(folder) / "replay", {"update_s": {}}
    for batch in BATCHES:
        with Update(store, batch) as update:
            found["update_s"][batch] = statistics.median(timed(update, 2 * ROUNDS))
            sampler = update.sampler
    found["loader_items_per_s"] = BATCHES[-1] / min(timed(lambda: sampler.batch(1), 3 * ROUNDS))
    large = bench_loader.measure(Namespace(image_size=472, batch_size=128, threads=1, rows=210, batches=ROUNDS))
    found["loader_472_items_per_s"] = large["images as they are"]["items_per_s"]
    found["gradient_bytes"] = 4 * sum(p.numel() for p in update.network.parameters())
    found["slow_batch_s"] = SLOW * found["update_s"][BATCHES[-1]]
    found["step_1_s"], found["data_wait_1"] = whole_steps(store, 0, 1, 0.0)
    found["slow_step_1_s"], found["slow_data_wait_1"] = whole_steps(store, 0, 1, found["slow_batch_s"])
    return found


def measure() -> dict:
    """Everything that docs/scale.md starts from."""
    with tempfile.TemporaryDirectory() as folder:
        one = measure_one(folder)
        return {"cores": os.cpu_count(), **one, **measure_pair(folder, one["slow_batch_s"])}


# ------------------------------------------------------------------------------------------------------ predicting


def fitted_link(exchange: dict[str, float]) -> Link:
    """Latency of the smallest exchange, and what the largest one takes more per byte."""
    sizes = sorted(exchange, key=int)
    small, large = sizes[0], sizes[-1]
    slope = (exchange[large] - exchange[small]) / (int(large) - int(small))
    return Link(exchange[small] / 2, 1 / slope)  # of two processes: 2 (n - 1) / n = 1


def here(data: dict, processes: int, slow: bool) -> Training:
    """The training that was measured: one process with 128 items, or one of two with 64 each."""
    items = BATCHES[-1] // processes
    return Training(
        compute_s=data["update_s"][str(items)] if processes == 1 else data["update_beside_s"], spread=data["spread"],
        gradient_bytes=data["gradient_bytes"], link=fitted_link(data["exchange_s"]), overlap=False, items=items,
        loader_items_per_s=items / data["slow_batch_s"] if slow else data["loader_items_per_s"],
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


LOADERS = {64: "loader_items_per_s", 472: "loader_472_items_per_s"}  # what was measured, by the image's size


facts_of = functools.cache(describe)


def on_gpus(config: NetworkConfig, gpus: int, data: dict, card: Card = CARD) -> Training:
    """An update of BATCH items on each GPU; a core of the host draws items as one was measured to do."""
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
            card.loader_cores * data[LOADERS[config.image_size]],
            card.loader_bytes_per_s / min(gpus, PER_HOST) / (2 * 3 * image),
        ),
    )  # fmt: skip


ROWS = (  # name, processes, whether the loader is slow
    ("1 process", 1, False),
    ("2 processes", 2, False),
    ("1 process, slow loader", 1, True),
    ("2 processes, slow loader", 2, True),
)


def predict(data: dict) -> None:
    """Print the tables of docs/scale.md and draw the picture."""
    print("| step, batch 128 at 64 px | measured | simulated | waits, measured | simulated |\n|---|---|---|---|---|")
    rows = {}
    for name, processes, slow in ROWS:
        found, kind = simulate(here(data, processes, slow), processes), "slow_" * slow
        rows[name] = measured, simulated = 1e3 * data[f"{kind}step_{processes}_s"], 1e3 * found["step_s"]
        print(f"| {name} | {measured:.0f} ms | {simulated:.0f} ms | {data[f'{kind}data_wait_{processes}']:.0%} | "
              f"{found['data_wait']:.0%} |")  # fmt: skip
    print()
    print(
        "| network | GPUs | items/s | of linear | waits for data | waits for the exchange |\n|---|---|---|---|---|---|"
    )
    curves: dict[str, list[tuple[int, float, float]]] = {}
    for name, config in PRESETS.items():
        for gpus in (1, 2, 4, 8, 16, 32, 64, 128, 256):
            training = on_gpus(config, gpus, data)
            found = simulate(training, gpus)
            rate = gpus * BATCH / found["step_s"]
            full = simulate(replace(training, loader_items_per_s=1e12), gpus)
            curves.setdefault(name, []).append((gpus, rate, gpus * BATCH / full["step_s"]))
            if gpus in (1, 8, 64):
                linear = rate / gpus / curves[name][0][2]
                print(f"| {name} | {gpus} | {rate:,.0f} | {linear:.0%} | {found['data_wait']:.0%} | "
                      f"{found['exchange_wait']:.0%} |")  # fmt: skip
    draw(curves, rows)


def draw(curves: dict[str, list[tuple[int, float, float]]], rows: dict[str, tuple[float, float]]) -> None:
    """Left: what was measured beside what the simulation says. Right: the prediction."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), width_ratios=(3, 5), layout="constrained")
    at = np.arange(len(rows))
    for side, (label, colour) in enumerate((("measured", "#4477aa"), ("simulated", "#ccbb44"))):
        heights = [pair[side] for pair in rows.values()]
        left.bar(at + 0.4 * side - 0.2, heights, 0.4, label=label, color=colour)
    names = [name.replace(", ", ",\n") for name in rows]
    left.set_xticks(at, names, fontsize=8)
    left.set_ylabel("one step, batch 128 at 64 px [ms]")
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

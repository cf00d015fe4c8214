"""How near a training comes to what the card can do: items per second, data wait, TFLOP/s. One run, under 8 minutes.

python benchmarks/bench_gpu.py [--json FILE]
python benchmarks/bench_gpu.py --device cpu --tiny      # the same code in a minute, to see that it works

For `qt_opt` (472 px, batch 256) and `small` (64 px, batch 1024), bf16, channels_last, eager and with encoder and head
compiled (`torch.compile`, which uses CUDA graphs where it can): updates of one batch that lies on the device, then of
batches from the loader. The card's limit is measured too: a product of large bf16 matrices. Floating-point operations
are counted by torch's FlopCounterMode, those of the search for targets included. The store is random pixels.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from bench_loader import random_store
from output import output_file
from torch.utils.flop_counter import FlopCounterMode

from am_ros.learning.device import find_device
from am_ros.learning.group import Alone
from am_ros.learning.learner import Learner
from am_ros.learning.loader import Loader
from am_ros.learning.networks import NetworkConfig
from am_ros.learning.recipes import find_recipe
from am_ros.replay.sampling import Sampler
from am_ros.replay.store import ReplayStore

SIZES = {"qt_opt": (472, 256, 4000), "small": (64, 1024, 40_000)}  # image size [px], batch size, rows of the store
TINY = {"qt_opt": (224, 2, 42), "small": (16, 8, 42)}


def wait_for(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_each(work: Callable[[], object], count: int, device: torch.device) -> float:
    """Mean time of `work`, after three that do not count."""
    for _ in range(3):
        work()
    wait_for(device)
    began = time.monotonic()
    for _ in range(count):
        work()
    wait_for(device)
    return (time.monotonic() - began) / count


def limit_tflops(device: torch.device, side: int) -> float:
    """bf16 products of matrices [side, side], 1e12 operations per second."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / seconds_each(lambda: a @ b, 20, device) / 1e12


def learner_of(preset: str, image_size: int, batch: int, device: str, compiled: bool) -> Learner:
    config = find_recipe("default")
    config = replace(
        config, network=NetworkConfig(preset=preset, image_size=image_size),
        trainer=replace(config.trainer, updates=10**6, batch_size=batch, device=device, precision="bf16", threads=0),
    )  # fmt: skip
    learner = Learner(config, Alone())
    if compiled:
        for network in learner.networks:
            network.encode = torch.compile(network.encode, mode="max-autotune-no-cudagraphs")
            network.score = torch.compile(network.score, dynamic=True)
    return learner


def measure(preset: str, sizes: tuple[int, int, int], device: torch.device, updates: int, compiled: bool) -> dict:
    """Figures of one network in one way."""
    image_size, batch, rows = sizes
    learner = learner_of(preset, image_size, batch, device.type, compiled)
    with tempfile.TemporaryDirectory() as folder:
        store: ReplayStore = random_store(Path(folder) / "replay", image_size, rows)
        learner.look_at(store)
        sampler = Sampler(store, learner.config.goals, batch, 0)
        with Loader(sampler, 0, device) as loader:
            loader_s = seconds_each(loader.next, updates, device)
            tensors = {name: value.clone() for name, value in loader.next().items()}
            with FlopCounterMode(display=False) as counter:
                learner.step(tensors)
            update_s = seconds_each(lambda: learner.step(tensors), updates, device)
            waited = 0.0

            def step() -> None:
                nonlocal waited
                before = time.monotonic()
                data = loader.next()
                waited += time.monotonic() - before
                learner.step(data)

            both_s = seconds_each(step, updates, device)
    flops = counter.get_total_flops()
    return {
        "preset": preset, "way": "compiled" if compiled else "eager", "image_size": image_size, "batch_size": batch,
        "loader_items_per_s": batch / loader_s, "compute_items_per_s": batch / update_s,
        "items_per_s": batch / both_s, "data_wait": waited / (updates + 3) / both_s,
        "gflop_per_item": flops / batch / 1e9, "tflops": flops / both_s / 1e12,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--tiny", action="store_true", help="sizes for a CPU, to try the script")
    parser.add_argument("--updates", type=int, help="of each measurement (default 30, tiny: 2)")
    parser.add_argument("--minutes", type=float, default=7.5, help="begin nothing new after so long")
    parser.add_argument("--json", type=output_file)
    arguments = parser.parse_args()
    began, device = time.monotonic(), find_device(arguments.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    limit = limit_tflops(device, 256 if arguments.tiny else 8192)
    print(f"{name}, torch {torch.__version__}: {limit:.3g} TFLOP/s of bf16 matrices", flush=True)
    results: list[dict] = []
    ways = [(preset, compiled) for compiled in (False, True) for preset in SIZES]
    for preset, compiled in ways[: 2 if device.type == "cpu" else 4]:
        if time.monotonic() - began > 60 * arguments.minutes * (0.6 if compiled else 1):  # compiling takes a minute
            print(f"{preset}, {'compiled' if compiled else 'eager'}: left out, there is no time")
            continue
        sizes = (TINY if arguments.tiny else SIZES)[preset]
        try:
            result = measure(preset, sizes, device, arguments.updates or (2 if arguments.tiny else 30), compiled)
        except RuntimeError as error:  # the other ways are measured all the same
            print(f"{preset}, {'compiled' if compiled else 'eager'}: {str(error).splitlines()[0]}", flush=True)
            continue
        results.append(result | {"of_limit": result["tflops"] / limit})
        print(
            "{preset:<7}{way:<9}{image_size:>4} px, batch {batch_size:>4}: {items_per_s:8.1f} items/s, data wait "
            "{data_wait:4.0%}; compute alone {compute_items_per_s:8.1f}, loader alone {loader_items_per_s:8.1f} "
            "items/s; {gflop_per_item:.2f} GFLOP per item, {tflops:.3g} TFLOP/s, {of_limit:.0%} of the limit".format(
                **results[-1]
            ),
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(json.dumps({"device": name, "limit_tflops": limit, "results": results}, indent=2))


if __name__ == "__main__":
    main()

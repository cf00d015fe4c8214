"""Time of one decision (CEM 64 samples x 2) of both network presets: CPU time, and wall time with more threads.

python benchmarks/bench_decision.py [--threads N] [--repeats N] [--image-size PX]

The full-size network decides as it learns (fp32, layer by layer), and as it acts: folded, in fp32 and in bf16. The ways
take turns, so that whatever else the machine does meets all of them.
"""

import argparse
import os
import statistics
import time

import numpy as np
import torch

from am_ros.learning.cem import CemConfig
from am_ros.learning.networks import NetworkConfig, make_network, parameter_count
from am_ros.learning.policy import Policy


def policies(config: NetworkConfig) -> dict[str, Policy]:
    """A policy of a freshly initialised network for each way to decide."""
    network = make_network(config)
    meta = {"image_size": config.image_size, "action_space": {}, "update": 0}
    cem = CemConfig(samples=64, iterations=2)
    if config.preset != "qt_opt":
        return {"fp32": Policy(network, meta, cem)}
    ways = {f"folded {way}": Policy(network, meta, cem, precision=way) for way in ("fp32", "bf16")}
    as_it_learns = Policy(network, meta, cem)
    as_it_learns.acting = network
    return {"as it learns": as_it_learns, **ways}


def measure(config: NetworkConfig, repeats: int) -> None:
    """Print parameters and decision times, each way's median."""
    ways = policies(config)
    rng = np.random.default_rng(0)
    image, goal = rng.integers(0, 256, (2, config.image_size, config.image_size, 3), dtype=np.uint8)
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(repeats + 1):
        for name, policy in ways.items():
            cpu, wall = time.process_time(), time.monotonic()
            policy.act(image, goal, np.zeros(6, np.float32))
            spent[name].append((time.process_time() - cpu, time.monotonic() - wall))
    parameters = parameter_count(next(iter(ways.values())).network)
    for name, times in spent.items():
        cpu_ms, wall_ms = (1e3 * statistics.median(column) for column in zip(*times[1:], strict=True))
        least = 1e3 * min(cpu for cpu, _ in times[1:])
        print(
            f"{config.preset:<8}{config.image_size:>5} px {parameters:>10,} parameters   {name:<14}"
            f"CPU time {cpu_ms:7.1f} ms (least {least:7.1f})   wall {wall_ms:7.1f} ms"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--image-size", type=int, default=472)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{arguments.threads} threads, load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    measure(NetworkConfig(), 20 * arguments.repeats)
    measure(NetworkConfig(preset="qt_opt", image_size=arguments.image_size), arguments.repeats)

"""Time of one decision (CEM 64 samples x 2) of both network presets, on one thread.

python benchmarks/bench_decision.py
"""

import statistics

import numpy as np
import torch

from am_ros.learning.cem import CemConfig
from am_ros.learning.networks import NetworkConfig, make_network, parameter_count
from am_ros.learning.policy import Policy


def measure(config: NetworkConfig, repeats: int) -> None:
    """Print parameters and decision time of a freshly initialised network."""
    network = make_network(config)
    meta = {"image_size": config.image_size, "action_space": {}, "update": 0}
    policy = Policy(network, meta, CemConfig(samples=64, iterations=2))
    rng = np.random.default_rng(0)
    image, goal = rng.integers(0, 256, (2, config.image_size, config.image_size, 3), dtype=np.uint8)
    durations = [policy.act(image, goal, np.zeros(6, np.float32)).decision_ms for _ in range(repeats + 1)][1:]
    print(
        f"{config.preset:<8}{config.image_size:>5} px {parameter_count(network):>10,} parameters   "
        f"p50 {statistics.median(durations):8.1f} ms   max {max(durations):8.1f} ms"
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    measure(NetworkConfig(), 100)
    measure(NetworkConfig(preset="qt_opt", image_size=472), 3)

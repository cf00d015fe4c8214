"""her_random_negatives: hindsight relabelling, and random goals with reward 0 (baseline of section 6.3).

The negatives are goals, not actions; few of them lie near the boundary between what leads to a goal and what does not.
"""

import torch

from am_ros.learning.method_config import MethodConfig
from am_ros.learning.methods.bellman import regression_loss, td_target
from am_ros.learning.networks import Lagged, QNetwork
from am_ros.learning.types import Generator, Loss, Tensors


def loss(
    network: QNetwork, lagged: Lagged, batch: Tensors, config: MethodConfig, generator: Generator = None
) -> Loss:
    """Return (loss, parts): cross-entropy, with target 0 wherever the goal is a random one."""
    y = td_target(lagged, batch, config, generator)
    y = torch.where(batch["steps_to_goal"] < 0, torch.zeros_like(y), y)
    return regression_loss(network, y, batch)

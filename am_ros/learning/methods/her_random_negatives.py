"""her_random_negatives: hindsight relabelling, and random goals with reward 0 (baseline of section 6.3).

The negatives are goals, not actions; few of them lie near the boundary between what leads to a goal and what does not.
"""

import torch
from torch import Tensor
from torch.nn import functional

from am_ros.learning.methods.bellman import q_figures, td_target


def loss(network, lagged, batch: dict[str, Tensor], config, generator=None):
    """Return (loss, parts): cross-entropy, with target 0 wherever the goal is a random one."""
    y = td_target(lagged, batch, config, generator)
    y = torch.where(batch["steps_to_goal"] < 0, torch.zeros_like(y), y)
    encoding = network.encode(batch["image"], batch["goal_image"], batch["state"])
    seen = network.score(encoding, batch["action"].unsqueeze(1)).float().squeeze(1)
    total = functional.binary_cross_entropy_with_logits(seen, y)
    parts = {"loss": total, "loss_positive": total, **q_figures(seen, y, batch)}
    return total, {name: value.detach() for name, value in parts.items()}

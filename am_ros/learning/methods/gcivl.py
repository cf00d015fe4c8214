"""gcivl: goal-conditioned implicit value learning, the policy by advantage-weighted regression.

Kostrikov et al., 2021 (IQL), without Q and with goals as in HIQL (Park et al., 2023) and OGBench (Park et al., 2024).
V(s, g) in (0, 1) is gamma^(k-1) for a goal k steps away. It follows the best of what the data did next, and asks no
action that the data did not do:

    y = 1 where s' = g or s is at g, else gamma V'(s', g)
    L_V = E[|tau - 1(y < V)| CE(V, y)],      tau: `expectile`

The gradient of the cross-entropy in V is that of the square divided by V (1 - V), which is the same for every y. So
its minimum is the tau-expectile of y, too. The behaviour prior is then taught what was better than the usual,

    L_pi = E[min(exp(beta A), 10) (-log pi(a | s, g))],      A = (log y - log V(s, g)) / -log gamma  [steps],

with beta = `advantage_weight`, on hindsight goals; it acts.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from am_ros.errors import AmRosError
from am_ros.learning.method_config import MethodConfig
from am_ros.learning.methods.bellman import masked_mean
from am_ros.learning.methods.gcbc import cloning_loss
from am_ros.learning.networks import Lagged, QNetwork, as_list
from am_ros.learning.types import Encoding, Generator, Loss, Tensors

MOST = 10.0  # times the usual weight that an item has in the regression


def value(network: QNetwork, encoding: Encoding, like: Tensor) -> Tensor:
    """Logits [B] of V(s, g): the network's score of no action at all, a vector of zeros like actions [B, D + 3]."""
    return network.score(encoding, torch.zeros_like(like).unsqueeze(1)).float().squeeze(1)


@torch.no_grad()
def target(lagged: Lagged, batch: Tensors, config: MethodConfig) -> Tensor:
    """y [B]: what the value is by the transition that was seen."""
    network = as_list(lagged)[0]
    encoding = network.encode(batch["next_image"], batch["goal_image"], batch["next_state"])
    steps = batch["steps_to_goal"]
    y = config.gamma * value(network, encoding, batch["action"]).sigmoid()
    return torch.where((steps == 0) | (steps == 1), torch.ones_like(y), y)


def loss(
    network: QNetwork, lagged: Lagged, batch: Tensors, config: MethodConfig, _generator: Generator = None
) -> Loss:
    """Return (loss, parts). Raises AmRosError if the network has no head for actions."""
    y = target(lagged, batch, config)
    encoding = network.encode(batch["image"], batch["goal_image"], batch["state"])
    prior = network.prior(encoding)
    if prior is None:
        raise AmRosError("method gcivl: the network has no action head; set behaviour_prior to true")
    logits = value(network, encoding, batch["action"])
    hindsight = batch["steps_to_goal"] >= 0
    with torch.no_grad():
        v = logits.sigmoid()
        weight = torch.where(y < v, 1 - config.expectile, config.expectile)
        advantage = (y.clamp_min(1e-6).log() - v.clamp_min(1e-6).log()) / -math.log(config.gamma)
        worth = (config.advantage_weight * advantage).clamp_max(math.log(MOST)).exp()
    fitted = (weight * functional.binary_cross_entropy_with_logits(logits, y, reduction="none")).mean()
    cloning = cloning_loss(prior, batch["action"], hindsight, worth)
    total = fitted + config.cloning_weight * cloning
    parts = {
        "loss": total,
        "loss_value": fitted,
        "loss_prior": cloning,
        "v_seen": masked_mean(v, hindsight),
        "v_random_goal": masked_mean(v, ~hindsight),
        "advantage_steps": masked_mean(advantage, hindsight),
        "target": y.mean(),
    }
    return total, {name: part.detach() for name, part in parts.items()}

"""contrastive: reinforcement learning as telling a state's own future from another's.

Zheng et al., 2023 ("Stabilizing Contrastive RL: Techniques for Robotic Goal Reaching from Offline Data"), after
Eysenbach et al., 2022. The critic f(s, a, g) = phi(s, a) . psi(g) is fitted by noise-contrastive estimation: g+ is an
observation of the same episode, a geometric number of steps later (GoalConfig.hindsight_steps), g- the goal of another
item of the batch,

    L = -E[log sigma(f(s, a, g+))] - E[log(1 - sigma(f(s, a, g-)))],     f* = log p(g | s, a) - log p(g).

No target, no lagged network, no bootstrapping: the higher f, the likelier g comes soon, and for one g the order of
actions is that of Q. The paper's actor maximises (1 - lambda) f + lambda log pi_data; here the search does, over the
proposals of the cloning head (`objective` logit with `prior_weight`), or the head alone.
"""

import torch
from torch.nn import functional

from am_ros.errors import AmRosError
from am_ros.learning.method_config import MethodConfig
from am_ros.learning.methods.bellman import masked_mean
from am_ros.learning.methods.gcbc import cloned
from am_ros.learning.networks import Lagged, QNetwork
from am_ros.learning.pair_network import PairNetwork
from am_ros.learning.types import Generator, Loss, Tensors


def loss(
    network: QNetwork, _lagged: Lagged, batch: Tensors, config: MethodConfig, _generator: Generator = None
) -> Loss:
    """Return (loss, parts). Raises AmRosError if Q is no product, or a batch has one item only."""
    if not isinstance(network, PairNetwork):
        raise AmRosError("method contrastive: the network is no product of state and goal; set factored above 0")
    encoding = network.encode(batch["image"], batch["goal_image"], batch["state"])
    phi = network.represent(encoding, batch["action"].unsqueeze(1)).squeeze(1)
    logits = (phi @ encoding[2].T).float()  # [B, B]: row i is the state and action of item i, column j the goal of j
    count = len(logits)
    if count < 2:
        raise AmRosError("method contrastive: other items of the batch are the negatives; set batch_size above 1")
    future = batch["steps_to_goal"] >= 0  # a random goal is nobody's future, but a negative like any other
    own = logits.diagonal()
    positive = (functional.softplus(-own) * future).mean()
    others = functional.softplus(logits).sum(dim=1) - functional.softplus(own)
    negative = (others / (count - 1) * future).mean()
    total = positive + config.negative_weight * negative
    with torch.no_grad():
        away = (logits.sigmoid().sum(dim=1) - own.sigmoid()) / (count - 1)
        best = logits.argmax(dim=1) == torch.arange(count, device=logits.device)
    parts = {
        "loss_positive": positive,
        "loss_negative": negative,
        "f_own_goal": masked_mean(own.sigmoid(), future),
        "f_other_goal": masked_mean(away, future),
        "own_goal_first": masked_mean(best.float(), future),
    }
    cloning, parts_of_it = cloned(network, encoding, batch, config)
    total = total + cloning
    return total, {name: value.detach() for name, value in {"loss": total, **parts, **parts_of_it}.items()}

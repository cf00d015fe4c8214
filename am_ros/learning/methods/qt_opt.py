"""qt_opt: Q-learning on a task reward, the goal image all zeros (Kalashnikov et al., 2018; sections 5.2, 5.3 and 6.6).

Items that the sampler relabelled with goals are the auxiliary objective of section 5.3: hindsight positives, and the
same items once more with unseen actions and target 0. With `reward_negative_weight` the items with the reward have such
negatives too, which the paper does not say: learned from a few hundred episodes, Q of every action is otherwise
nearly as high as that of the seen one. A network with a behaviour prior (Q sees actions beside its proposal) learns it
further, from successful episodes and relabelled items.
"""

import torch
from torch.nn import functional

from am_ros.learning.method_config import MethodConfig
from am_ros.learning.methods.actionable_models import negative_loss
from am_ros.learning.methods.bellman import masked_mean, q_figures, td_target
from am_ros.learning.methods.gcbc import cloned
from am_ros.learning.networks import Lagged, QNetwork
from am_ros.learning.types import Generator, Loss, Tensors


def loss(
    network: QNetwork, lagged: Lagged, batch: Tensors, config: MethodConfig, generator: Generator = None
) -> Loss:
    """Return (loss, parts)."""
    y = td_target(lagged, batch, config, generator)
    encoding = network.encode(batch["image"], batch["goal_image"], batch["state"])
    seen, negative, unseen = negative_loss(network, encoding, batch, config, generator, y)
    positive = functional.binary_cross_entropy_with_logits(seen, y)
    # The mean over the whole batch: with a share xi of relabelled items, negatives weigh xi, as in the paper.
    negative = (negative * torch.where(batch["rewarded"], config.reward_negative_weight, 1.0)).mean()
    cloning, parts_of_it = cloned(network, encoding, batch, config)
    total = positive + config.negative_weight * negative + cloning
    parts = {
        "loss": total,
        "loss_positive": positive,
        "loss_negative": negative,
        **q_figures(seen, y, batch),
        "q_reward": masked_mean(seen.sigmoid(), batch["rewarded"]),
        "q_unseen": unseen.sigmoid().mean(),
        **parts_of_it,
    }
    return total, {name: value.detach() for name, value in parts.items()}

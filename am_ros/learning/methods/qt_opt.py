"""qt_opt: Q-learning on a task reward, the goal image all zeros (Kalashnikov et al., 2018; sections 5.2, 5.3 and 6.6).

Items that the sampler relabelled with goals are the auxiliary objective of section 5.3: hindsight positives, and the
same items once more with unseen actions and target 0.
"""

from torch import Tensor
from torch.nn import functional

from am_ros.learning.methods.actionable_models import negative_loss
from am_ros.learning.methods.bellman import masked_mean, q_figures, td_target


def loss(network, lagged, batch: dict[str, Tensor], config, generator=None):
    """Return (loss, parts)."""
    y = td_target(lagged, batch, config, generator)
    encoding = network.encode(batch["image"], batch["goal_image"], batch["state"])
    seen, negative, unseen = negative_loss(network, encoding, batch, config, generator)
    relabelled = ~batch["rewarded"]
    positive = functional.binary_cross_entropy_with_logits(seen, y)
    # The mean over the whole batch: with a share xi of relabelled items, negatives weigh xi, as in the paper.
    negative = (negative * relabelled).mean()
    total = positive + config.negative_weight * negative
    parts = {
        "loss": total,
        "loss_positive": positive,
        "loss_negative": negative,
        **q_figures(seen, y, batch),
        "q_reward": masked_mean(seen.sigmoid(), batch["rewarded"]),
        "q_unseen": unseen.sigmoid().mean(),
    }
    return total, {name: value.detach() for name, value in parts.items()}

"""her: Q-learning with hindsight relabelling alone (baseline of section 6.3; Andrychowicz et al., 2017).

Nothing ever says 'no': the paper reports, and our runs confirm, that Q rises everywhere and the policy learns nothing.
"""

from torch import Tensor
from torch.nn import functional

from am_ros.learning.methods.bellman import q_figures, td_target


def loss(network, lagged, batch: dict[str, Tensor], config, generator=None):
    """Return (loss, parts): cross-entropy on hindsight goals. The sampler must draw no random goals."""
    y = td_target(lagged, batch, config, generator)
    encoding = network.encode(batch["image"], batch["goal_image"], batch["state"])
    seen = network.score(encoding, batch["action"].unsqueeze(1)).float().squeeze(1)
    total = functional.binary_cross_entropy_with_logits(seen, y)
    parts = {"loss": total, "loss_positive": total, **q_figures(seen, y, batch)}
    return total, {name: value.detach() for name, value in parts.items()}

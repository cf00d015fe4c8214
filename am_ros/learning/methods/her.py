"""her: Q-learning with hindsight relabelling alone (baseline of section 6.3; Andrychowicz et al., 2017).

Nothing ever says 'no': the paper reports that Q rises everywhere and the policy learns nothing.
"""

from torch import Tensor

from am_ros.learning.methods.bellman import regression_loss, td_target


def loss(network, lagged, batch: dict[str, Tensor], config, generator=None):
    """Return (loss, parts): cross-entropy on hindsight goals. The sampler must draw no random goals."""
    return regression_loss(network, td_target(lagged, batch, config, generator), batch)

"""her: Q-learning with hindsight relabelling alone (baseline of section 6.3; Andrychowicz et al., 2017).

Nothing ever says 'no': the paper reports that Q rises everywhere and the policy learns nothing.
"""


from am_ros.learning.method_config import MethodConfig
from am_ros.learning.methods.bellman import regression_loss, td_target
from am_ros.learning.networks import Lagged, QNetwork
from am_ros.learning.types import Generator, Loss, Tensors


def loss(
    network: QNetwork, lagged: Lagged, batch: Tensors, config: MethodConfig, generator: Generator = None
) -> Loss:
    """Return (loss, parts): cross-entropy on hindsight goals. The sampler must draw no random goals."""
    return regression_loss(network, td_target(lagged, batch, config, generator), batch)

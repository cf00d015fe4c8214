"""gcbc: goal-conditioned behavioural cloning, the action as output (baseline of section 6.3; Ghosh et al., 2019).

Also the behaviour prior of the other methods: the same head on the same encoder.
"""

from torch import Tensor
from torch.nn import functional

from am_ros.action import DISCRETE_DIM
from am_ros.errors import AmRosError
from am_ros.learning.cem import Prior
from am_ros.learning.method_config import MethodConfig
from am_ros.learning.networks import Lagged, QNetwork
from am_ros.learning.types import Encoding, Generator, Loss, Tensors


def cloning_loss(prior: Prior, action: Tensor, hindsight: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """Huber on the displacement of moves, cross-entropy on the discrete choice.

    Only items whose goal the data reached (`hindsight`, bool [B]) say anything of how to reach it. `weight` [B]: how
    much each of them counts.
    """
    moves = hindsight & (action[:, -1] < 0.5)
    wanted, choice = action[:, :-DISCRETE_DIM], action[:, -DISCRETE_DIM:].argmax(dim=1)
    displacement = functional.smooth_l1_loss(prior.mean, wanted, reduction="none", beta=0.2).sum(dim=1)
    choice = functional.cross_entropy(prior.logits, choice, reduction="none")
    # Means over the whole batch, not over the items that count: processes that share a batch can average their halves.
    return (displacement * moves * weight).mean() + 0.2 * (choice * hindsight * weight).mean()


def cloned(
    network: QNetwork, encoding: Encoding, batch: Tensors, config: MethodConfig
) -> tuple[Tensor | float, Tensors]:
    """What a method that learns a Q adds to its loss, and to its parts, to teach the network's behaviour prior.

    Nothing where there is none, where it is frozen, or with `cloning_weight` 0.
    """
    learns = config.cloning_weight > 0 and not config.frozen_prior
    prior = network.prior(encoding) if learns else None
    if prior is None:
        return 0.0, {}
    part = cloning_loss(prior, batch["action"], batch["steps_to_goal"] >= 0)
    return config.cloning_weight * part, {"loss_prior": part}


def loss(
    network: QNetwork, _lagged: Lagged, batch: Tensors, _config: MethodConfig, _generator: Generator = None
) -> Loss:
    """Return (loss, parts). Raises AmRosError if the network has no head for actions."""
    encoding = network.encode(batch["image"], batch["goal_image"], batch["state"])
    prior = network.prior(encoding)
    if prior is None:
        raise AmRosError("method gcbc: the network has no action head; set behaviour_prior to true")
    cloning = cloning_loss(prior, batch["action"], batch["steps_to_goal"] >= 0)
    return cloning, {"loss": cloning.detach(), "loss_prior": cloning.detach()}

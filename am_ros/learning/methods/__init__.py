"""The methods: what a batch teaches a network. One file each; `loss` finds them by the name in the configuration."""

from am_ros.errors import AmRosError
from am_ros.learning.method_config import NAMES, MethodConfig
from am_ros.learning.methods import actionable_models, contrastive, gcbc, gcivl, her, her_random_negatives, qt_opt
from am_ros.learning.networks import Lagged, QNetwork, as_list
from am_ros.learning.types import Generator, Loss, Tensors
from am_ros.replay.sampling import IMAGES, GoalConfig

METHODS = {
    "actionable_models": actionable_models.loss,
    "contrastive": contrastive.loss,
    "gcbc": gcbc.loss,
    "gcivl": gcivl.loss,
    "her": her.loss,
    "her_random_negatives": her_random_negatives.loss,
    "qt_opt": qt_opt.loss,
}


def loss(
    network: QNetwork, lagged: Lagged, batch: Tensors, config: MethodConfig, generator: Generator = None
) -> Loss:
    """Return (loss, parts for the log) of the configured method. `lagged`: one lagged network, or a list of them."""
    return METHODS[config.method](network, lagged, shown(batch, network, *as_list(lagged)), config, generator)


def shown(batch: Tensors, *networks: QNetwork) -> Tensors:
    """The batch, whose shared pictures, if any, have been shown to the networks.

    Those that can encode each of them once; for others each item has pictures of its own.
    """
    frames = batch.get("frames")
    if frames is None or not len(frames) or all(network.show(frames) for network in networks):
        return batch
    return batch | {name: frames[batch[name]] for name in IMAGES}


def check_goals(config: MethodConfig, goals: GoalConfig) -> None:
    """Raise AmRosError if the goals that are drawn (GoalConfig) contradict the method."""
    if config.method == "her" and goals.random_share > 0:
        raise AmRosError("method her: knows hindsight goals only, set random_share to 0")
    if config.method == "her_random_negatives" and goals.random_share == 0:
        raise AmRosError("method her_random_negatives: needs random goals, set random_share above 0")
    if config.method == "qt_opt" and goals.reward_share == 0:
        raise AmRosError("method qt_opt: learns from a task reward, set reward_share above 0")
    if config.method in ("contrastive", "gcivl") and goals.reward_share > 0:
        raise AmRosError(f"method {config.method}: knows goals only, set reward_share to 0")


__all__ = ["METHODS", "NAMES", "MethodConfig", "check_goals", "loss", "shown"]

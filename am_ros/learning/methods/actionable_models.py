"""Actionable Models: goal-conditioned offline Q-learning with hindsight, action negatives and goal chaining.

Chebotar et al., 2021, equation 1 and Algorithm 1. Q(s, a, g) in (0, 1) is the probability of reaching goal image g;
targets are fitted with the cross-entropy on the sigmoid, positives and negatives alike.
"""

import torch
from torch import Tensor
from torch.nn import functional

from am_ros.action import DISCRETE_DIM
from am_ros.learning import draws
from am_ros.learning.cem import one_hot_actions, sample_actions, uniform_actions
from am_ros.learning.methods.bellman import q_figures, td_target
from am_ros.learning.methods.config import MethodConfig
from am_ros.learning.methods.gcbc import cloning_loss


def negative_actions(seen: Tensor, config: MethodConfig, generator) -> tuple[Tensor, Tensor]:
    """Candidates [B, N, D + 3] and whether each is far enough from the `seen` action [B, D + 3], bool [B, N]."""
    batch, displacements = len(seen), seen.shape[1] - DISCRETE_DIM
    perturbed = round(config.negatives * config.perturbed_share)
    flipped = round(config.negatives * config.flipped_share)
    parts = [uniform_actions(batch, config.negatives - perturbed - flipped, seen.device, generator, displacements)]
    if perturbed:
        std = torch.full((batch, displacements), config.perturbed_std, device=seen.device)
        # A little mass on the other discrete choices: the right displacement with the wrong gripper is a hard negative.
        discrete = 0.7 * seen[:, -DISCRETE_DIM:] + 0.1
        parts.append(sample_actions(seen[:, :-DISCRETE_DIM], std, discrete, perturbed, generator))
    if flipped:
        parts.append(flip_one_dimension(seen, flipped, generator))
    candidates = torch.cat(parts, dim=1)
    offset = candidates - seen.unsqueeze(1)
    distance = offset[..., :-DISCRETE_DIM].norm(dim=-1)
    same_choice = offset[..., -DISCRETE_DIM:].abs().sum(dim=-1) < 0.5
    terminates = seen[:, -1:] > 0.5  # two terminates are the same action
    return candidates, ~(same_choice & ((distance < config.close_distance) | terminates))


def flip_one_dimension(seen: Tensor, count: int, generator=None) -> Tensor:
    """Actions [B, count, D + 3] that differ from the `seen` ones [B, D + 3] in one dimension, half in the gripper."""
    batch, displacements, device = len(seen), seen.shape[1] - DISCRETE_DIM, seen.device
    uniform = draws.uniform((batch, count, displacements), generator, device) * 2 - 1
    which = draws.integers(0, 2 * displacements, (batch, count), generator, device)
    chosen = functional.one_hot(which.clamp(max=displacements), displacements + 1)[..., :displacements]
    continuous = torch.where(chosen.bool(), uniform, seen[:, None, :-DISCRETE_DIM])
    choice = seen[:, -DISCRETE_DIM:].argmax(dim=1, keepdim=True)
    turn = draws.integers(1, DISCRETE_DIM, (batch, count), generator, device)
    choice = torch.where(which >= displacements, (choice + turn) % DISCRETE_DIM, choice.expand(-1, count))
    return one_hot_actions(continuous, choice)


def negative_loss(network, encoding, action: Tensor, config: MethodConfig, generator):
    """Return (logits of the seen actions [B], loss of the unseen ones per item [B], their logits [B, N]).

    Candidates are weighted by softmax(Q / temperature); the gradient does not pass through that choice.
    """
    candidates, far = negative_actions(action, config, generator)
    logits = network.score(encoding, torch.cat([action.unsqueeze(1), candidates], dim=1)).float()
    seen, unseen = logits[:, 0], logits[:, 1:]
    with torch.no_grad():
        sharpness = (unseen.sigmoid() / config.temperature).masked_fill(~far, -torch.inf)
        weights = sharpness.softmax(dim=1).nan_to_num(0.0)  # no candidate is far enough: no negative
    # Cross-entropy with target 0 is softplus of the logit.
    return seen, (weights * functional.softplus(unseen)).sum(dim=1), unseen


def loss(network, lagged, batch: dict[str, Tensor], config: MethodConfig, generator=None):
    """Return (loss, parts): equation 1 with cross-entropy, and the figures for the log."""
    y = td_target(lagged, batch, config, generator)
    encoding = network.encode(batch["image"], batch["goal_image"], batch["state"])
    seen, negative, unseen = negative_loss(network, encoding, batch["action"], config, generator)
    positive, negative = functional.binary_cross_entropy_with_logits(seen, y), negative.mean()
    total = positive + config.negative_weight * negative
    parts = {"loss_positive": positive, "loss_negative": negative, **q_figures(seen, y, batch)}
    parts["q_unseen"] = unseen.sigmoid().mean()
    prior = network.prior(encoding)
    if prior is not None and config.cloning_weight > 0:
        parts["loss_prior"] = cloning_loss(prior, batch["action"], batch["steps_to_goal"] >= 0)
        total = total + config.cloning_weight * parts["loss_prior"]
    return total, {name: value.detach() for name, value in {"loss": total, **parts}.items()}

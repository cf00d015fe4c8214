"""Actionable Models: goal-conditioned offline Q-learning with hindsight, action negatives and goal chaining.

Chebotar et al., 2021, equation 1 and Algorithm 1. Q(s, a, g) in (0, 1) is the probability of reaching goal image g;
targets are fitted with the cross-entropy on the sigmoid, positives and negatives alike.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from am_ros.action import CONTINUOUS_DIM, TERMINATE
from am_ros.configuration import parameter
from am_ros.learning.cem import CemConfig, maximise, sample_actions, uniform_actions


@dataclass(frozen=True)
class ActionableModelsConfig:
    """Everything the paper leaves open is a value here, with the reason for its default."""

    gamma: float = parameter(0.95, "discount; 0.9 in QT-Opt, episodes here take up to 20 steps", range=(0.0, 0.9999))
    # The observed return bounds the value of a hindsight goal k steps away from below, where dynamics are nearly
    # deterministic. Without it values fade faster than they propagate: lift and place were never learned in trials.
    monte_carlo_floor: bool = parameter(True, "target at least gamma^(k-1) for a goal that was reached k steps later")
    negatives: int = parameter(12, "candidates for negative actions per item", range=(1, 1024))
    perturbed_share: float = parameter(0.25, "share of candidates drawn around the seen action", range=(0.0, 1.0))
    perturbed_std: float = parameter(0.4, "their standard deviation [normalised]", range=(0.01, 2.0))
    # Q lies in (0, 1), so exp(Q) differs by at most a factor e; a temperature sharpens the choice.
    temperature: float = parameter(0.3, "negatives are weighted by softmax(Q / temperature)", range=(0.01, 100.0))
    negative_weight: float = parameter(1.0, "weight of the negatives in the loss", range=(0.0, 100.0))
    # In normalised units; another gripper command or terminate always counts as far.
    close_distance: float = parameter(
        0.3, "candidates nearer than this to the seen action are dropped", range=(0.0, 4.0)
    )
    target_cem: CemConfig = CemConfig(samples=8, iterations=1, elite_fraction=0.25, prior_share=0.5, prior_weight=0.0)
    prior_weight: float = parameter(
        1.0, "weight of cloning the behaviour prior, if the network has one", range=(0.0, 10.0)
    )


def td_target(network, batch: dict[str, Tensor], config: ActionableModelsConfig, generator) -> Tensor:
    """Targets y [B] in [0, 1] from the lagged `network` (equation 1; line 6 of Algorithm 1 for chaining).

    1 where the goal is reached by this transition, gamma * max_a Q(s', a, g) elsewhere; on the final transition of
    a chained sub-trajectory gamma * Q(s', a', g) with the action a' that was taken there. A terminating action ends
    the episode where it is, so away from the goal its value is 0. `batch` is described in replay/sampling.py.
    """
    steps, action = batch["steps_to_goal"], batch["action"]
    with torch.no_grad():
        encoding = network.encode(batch["next_image"], batch["goal_image"], batch["next_state"])
        prior = network.prior(encoding)
        _, best = maximise(
            lambda a: network.score(encoding, a).float().sigmoid(),
            len(action),
            config.target_cem,
            action.device,
            generator,
            prior,
        )
        if batch["final"].any():
            seen_next = network.score(encoding, batch["next_action"].unsqueeze(1)).squeeze(1).float().sigmoid()
            best = torch.where(batch["final"], seen_next, best)
    y = config.gamma * best
    if config.monte_carlo_floor:
        y = torch.where(steps >= 1, torch.maximum(y, config.gamma ** (steps - 1).clamp_min(0).float()), y)
    terminates = action[:, TERMINATE] > 0.5
    y = torch.where(terminates, torch.zeros_like(y), y)
    # k = 1 means s' = g; k = 0 is terminate at the goal. A recorded terminate leaves the image as it was: s' = s.
    reached = (steps == 0) | (steps == 1)
    return torch.where(reached, torch.ones_like(y), y)


def negative_actions(seen: Tensor, config: ActionableModelsConfig, generator) -> tuple[Tensor, Tensor]:
    """Candidates [B, N, 7] and whether each is far enough from the `seen` action [B, 7], bool [B, N]."""
    batch, perturbed = len(seen), round(config.negatives * config.perturbed_share)
    parts = [uniform_actions(batch, config.negatives - perturbed, seen.device, generator)]
    if perturbed:
        std = torch.full((batch, CONTINUOUS_DIM), config.perturbed_std, device=seen.device)
        # A little mass on the other discrete choices: the right displacement with the wrong gripper is a hard negative.
        discrete = 0.7 * seen[:, CONTINUOUS_DIM:] + 0.1
        parts.append(sample_actions(seen[:, :CONTINUOUS_DIM], std, discrete, perturbed, generator))
    candidates = torch.cat(parts, dim=1)
    offset = candidates - seen.unsqueeze(1)
    distance = offset[..., :CONTINUOUS_DIM].norm(dim=-1)
    same_choice = offset[..., CONTINUOUS_DIM:].abs().sum(dim=-1) < 0.5
    terminates = seen[:, TERMINATE].unsqueeze(1) > 0.5  # two terminates are the same action
    return candidates, ~(same_choice & ((distance < config.close_distance) | terminates))


def loss(network, target_network, batch: dict[str, Tensor], config: ActionableModelsConfig, generator=None):
    """Return (loss, parts): equation 1 with cross-entropy, and the figures for the log.

    The gradient does not pass through the choice of negatives.
    """
    y = td_target(target_network, batch, config, generator)
    candidates, far = negative_actions(batch["action"], config, generator)
    encoding = network.encode(batch["image"], batch["goal_image"], batch["state"])
    logits = network.score(encoding, torch.cat([batch["action"].unsqueeze(1), candidates], dim=1)).float()
    seen, unseen = logits[:, 0], logits[:, 1:]

    positive_loss = functional.binary_cross_entropy_with_logits(seen, y)
    with torch.no_grad():
        sharpness = (unseen.sigmoid() / config.temperature).masked_fill(~far, -torch.inf)
        weights = sharpness.softmax(dim=1).nan_to_num(0.0)  # no candidate is far enough: no negative
    # Cross-entropy with target 0 is softplus of the logit.
    negative_loss = (weights * functional.softplus(unseen)).sum(dim=1).mean()
    total = positive_loss + config.negative_weight * negative_loss

    hindsight = batch["steps_to_goal"] >= 0
    parts = {
        "loss": total,
        "loss_positive": positive_loss,
        "loss_negative": negative_loss,
        "q_seen": _mean(seen.sigmoid(), hindsight),
        "q_seen_random_goal": _mean(seen.sigmoid(), ~hindsight),
        "q_unseen": unseen.sigmoid().mean(),
        "target": y.mean(),
    }
    prior = network.prior(encoding)
    if prior is not None and config.prior_weight > 0:
        cloning = cloning_loss(prior, batch["action"], hindsight)
        total = total + config.prior_weight * cloning
        parts |= {"loss_prior": cloning, "loss": total}
    return total, {name: value.detach() for name, value in parts.items()}


def cloning_loss(prior, action: Tensor, hindsight: Tensor) -> Tensor:
    """Goal-conditioned cloning: Huber on the displacement of moves, cross-entropy on the discrete choice.

    Only items whose goal the data reached (`hindsight`, bool [B]) say anything of how to reach it.
    """
    moves = hindsight & (action[:, TERMINATE] < 0.5)
    displacement = functional.smooth_l1_loss(prior.mean, action[:, :CONTINUOUS_DIM], reduction="none", beta=0.2).sum(
        dim=1
    )
    choice = functional.cross_entropy(prior.logits, action[:, CONTINUOUS_DIM:].argmax(dim=1), reduction="none")
    return _mean(displacement, moves) + 0.2 * _mean(choice, hindsight)


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum().clamp_min(1)

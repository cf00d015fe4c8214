"""Targets of goal-conditioned Q-learning (equation 1 of the paper), shared by all methods that learn a Q."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from am_ros.action import DISCRETE_DIM
from am_ros.learning.cem import maximise
from am_ros.learning.method_config import MethodConfig
from am_ros.learning.networks import Lagged, QNetwork, as_list
from am_ros.learning.types import Generator, Loss, Tensors


@torch.no_grad()
def td_target(lagged: Lagged, batch: Tensors, config: MethodConfig, generator: Generator) -> Tensor:
    """Targets y [B] in [0, 1]; `lagged` is the lagged network, or two of them for the double-Q minimum.

    1 where the goal is reached by this transition, gamma * max_a Q(s', a, g) elsewhere; on the final transition of a
    chained sub-trajectory (line 6 of Algorithm 1) gamma * Q(s', a', g) with the action a' that was taken there. A
    terminating action ends the episode where it is, so away from the goal its value is 0. Items with a task reward end
    with it. `batch` is described in replay/sampling.py.
    """
    networks = as_list(lagged)
    steps, action = batch["steps_to_goal"], batch["action"]
    y = config.gamma * _next_value(networks, batch, config, generator)
    if config.monte_carlo_floor:
        y = torch.where(steps >= 1, torch.maximum(y, config.gamma ** (steps - 1).clamp_min(0).float()), y)
    terminates = action[:, -1] > 0.5
    y = torch.where(terminates, torch.zeros_like(y), y)
    # k = 1 means s' = g; k = 0 is terminate at the goal. A recorded terminate leaves the image as it was: s' = s.
    y = torch.where((steps == 0) | (steps == 1), torch.ones_like(y), y)
    return torch.where(batch["ended"], batch["reward"], y)


def _next_value(
    networks: Sequence[QNetwork], batch: Tensors, config: MethodConfig, generator: Generator
) -> Tensor:
    """max_a Q(s', a, g) [B]: the maximising action by the first network, its value by the lowest of all."""
    inputs = batch["next_image"], batch["goal_image"], batch["next_state"]
    first = networks[0]
    encoding = first.encode(*inputs)
    # What the data did next comes first: the best action is worth at least as much. An episode's last observation has
    # no such action.
    following, others = batch["next_action"].unsqueeze(1), batch["other_actions"]
    acted = following[..., -DISCRETE_DIM:].sum(dim=-1, keepdim=True) > 0.5
    data = torch.cat([torch.where(acted, following, others[:, :1]), others], dim=1) if others.shape[1] else None
    final, prior = batch["final"].unsqueeze(1), first.prior(encoding) if config.target_cem.uses_prior else None
    # Where a chained sub-trajectory ends, the action that was taken there stands in for all candidates.
    best_action, best = maximise(
        lambda a: first.score(encoding, torch.where(final.unsqueeze(1), following, a)).float().sigmoid(),
        len(batch["action"]),
        config.target_cem,
        batch["action"].device,
        generator,
        prior,
        batch["action"].shape[1] - DISCRETE_DIM,
        data,
    )
    action = torch.where(final, batch["next_action"], best_action).unsqueeze(1)
    if prior is not None and config.target_cem.prior_weight:
        # What the search maximised holds the prior's likelihood; a value of its own is a value in (0, 1).
        value = first.score(encoding, action).squeeze(1).float().sigmoid()
    else:
        value = torch.where(best.isfinite(), best, torch.nan)  # no candidate had a value: the loss has to say so
    for other in networks[1:]:
        value = torch.minimum(value, other.score(other.encode(*inputs), action).squeeze(1).float().sigmoid())
    return value


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the values [B] where `mask` [B] holds; 0 where it never does."""
    return (values * mask).sum() / mask.sum().clamp_min(1)


def q_figures(seen: Tensor, y: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the log shows of a Q-function: mean Q at seen actions (logits [B]), by kind of goal, and the mean target."""
    hindsight = batch["steps_to_goal"] >= 0
    return {
        "q_seen": masked_mean(seen.sigmoid(), hindsight),
        "q_seen_random_goal": masked_mean(seen.sigmoid(), ~hindsight),
        "target": y.mean(),
    }


def regression_loss(network: QNetwork, y: Tensor, batch: Tensors) -> Loss:
    """Return (loss, parts) of a method without negative actions: cross-entropy of Q at the seen actions with y [B]."""
    encoding = network.encode(batch["image"], batch["goal_image"], batch["state"])
    seen = network.score(encoding, batch["action"].unsqueeze(1)).float().squeeze(1)
    total = functional.binary_cross_entropy_with_logits(seen, y)
    parts = {"loss": total, "loss_positive": total, **q_figures(seen, y, batch)}
    return total, {name: value.detach() for name, value in parts.items()}

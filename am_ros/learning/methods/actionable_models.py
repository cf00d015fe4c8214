"""Actionable Models: goal-conditioned offline Q-learning with hindsight, action negatives and goal chaining.

Chebotar et al., 2021, equation 1 and Algorithm 1. Q(s, a, g) in (0, 1) is the probability of reaching goal image g;
targets are fitted with the cross-entropy on the sigmoid, positives and negatives alike.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from am_ros.action import DISCRETE_DIM
from am_ros.errors import AmRosError
from am_ros.learning import draws
from am_ros.learning.cem import one_hot_actions, refit, sample_actions, uniform_actions, without_terminate
from am_ros.learning.method_config import MethodConfig
from am_ros.learning.methods.bellman import q_figures, td_target
from am_ros.learning.methods.gcbc import cloned
from am_ros.learning.networks import Lagged, QNetwork, as_list
from am_ros.learning.types import Encoding, Generator, Loss, Tensors

Score = Callable[[Tensor], Tensor]  # logits [B, K] of actions [B, K, D + 3]


def negative_actions(
    seen: Tensor,
    config: MethodConfig,
    generator: Generator,
    score: Score | None = None,
    other_actions: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Candidates [B, N, D + 3] and whether each is far enough from the `seen` action [B, D + 3], bool [B, N].

    `score` gives the logits [B, K] of candidates [B, K, D + 3]; it is needed for a `searched_share` only.
    `other_actions` [B, P, D + 3] of the data are needed for a `data_share` only; no more are used than there are.
    """
    batch, displacements = len(seen), seen.shape[1] - DISCRETE_DIM
    perturbed = round(config.negatives * config.perturbed_share)
    flipped = round(config.negatives * config.flipped_share)
    searched = round(config.negatives * config.searched_share)
    taken = round(config.negatives * config.data_share) if other_actions is not None else 0
    taken = min(taken, other_actions.shape[1]) if other_actions is not None else 0
    rest = config.negatives - perturbed - flipped - searched - taken
    if rest < 0:
        raise AmRosError(
            "parameters perturbed_share, flipped_share, searched_share and data_share: their sum must not exceed 1"
        )
    parts = [uniform_actions(batch, rest, seen.device, generator, displacements)]
    if perturbed:
        std = torch.full((batch, displacements), config.perturbed_std, device=seen.device)
        # A little mass on the other discrete choices: the right displacement with the wrong gripper is a hard negative.
        discrete = 0.7 * seen[:, -DISCRETE_DIM:] + 0.1
        parts.append(sample_actions(seen[:, :-DISCRETE_DIM], std, discrete, perturbed, generator))
    if flipped:
        parts.append(flip_one_dimension(seen, flipped, generator))
    if searched:
        assert score is not None, "searched_share needs the network's scores"
        parts.append(search_actions(score, seen, searched, generator))
    if taken and other_actions is not None:
        parts.append(other_actions[:, :taken])
    candidates = torch.cat(parts, dim=1)
    if not config.terminates:
        candidates = without_terminate(candidates)
    distance, same_choice = _beside(seen, candidates)
    close = seen[:, -1:] > 0.5  # two terminates are the same action
    if not config.kernel_std:
        close = close | (distance < config.close_distance)
    return candidates, ~(same_choice & close)


def _beside(seen: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """Distances of the displacements and whether the choices agree, [B, N], of `seen` [B, D + 3] and the candidates."""
    offset = candidates - seen.unsqueeze(1)
    return offset[..., :-DISCRETE_DIM].norm(dim=-1), offset[..., -DISCRETE_DIM:].abs().sum(dim=-1) < 0.5


def flip_one_dimension(seen: Tensor, count: int, generator: Generator = None) -> Tensor:
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


@torch.no_grad()
def search_actions(score: Score, seen: Tensor, count: int, generator: Generator = None) -> Tensor:
    """Actions [B, count, D + 3] that a search over Q would look at: samples of CEM's second iteration."""
    first = uniform_actions(len(seen), 4 * count, seen.device, generator, seen.shape[1] - DISCRETE_DIM)
    _, elites = score(first).topk(max(2, count // 2), dim=1)
    best = first.gather(1, elites.unsqueeze(-1).expand(-1, -1, first.shape[-1]))
    mean, std, probabilities = refit(best)
    return sample_actions(mean, std, probabilities, count, generator)


def skew_goals(lagged: Lagged, batch: Tensors, config: MethodConfig, generator: Generator = None) -> Tensors:
    """The batch with each random goal drawn anew from `goal_candidates` by softmax(Q / goal_temperature).

    Section 4.2: chaining learns most from goals that can be reached from where the sub-trajectory ends. The candidates
    are the goals of the batch itself, its random ones first, so that nothing more has to be read.
    """
    chained = (batch["steps_to_goal"] < 0) & ~batch["rewarded"]
    rows = torch.nonzero(chained).squeeze(1)
    pool = rows
    if config.goal_candidates > len(rows):
        pool = torch.cat([rows, torch.nonzero(~chained & ~batch["rewarded"]).squeeze(1)])
    count = min(config.goal_candidates, len(pool))
    if count < 2 or not len(rows):
        return batch
    network = as_list(lagged)[0]
    offsets = torch.arange(count, device=rows.device)
    which = pool[(torch.arange(len(rows), device=rows.device).unsqueeze(1) + offsets) % len(pool)]  # [R, count]
    repeated = rows.repeat_interleave(count)
    with torch.no_grad():
        encoding = network.encode(
            batch["image"][repeated], batch["goal_image"][which.flatten()], batch["state"][repeated]
        )
        q = network.score(encoding, batch["action"][repeated].unsqueeze(1)).float().sigmoid().view(-1, count)
    chosen = draws.categorical((q / config.goal_temperature).softmax(dim=1), 1, _alone(generator))
    goals = batch["goal_image"].clone()
    goals[rows] = batch["goal_image"][which.gather(1, chosen).squeeze(1)]
    return batch | {"goal_image": goals}


def _alone(generator: Generator) -> torch.Generator | None:
    """How many random goals there are differs from process to process: each draws for its own."""
    return generator.generator if isinstance(generator, draws.Share) else generator


def negative_loss(
    network: QNetwork, encoding: Encoding, batch: Tensors, config: MethodConfig, generator: Generator, y: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return (logits of the seen actions [B], loss of the unseen ones per item [B], their logits [B, N]).

    Candidates are weighted by softmax(Q / temperature); the gradient does not pass through that choice. `y` [B] are
    the targets of the seen actions, which near ones share with a `kernel_std`.
    """
    action = batch["action"]
    candidates, far = negative_actions(
        action, config, generator, lambda a: network.score(encoding, a).float(), batch["other_actions"]
    )
    far = far & ~(batch["near_goal"].unsqueeze(1) & (candidates[..., -1] > 0.5))  # to stop there is no mistake
    logits = network.score(encoding, torch.cat([action.unsqueeze(1), candidates], dim=1)).float()
    seen, unseen = logits[:, 0], logits[:, 1:]
    with torch.no_grad():
        sharpness = (unseen.sigmoid() / config.temperature).masked_fill(~far, -torch.inf)
        weights = sharpness.softmax(dim=1).nan_to_num(0.0)  # no candidate is far enough: no negative
    # Cross-entropy with target 0 is softplus of the logit.
    unseen_loss = functional.softplus(unseen)
    if config.kernel_std:
        unseen_loss = unseen_loss - _kernel_targets(action, candidates, y, config.kernel_std) * unseen
    negative = (weights * unseen_loss).sum(dim=1)
    if config.ranking_weight:
        negative = negative + config.ranking_weight * _ranking(seen, unseen, far) * (batch["steps_to_goal"] >= 0)
    return seen, negative, unseen


def _kernel_targets(seen: Tensor, candidates: Tensor, y: Tensor, std: float) -> Tensor:
    """Targets [B, N] of candidates: the seen action's y [B], less the farther they are; 0 for another choice."""
    distance, same_choice = _beside(seen, candidates)
    return y.unsqueeze(1) * torch.exp(-0.5 * (distance / std).square()) * same_choice


def _ranking(seen: Tensor, unseen: Tensor, far: Tensor) -> Tensor:
    """Cross-entropy [B] of the seen action's logit [B] among those of the far candidates [B, N].

    The regulariser of conservative Q-learning (Kumar et al., 2020): it asks for an order, not for zeros.
    """
    return functional.softplus(unseen.masked_fill(~far, -torch.inf).logsumexp(dim=1).clamp_min(-1e4) - seen)


def loss(
    network: QNetwork, lagged: Lagged, batch: Tensors, config: MethodConfig, generator: Generator = None
) -> Loss:
    """Return (loss, parts): equation 1 with cross-entropy, and the figures for the log."""
    if config.goal_candidates > 1:
        batch = skew_goals(lagged, batch, config, generator)
    y = td_target(lagged, batch, config, generator)
    encoding = network.encode(batch["image"], batch["goal_image"], batch["state"])
    seen, negative, unseen = negative_loss(network, encoding, batch, config, generator, y)
    chained = (batch["steps_to_goal"] < 0) & ~batch["rewarded"]
    negative = (negative * torch.where(chained, config.chained_negative_weight, 1.0)).mean()
    positive = functional.binary_cross_entropy_with_logits(seen, y)
    total = positive + config.negative_weight * negative
    parts = {"loss_positive": positive, "loss_negative": negative, **q_figures(seen, y, batch)}
    parts["q_unseen"] = unseen.sigmoid().mean()
    cloning, parts_of_it = cloned(network, encoding, batch, config)
    total = total + cloning
    return total, {name: value.detach() for name, value in {"loss": total, **parts, **parts_of_it}.items()}

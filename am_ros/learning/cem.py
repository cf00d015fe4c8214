"""The cross-entropy method over the mixed action space, for a whole batch at once (QT-Opt, section 4.2).

Displacements come from a diagonal Gaussian, the discrete part (close, open, terminate) from a categorical; both are
refit to the elites of the latest iteration. The best sample seen in any iteration is returned.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from am_ros.action import CONTINUOUS_DIM, DISCRETE_DIM
from am_ros.learning import draws
from am_ros.learning.cem_config import CemConfig as CemConfig
from am_ros.learning.types import Device, Generator

_NEVER = -40.0  # added to a logit; minus infinity would make NaN of zero times it


@dataclass
class Prior:
    """A proposal per state: `mean` [B, D] of the displacements (4 on the robot), `logits` [B, 3] of the choice."""

    mean: Tensor
    logits: Tensor

    def log_likelihood(self, actions: Tensor, std: float) -> Tensor:
        """Log-density [B, N] of actions [B, N, D + 3] up to a constant: Gaussian of `std`, categorical."""
        offset = actions[..., :-DISCRETE_DIM] - self.mean.unsqueeze(1)
        moves = 1 - actions[..., -1]  # a terminating action has no displacement
        squared = (offset / std).square().sum(dim=-1) * moves
        return (actions[..., -DISCRETE_DIM:] * self.logits.log_softmax(dim=-1).unsqueeze(1)).sum(dim=-1) - squared / 2


def objective_value(config: CemConfig, logits: Tensor) -> Tensor:
    """What is maximised, of logits of Q in any shape."""
    if config.objective == "prior":
        return torch.zeros_like(logits)
    if config.objective == "log_q":
        return torch.nn.functional.logsigmoid(logits)
    return logits if config.objective == "logit" else logits.sigmoid()


def one_hot_actions(continuous: Tensor, choice: Tensor) -> Tensor:
    """Join displacements [..., D] and choices [...] (0 close, 1 open, 2 terminate) to action vectors [..., D + 3].

    A terminating action moves nothing: its displacement is zero.
    """
    discrete = torch.nn.functional.one_hot(choice, DISCRETE_DIM).to(continuous.dtype)
    moves = (choice != DISCRETE_DIM - 1).to(continuous.dtype).unsqueeze(-1)
    return torch.cat([continuous * moves, discrete], dim=-1)


def sample_actions(mean: Tensor, std: Tensor, probabilities: Tensor, count: int, generator: Generator = None) -> Tensor:
    """Draw [B, count, D + 3] action vectors from Gaussians `mean`, `std` [B, D] and categoricals [B, 3]."""
    batch, displacements = mean.shape
    noise = draws.normal((batch, count, displacements), generator, mean.device)
    continuous = (mean.unsqueeze(1) + std.unsqueeze(1) * noise).clamp(-1, 1)
    return one_hot_actions(continuous, draws.categorical(probabilities, count, generator))


def uniform_actions(
    batch: int, count: int, device: Device = None, generator: Generator = None, displacements: int = CONTINUOUS_DIM
) -> Tensor:
    """Draw [batch, count, displacements + 3] action vectors uniformly over the action space."""
    continuous = draws.uniform((batch, count, displacements), generator, device) * 2 - 1
    choice = draws.integers(0, DISCRETE_DIM, (batch, count), generator, device)
    return one_hot_actions(continuous, choice)


def refit(elites: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and standard deviation [B, D] and frequencies [B, 3] of elites [B, K, D + 3]."""
    displacement = elites[..., :-DISCRETE_DIM]
    return displacement.mean(dim=1), displacement.std(dim=1), elites[..., -DISCRETE_DIM:].mean(dim=1)


def around_elites(elites: Tensor, count: int, std: float, generator: Generator = None) -> Tensor:
    """Draw [B, count, D + 3] actions, each near one of the elites [B, K, D + 3] and of its choice."""
    batch, kept = elites.shape[:2]
    centre = _rows(elites, draws.integers(0, kept, (batch, count), generator, elites.device))
    noise = draws.normal((batch, count, centre.shape[-1] - DISCRETE_DIM), generator, elites.device)
    displacement = (centre[..., :-DISCRETE_DIM] + std * noise).clamp(-1, 1)
    return torch.cat([displacement * (1 - centre[..., -1:]), centre[..., -DISCRETE_DIM:]], dim=-1)


def _rows(actions: Tensor, which: Tensor) -> Tensor:
    """actions [B, N, D + 3] at indices [B, K]."""
    return actions.gather(1, which.unsqueeze(-1).expand(-1, -1, actions.shape[-1]))


def _first(
    config: CemConfig,
    prior: Prior | None,
    data: Tensor | None,
    mean: Tensor,
    std: Tensor,
    probabilities: Tensor,
    generator: Generator,
    proposing: bool,
) -> Tensor:
    """Candidates [B, samples, D + 3]; of the first iteration, some come from the prior and some from the data."""
    proposed = round(config.samples * config.prior_share) if prior is not None and proposing else 0
    taken = round(config.samples * config.data_share) if data is not None and proposing else 0
    taken = min(taken, config.samples - proposed, data.shape[1] if data is not None else 0)
    parts = []
    if proposed + taken < config.samples:
        parts.append(sample_actions(mean, std, probabilities, config.samples - proposed - taken, generator))
    if proposed and prior is not None:
        parts.append(_around(prior, proposed, config.prior_std, generator))
    if taken and data is not None:
        actions = data[:, :taken].expand(len(mean), -1, -1)
        parts.append(actions if config.terminate else without_terminate(actions))
    return torch.cat(parts, dim=1)


def without_terminate(actions: Tensor) -> Tensor:
    """The actions [..., D + 3], with those that terminate opening the gripper instead."""
    ends = actions[..., -1:]
    return torch.cat([actions[..., :-2], actions[..., -2:-1] + ends, torch.zeros_like(ends)], dim=-1)


@torch.no_grad()
def maximise(
    score: Callable[[Tensor], Tensor],
    batch: int,
    config: CemConfig,
    device: Device = None,
    generator: Generator = None,
    prior: Prior | None = None,
    displacements: int = CONTINUOUS_DIM,
    data: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the best actions [B, displacements + 3] and their scores [B].

    `score` maps candidates [B, N, displacements + 3] to scores [B, N]; a NaN counts as minus infinity, never as a
    number. With a `prior`, a share of the first candidates is drawn around it (its mean itself among them); with
    `data`, actions [B, P, D + 3], a share is taken from its beginning; the rest comes from the initial distribution.
    """
    mean = torch.zeros(batch, displacements, device=device)
    std = torch.tensor(config.first_std(displacements), device=device).expand(batch, -1)
    probabilities = torch.full((batch, DISCRETE_DIM), 1 / DISCRETE_DIM, device=device)
    if not config.terminate:
        probabilities[:, -1] = 0
        if prior is not None:
            never = torch.tensor([0.0, 0.0, _NEVER], device=device)
            prior = Prior(prior.mean, prior.logits + never)
    best_action = torch.zeros(batch, displacements + DISCRETE_DIM, device=device)
    best_score = torch.full((batch,), -torch.inf, device=device)
    rows = torch.arange(batch, device=device)
    elites = best_action.unsqueeze(1)
    for iteration in range(config.iterations):
        if iteration and config.refit == "elites":
            candidates = around_elites(elites, config.samples, config.elite_std * 0.5 ** (iteration - 1), generator)
        else:
            candidates = _first(config, prior, data, mean, std, probabilities, generator, proposing=iteration == 0)
        scores = score(candidates).float()
        if prior is not None and config.prior_weight:
            scores = scores + config.prior_weight * prior.log_likelihood(candidates, config.prior_std)
        scores = torch.where(scores.isnan(), -torch.inf, scores)
        top_scores, top = scores.topk(config.elites, dim=1)
        better = top_scores[:, 0] > best_score
        best_score = torch.where(better, top_scores[:, 0], best_score)
        best_action = torch.where(better.unsqueeze(1), candidates[rows, top[:, 0]], best_action)
        elites = _rows(candidates, top)
        if iteration + 1 < config.iterations and config.refit == "gaussian":
            mean, std, probabilities = refit(elites)
    return best_action, best_score


def _around(prior: Prior, count: int, std: float, generator: Generator) -> Tensor:
    actions = sample_actions(
        prior.mean, torch.full_like(prior.mean, std), prior.logits.softmax(dim=-1), count, generator
    )
    actions[:, 0] = one_hot_actions(prior.mean.clamp(-1, 1), prior.logits.argmax(dim=-1))
    return actions

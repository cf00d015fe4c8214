"""Figures on episodes that the training never sees: the loss, and whether Q ranks the right goal first."""

import dataclasses
import math

import torch

from am_ros.learning import methods
from am_ros.learning.networks import QNetwork
from am_ros.learning.trainer_config import LearnerConfig
from am_ros.learning.types import Tensors
from am_ros.replay.sampling import Sampler
from am_ros.replay.store import ReplayStore

BATCHES = 4
EVERY_S = 20.0
OTHER_GOALS = 8


class HeldOut:
    """Always the same few batches of the held-out episodes of a store, looked at now and then."""

    def __init__(self, store: ReplayStore, config: LearnerConfig, device: torch.device) -> None:
        sampler = Sampler(store, config.goals, min(128, config.trainer.batch_size), config.trainer.seed, held_out=True)
        self._config, self._device = config, device
        self._batches = [
            {f.name: torch.from_numpy(getattr(b, f.name)).to(device) for f in dataclasses.fields(b)}
            for b in map(sampler.batch, range(BATCHES))
        ]
        self._last: dict[str, float] = {}
        self._due = 0.0
        # Of the last look, the higher the better. The loss of a Q-function is measured against its own targets, which
        # move; how well it ranks goals is not. Cloning has no Q to rank with.
        self.score = -math.inf

    @torch.no_grad()
    def figures(self, network: QNetwork, now_s: float, last: bool = False) -> dict[str, float]:
        """`held_out_loss`, and `held_out_ranking`: how often Q of a seen action is higher for the goal it led to than
        for the goal of another item (0.5 is chance). Computed anew every 20 s; in between the last ones."""
        if now_s < self._due and not last:
            return self._last
        self._due = now_s + EVERY_S
        losses, rankings = [], []
        for batch in self._batches:
            generator = torch.Generator(self._device).manual_seed(0)
            losses.append(float(methods.loss(network, network, batch, self._config.method, generator)[0]))
            rankings.append(_ranking(network, batch))
        self._last = {
            "held_out_loss": sum(losses) / len(losses),
            "held_out_ranking": sum(rankings) / len(rankings),
        }
        ranks = self._config.method.learns_q
        self.score = self._last["held_out_ranking"] if ranks else -self._last["held_out_loss"]
        return self._last


def _ranking(network: QNetwork, batch: Tensors) -> float:
    led_there = (batch["steps_to_goal"] >= 1) & ~batch["rewarded"]
    if led_there.sum() < 2:
        return 0.5
    image, goal, state, action = (batch[k][led_there] for k in ("image", "goal_image", "state", "action"))
    action = action.unsqueeze(1)
    own = network.score(network.encode(image, goal, state), action)
    higher = [
        (own > network.score(network.encode(image, goal.roll(shift, dims=0), state), action)).float().mean()
        for shift in range(1, min(OTHER_GOALS, len(goal) - 1) + 1)
    ]
    return float(torch.stack(higher).mean())

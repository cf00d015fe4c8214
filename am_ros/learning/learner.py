"""What learns: the network, its lagged copies, the optimiser, and one gradient update of them."""

import math

import torch
from torch import nn

from am_ros.errors import AmRosError
from am_ros.learning import methods
from am_ros.learning.device import find_device, has_bf16
from am_ros.learning.draws import Share
from am_ros.learning.group import Alone, Group
from am_ros.learning.methods import MethodConfig
from am_ros.learning.networks import Lagged, QNetwork, check_fits, make_network
from am_ros.learning.own_prior_network import OwnPriorNetwork
from am_ros.learning.trainer_config import LearnerConfig
from am_ros.learning.types import Generator, Loss, Tensors
from am_ros.replay.store import ReplayStore


class Objective(nn.Module):
    """The loss as one module, so that what averages gradients (group.py) sees where a pass begins and ends."""

    def __init__(self, network: QNetwork, method: MethodConfig) -> None:
        super().__init__()
        self.network, self.method = network, method

    def forward(self, lagged: Lagged, batch: Tensors, generator: Generator) -> Loss:
        """As methods.loss."""
        return methods.loss(self.network, lagged, batch, self.method, generator)


def freeze_prior(network: QNetwork) -> None:
    """No gradient for the behaviour prior; raises AmRosError where Q shares its encoder."""
    if not isinstance(network, OwnPriorNetwork):
        raise AmRosError("parameter frozen_prior: Q and behaviour prior share an encoder; set prior_encoder to true")
    network.prior_encoder.requires_grad_(False)
    network.prior_head.requires_grad_(False)


class Learner:
    """The weights of a training: `network` learns, `target` follows it and acts, `older` follows that one (double Q).

    `update` counts the gradient updates done, `trained_s` the seconds spent on them and `trained_cpu_s` those of this
    process's CPU time. `group` joins it with the learners of other processes, which see the other items of each batch;
    `weight` is what the items of this one count beside theirs, and `stopped` says that anyone wished the end.
    """

    def __init__(self, config: LearnerConfig, group: Alone | Group) -> None:
        self.config, self.group = config, group
        settings = config.trainer
        if settings.threads:
            torch.set_num_threads(settings.threads)
        self.device = find_device(settings.device)
        self.bf16 = settings.precision == "bf16" or (settings.precision == "auto" and has_bf16(self.device))
        torch.manual_seed(settings.seed)
        self.network = self._made()
        if config.method.frozen_prior:
            freeze_prior(self.network)
        self.target = self._lagged_copy()
        learned = [weight for weight in self.network.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(
            learned, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        self.older = self._lagged_copy() if config.method.double_q else None
        self.update = 0
        self.trained_s = 0.0
        self.trained_cpu_s = 0.0
        self.weight = 1.0
        self.stopped = False
        self._objective = group.wrap(Objective(self.network, config.method), settings.gradient_compression)

    def _made(self) -> QNetwork:
        network = make_network(self.config.network).to(self.device)
        return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]  # torch's stub

    def _lagged_copy(self) -> QNetwork:
        copy = self._made()
        copy.load_state_dict(self.network.state_dict())
        return copy.requires_grad_(False).eval()  # as it acts: batch norm by its running statistics

    @property
    def networks(self) -> list[QNetwork]:
        """All of them."""
        return [network for network in (self.network, self.target, self.older) if network is not None]

    def look_at(self, store: ReplayStore) -> None:
        """Before the first batch: does the store fit the network? Networks on vectors take their scale from it.

        All processes go on with the weights and scales of the first one.
        """
        check_fits(store, self.config.network)
        for network in self.networks:
            if len(store):
                network.look_at(store.observations)
        self.group.same_state(self.networks)

    def step(self, batch: Tensors, stop: bool = False) -> tuple[Tensors, bool]:
        """One gradient update: the parts of the loss, and whether the training is over (`stop`: it was asked to be).

        The first process's clock and anyone's wish decide for all, so that no one waits for a partner that has stopped.
        Raises AmRosError, naming the update, if the gradient is not finite or another process is lost; the weights stay
        as they were.
        """
        settings = self.config.trainer
        seed = settings.seed * 1_000_003 + self.update
        generator = Share(
            torch.Generator(self.device).manual_seed(seed), self.group.rank, self.group.size, settings.batch_size
        )
        lagged = [self.target, self.older] if self.older is not None else self.target
        with self.group.watched(f"update {self.update}"):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                loss, parts = self._objective(lagged, batch, generator)
            self.optimizer.zero_grad(set_to_none=True)
            told = self.group.tell(parts, self.share_done(), stop, self.weight)
            (loss if self.weight == 1 else loss * self.weight).backward()
            parts, share, self.stopped = told()
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate(share)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), settings.max_gradient_norm)
        if not torch.isfinite(norm):
            raise AmRosError(
                f"update {self.update}: the gradient is not finite (loss {float(loss.detach())}); training "
                f"stopped, the last checkpoint is kept"
            )
        self.optimizer.step()
        self._follow()
        return parts, self.stopped or share >= 1

    @torch.no_grad()
    def _follow(self) -> None:
        """The lagged copies come after the network (Polyak), and the update counts."""
        torch._foreach_lerp_(
            list(self.target.parameters()), list(self.network.parameters()), self.config.trainer.target_rate
        )
        for kept, fresh in zip(self.target.buffers(), self.network.buffers(), strict=True):
            kept.copy_(fresh)
        self.update += 1
        if self.older is not None and self.update % self.config.method.older_every == 0:
            self.older.load_state_dict(self.target.state_dict())

    def _shares(self) -> dict[str, float]:
        return self.config.trainer.used(self.update, self.trained_s, self.trained_cpu_s)

    def share_done(self) -> float:
        """How much of the planned updates or minutes is done, 0 ... 1, whichever is more."""
        return max(self._shares().values())

    def limit_reached(self) -> str:
        """Which limit has ended the training: updates, minutes or cpu_minutes; empty if none has."""
        name, share = max(self._shares().items(), key=lambda item: item[1])
        return name if share >= 1 else ""

    def seconds_left(self, updates_per_s: float) -> tuple[float, str]:
        """Until the first of the limits ends the training, as fast as so far, and which one that is."""
        settings = self.config.trainer
        left = {}
        if settings.planned_updates:
            left["updates"] = (settings.planned_updates - self.update) / max(updates_per_s, 1e-9)
        if settings.minutes:
            left["minutes"] = 60 * settings.minutes - self.trained_s
        if settings.cpu_minutes:
            cpu_per_s = self.trained_cpu_s / max(self.trained_s, 1e-9)
            left["cpu_minutes"] = (60 * settings.cpu_minutes - self.trained_cpu_s) / max(cpu_per_s, 1e-9)
        limit = min(left, key=lambda name: left[name])
        return max(0.0, left[limit]), limit

    def _learning_rate(self, share_done: float) -> float:
        settings = self.config.trainer
        rate = settings.learning_rate * min(1.0, (self.update + 1) / max(1, settings.warmup_updates))
        into_decay = (share_done - settings.decay_from) / max(1e-9, 1 - settings.decay_from)
        return rate * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, into_decay))))

"""The offline trainer: batches from a replay store, one loss, one optimiser, checkpoints that resume exactly."""

import dataclasses
import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from am_ros import configuration
from am_ros.action import ActionSpace
from am_ros.configuration import parameter
from am_ros.errors import AmRosError
from am_ros.learning import checkpoint, methods
from am_ros.learning.cem import CemConfig
from am_ros.learning.collapse import CollapseWatch
from am_ros.learning.device import find_device, has_bf16
from am_ros.learning.draws import Share
from am_ros.learning.group import Alone
from am_ros.learning.held_out import HeldOut
from am_ros.learning.methods import MethodConfig
from am_ros.learning.networks import NetworkConfig, check_fits, make_network
from am_ros.learning.progress import Progress, open_logs
from am_ros.replay.prefetch import Prefetcher
from am_ros.replay.sampling import Batch, GoalConfig, Sampler
from am_ros.replay.store import ReplayStore

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainerConfig:
    """How long and how fast to learn."""

    updates: int = parameter(6000, "gradient updates in all", range=(1, 10_000_000))
    minutes: float = parameter(
        0.0, "stop after so many minutes of training if that comes first; 0: no such limit", range=(0.0, 1e6)
    )
    batch_size: int = parameter(128, "items per update, over all processes", range=(1, 65536))
    processes: int = parameter(1, "processes that share each batch (data parallel)", range=(1, 1024))
    learning_rate: float = parameter(7e-4, "AdamW, after warm-up", range=(1e-7, 1.0))
    weight_decay: float = parameter(1e-4, "AdamW", range=(0.0, 1.0))
    warmup_updates: int = parameter(200, "linear warm-up of the learning rate", range=(0, 1_000_000))
    decay_from: float = parameter(
        0.5, "share of the training after which the rate falls to zero (cosine)", range=(0, 1)
    )
    target_rate: float = parameter(0.01, "Polyak rate of the lagged network, which also acts", range=(1e-6, 1.0))
    max_gradient_norm: float = parameter(10.0, "gradients are clipped to this norm", range=(0.0, 1e6))
    checkpoint_every_s: float = parameter(60.0, "seconds between checkpoints", range=(0.1, 1e6))
    milestones: int = parameter(
        0, "weights kept along the way, evenly spaced, in out/milestones (for curves)", range=(0, 1000)
    )
    tensorboard: bool = parameter(
        False, "log to out/tensorboard, too (needs the package tensorboard, which is optional)"
    )
    seed: int = parameter(0, "of weights, batches and sampling", range=(0, 2**31 - 1))
    threads: int = parameter(1, "CPU threads of PyTorch per process; 0: leave as it is", range=(0, 1024))
    device: str = parameter("auto", "cpu, cuda, or auto", choices=("auto", "cpu", "cuda"))
    precision: str = parameter(
        "auto", "bf16 where the hardware multiplies it, or fp32", choices=("auto", "bf16", "fp32")
    )


@dataclass(frozen=True)
class LearnerConfig:
    """Everything that decides what is learned; saved with every checkpoint."""

    network: NetworkConfig = NetworkConfig()
    method: MethodConfig = MethodConfig()
    goals: GoalConfig = GoalConfig()
    trainer: TrainerConfig = TrainerConfig()
    acting: CemConfig = CemConfig()  # how the policy searches


class Trainer:
    """Learn from a store: `Trainer(config, out, action_space).fit(store)`.

    `out` gets `checkpoint/` (see checkpoint.py) and `metrics.csv`. A checkpoint found there is resumed if its
    configuration agrees; otherwise the weights of the checkpoint `start_from`, if given, are the first ones.
    `stop()` may be called from any thread: the training ends after this update, saved. `group` joins it with the
    trainers of other processes (see parallel.py).
    """

    def __init__(
        self, config: LearnerConfig, out, action_space: ActionSpace | None = None, group=None, start_from=None
    ):
        configuration.check(config)
        methods.check_goals(config.method, config.goals)
        self.group = group or Alone()
        self.config, self.out, self.action_space = config, Path(out), action_space or ActionSpace()
        settings = config.trainer
        if settings.threads:
            torch.set_num_threads(settings.threads)
        self.device = find_device(settings.device)
        self.bf16 = settings.precision == "bf16" or (settings.precision == "auto" and has_bf16(self.device))
        torch.manual_seed(settings.seed)
        self.network = make_network(config.network).to(self.device, memory_format=torch.channels_last)
        self.target = self._lagged_copy()
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        self.older = self._lagged_copy() if config.method.double_q else None
        self.update = 0
        self.trained_s = 0.0
        self._data_actions: torch.Tensor | None = None
        self._best: float | None = None  # score on held-out episodes
        self._stop = threading.Event()
        self._save_now = threading.Event()
        self._running = threading.Event()
        self._running.set()
        if start_from is not None and not checkpoint.exists(self.checkpoint_folder):
            self._start_from(start_from)
        self._restore()

    def _lagged_copy(self):
        copy = make_network(self.config.network).to(self.device, memory_format=torch.channels_last)
        copy.load_state_dict(self.network.state_dict())
        return copy.requires_grad_(False).eval()  # as it acts: batch norm by its running statistics

    @property
    def checkpoint_folder(self) -> Path:
        return self.out / "checkpoint"

    def stop(self) -> None:
        """End the training after the current update, with a checkpoint."""
        self._stop.set()
        self._running.set()

    def pause(self) -> None:
        """Halt after the current update until `resume` or `stop`."""
        self._running.clear()

    def resume(self) -> None:
        """Go on after `pause`."""
        self._running.set()

    def save_soon(self) -> None:
        """Write a checkpoint after the current update."""
        self._save_now.set()

    def fit(
        self, store: ReplayStore, on_progress: Callable[[Progress], None] | None = None, until_update: int | None = None
    ) -> Progress:
        """Train until the planned updates or minutes are done or `stop()` is called; returns the last progress.

        `until_update` ends this call earlier without shortening the plan (learning rate, resume).

        Raises AmRosError, naming the update and the figure, if the loss or a gradient is not finite; the last
        checkpoint stays as it is.
        """
        check_fits(store, self.config.network)
        if hasattr(self.network, "look_at"):
            for network in filter(None, (self.network, self.target, self.older)):
                network.look_at(store.observations)
        self.out.mkdir(parents=True, exist_ok=True)
        settings = self.config.trainer
        sampler = Sampler(
            store, self.config.goals, settings.batch_size, settings.seed, self.group.rank, self.group.size
        )
        held_out = HeldOut(store, self.config, self.device) if self.config.goals.held_out_share else None
        logs = open_logs(self.out, self.update, settings.tensorboard) if self.group.rank == 0 else []
        watch = CollapseWatch()
        self.group.barrier()  # all have restored the same checkpoint before the first of them writes another
        sums, count = {}, 0
        began = reported = saved = time.monotonic()
        trained_before, first_update, waited = self.trained_s, self.update, 0.0
        progress = Progress(self.update, settings.updates, 0.0, 0.0, 0.0)
        with Prefetcher(sampler, self.update) as prefetcher:
            last = min(settings.updates, until_update or settings.updates)
            self._stopped = self._share_done() >= 1
            while self.update < last and not self._stopped:
                if not self._running.is_set():
                    paused = time.monotonic()
                    self._running.wait()
                    began += time.monotonic() - paused  # a pause is no training time
                before = time.monotonic()
                batch = prefetcher.next()
                waited += time.monotonic() - before
                for name, value in self._train_step(batch).items():
                    sums[name] = sums.get(name, 0.0) + value
                count += 1
                now = time.monotonic()
                self.trained_s = trained_before + now - began
                if self.group.rank:
                    continue  # the first process alone reports and saves
                self._keep_milestone(store, progress)
                if now - reported >= 1.0 or self.update == last:
                    means = {name: float(total) / count for name, total in sums.items()}
                    self._check_finite(means)
                    if held_out:
                        means |= held_out.figures(self.target, now, last=self.update == last)
                    rate = (self.update - first_update) / (now - began)
                    progress = Progress(
                        self.update, settings.updates, rate, waited / (now - began), self._seconds_left(rate), means
                    )
                    for log in logs:
                        log.write(progress, self.trained_s)
                    if held_out:
                        self._keep_best(store, progress, held_out.score)
                    if sentence := watch.look(self.update, means):
                        _log.warning(sentence)
                    if on_progress:
                        on_progress(progress)
                    sums, count, reported = {}, 0, now
                if now - saved >= settings.checkpoint_every_s or self._save_now.is_set():
                    self._save_now.clear()
                    self._check_finite({name: float(total) for name, total in sums.items()})
                    self.save(store, progress)
                    saved = time.monotonic()
        self._check_finite({name: float(total) for name, total in sums.items()})
        progress.update, progress.seconds_left = self.update, 0.0
        if not self.group.rank:
            self.save(store, progress)
        return progress

    def _train_step(self, batch: Batch) -> dict:
        settings = self.config.trainer
        seed = settings.seed * 1_000_003 + self.update
        generator = Share(torch.Generator(self.device).manual_seed(seed), self.group.rank, self.group.size)
        tensors = to_tensors(batch, self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            lagged = [self.target, self.older] if self.older is not None else self.target
            loss, parts = methods.loss(self.network, lagged, tensors, self.config.method, generator)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        # The first process's clock decides for all, so that no one waits for a partner that has stopped.
        parts, share, stop = self.group.average(
            self.network.parameters(), parts, self._share_done(), self._stop.is_set()
        )
        self._stopped = stop or share >= 1
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate(share)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), settings.max_gradient_norm)
        if not torch.isfinite(norm):
            raise AmRosError(
                f"update {self.update}: the gradient is not finite (loss {float(loss.detach())}); training "
                f"stopped, the last checkpoint is kept"
            )
        self.optimizer.step()
        with torch.no_grad():
            lagged, current = list(self.target.parameters()), list(self.network.parameters())
            torch._foreach_lerp_(lagged, current, settings.target_rate)
            for kept, fresh in zip(self.target.buffers(), self.network.buffers(), strict=True):
                kept.copy_(fresh)
        self.update += 1
        if self.older is not None and self.update % self.config.method.older_every == 0:
            self.older.load_state_dict(self.target.state_dict())
        return parts

    def _check_finite(self, means: dict) -> None:
        for name, value in means.items():
            if not math.isfinite(value):
                raise AmRosError(
                    f"update {self.update}: {name} is {value}; training stopped, the last checkpoint is kept"
                )

    def _share_done(self) -> float:
        settings = self.config.trainer
        by_time = self.trained_s / (60 * settings.minutes) if settings.minutes else 0.0
        return max(self.update / settings.updates, by_time)

    def _seconds_left(self, rate: float) -> float:
        settings = self.config.trainer
        by_updates = (settings.updates - self.update) / max(rate, 1e-9)
        return min(by_updates, 60 * settings.minutes - self.trained_s) if settings.minutes else by_updates

    def _learning_rate(self, share_done: float) -> float:
        settings = self.config.trainer
        rate = settings.learning_rate * min(1.0, (self.update + 1) / max(1, settings.warmup_updates))
        into_decay = (share_done - settings.decay_from) / max(1e-9, 1 - settings.decay_from)
        return rate * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, into_decay))))

    def _keep_milestone(self, store: ReplayStore, progress: Progress) -> None:
        """Weights at every share 1/milestones of the training; a resumed one goes on where it was."""
        planned = self.config.trainer.milestones
        number = int(self._share_done() * planned) if planned else 0
        folder = self.out / "milestones" / f"{number:03d}"
        if number and not folder.exists():
            checkpoint.save(folder, self._meta(store, progress), {"model": self._model(store)})

    def _keep_best(self, store: ReplayStore, progress: Progress, score: float) -> None:
        """Weights of the best look at the held-out episodes, in out/best."""
        folder = self.out / "best"
        if self._best is None:
            self._best = checkpoint.load(folder).meta["held_out_score"] if checkpoint.exists(folder) else -math.inf
        if score > self._best:
            self._best = score
            meta = {**self._meta(store, progress), "held_out_score": score}
            checkpoint.save(folder, meta, {"model": self._model(store)})

    def save(self, store: ReplayStore, progress: Progress) -> Path:
        """Write `checkpoint/` atomically."""
        tensors = {
            "model": self._model(store),
            "learner": self.network.state_dict(),
            "optimizer": checkpoint.flatten_optimizer(self.optimizer),
        }
        if self.older is not None:
            tensors["older"] = self.older.state_dict()
        return checkpoint.save(self.checkpoint_folder, self._meta(store, progress), tensors)

    def _model(self, store: ReplayStore) -> dict:
        """The weights that act, and actions of the data that a search can begin with."""
        if self._data_actions is None:
            self._data_actions = torch.from_numpy(store.some_actions(checkpoint.DATA_ACTIONS))
        return self.target.state_dict() | {checkpoint.DATA_ACTIONS_NAME: self._data_actions}

    def _meta(self, store: ReplayStore, progress: Progress) -> dict:
        return {
            "update": self.update,
            "trained_s": self.trained_s,
            "config": dataclasses.asdict(self.config),
            "action_space": dataclasses.asdict(self.action_space),
            "image_size": self.config.network.image_size,
            "data_hash": store.data_hash,
            "episodes": len(store.episodes),
            "transitions": len(store),
            "metrics": progress.metrics,
            "updates_per_s": progress.updates_per_s,
        }

    def _start_from(self, folder) -> None:
        """Weights of another training, perhaps with another method; the optimiser begins anew."""
        found = checkpoint.load(folder)
        theirs, ours = configuration.from_dict(NetworkConfig, found.meta["config"]["network"]), self.config.network
        if theirs != ours:
            changed = ", ".join(_differences(theirs, ours))
            raise AmRosError(f"{folder}: its network differs ({changed}); use the same network configuration")
        for network in filter(None, (self.network, self.target, self.older)):
            network.load_state_dict(found.weights)

    def _restore(self) -> None:
        if not checkpoint.exists(self.checkpoint_folder):
            return
        stems = ("model", "learner", "optimizer", *(["older"] if self.older is not None else []))
        found = checkpoint.load(self.checkpoint_folder, *stems)
        for part in ("network", "method", "goals"):
            ours = getattr(self.config, part)
            theirs = configuration.from_dict(type(ours), found.meta["config"][part])
            if theirs != ours:
                raise AmRosError(
                    f"{self.checkpoint_folder}: was trained with another {part} configuration "
                    f"({', '.join(_differences(theirs, ours))}); choose another output folder or the same values"
                )
        self.target.load_state_dict(found.weights)
        self.network.load_state_dict(found.tensors["learner"])
        if self.older is not None:
            self.older.load_state_dict(found.tensors["older"])
        checkpoint.restore_optimizer(self.optimizer, found.tensors["optimizer"])
        self.update, self.trained_s = found.meta["update"], found.meta["trained_s"]


def _differences(one, other) -> list[str]:
    """Names of the fields in which two configurations of one kind differ."""
    return [f.name for f in dataclasses.fields(one) if getattr(one, f.name) != getattr(other, f.name)]


def to_tensors(batch: Batch, device) -> dict[str, torch.Tensor]:
    """The fields of a batch as tensors on the device; images stay uint8 until there."""
    return {
        f.name: torch.from_numpy(getattr(batch, f.name)).to(device, non_blocking=True)
        for f in dataclasses.fields(batch)
    }

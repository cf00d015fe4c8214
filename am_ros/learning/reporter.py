"""What a training says of itself, once a second: means of the loss's parts, speed, held-out figures, warnings."""

import logging
import math
from collections.abc import Callable
from pathlib import Path

import torch

from am_ros.errors import AmRosError
from am_ros.learning.collapse import CollapseWatch
from am_ros.learning.held_out import HeldOut
from am_ros.learning.learner import Learner
from am_ros.learning.progress import Progress, open_logs
from am_ros.learning.types import Tensors
from am_ros.replay.store import ReplayStore

_log = logging.getLogger(__name__)
EVERY_S = 1.0


class Reporter:
    """Gathers what the updates of `learner` give; `report` makes a Progress of it, for the logs and `on_progress`."""

    def __init__(
        self,
        learner: Learner,
        store: ReplayStore,
        out: Path,
        began_s: float,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        config = learner.config
        self._learner, self._on_progress = learner, on_progress
        self._held_out = HeldOut(store, config, learner.device) if config.goals.held_out_share else None
        first = learner.group.rank == 0
        self._logs = open_logs(out, learner.update, config.trainer.tensorboard) if first else []
        self._watch = CollapseWatch()
        self._first_update, self._reported_s = learner.update, began_s
        self._sums: dict[str, float | torch.Tensor] = {}
        self._count = 0
        self.progress = Progress(learner.update, config.trainer.planned_updates, 0.0, 0.0, 0.0)

    @property
    def score(self) -> float | None:
        """Of the last look at the held-out episodes, the higher the better; None if none are held out."""
        return self._held_out.score if self._held_out else None

    def add(self, parts: Tensors) -> None:
        """Take the parts of one update's loss; they stay tensors, so that a GPU is not waited for."""
        for name, value in parts.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1

    def report(self, now_s: float, spent_s: float, waited_s: float, last: bool) -> bool:
        """Once a second, and at the last update: log, warn, tell `on_progress`; returns whether it was time.

        `spent_s` are the seconds of this call of fit without pauses, `waited_s` those of them that went to waiting for
        data. Raises AmRosError if a figure is not finite.
        """
        if now_s - self._reported_s < EVERY_S and not last:
            return False
        learner = self._learner
        self.check_finite()
        means = {name: float(total) / self._count for name, total in self._sums.items()}
        if self._held_out:
            means |= self._held_out.figures(learner.target, now_s, last=last)
        rate = (learner.update - self._first_update) / spent_s
        left_s, limit = learner.seconds_left(rate)
        self.progress = Progress(
            learner.update, self.progress.updates, rate, waited_s / spent_s, left_s, means, limit=limit
        )
        for log in self._logs:
            log.write(self.progress, learner.trained_s)
        if sentence := self._watch.look(learner.update, means):
            _log.warning(sentence)
        if self._on_progress:
            self._on_progress(self.progress)
        self._sums, self._count, self._reported_s = {}, 0, now_s
        return True

    def check_finite(self) -> None:
        """Raise AmRosError, naming the update and the figure, if a part of the loss is not finite."""
        for name, total in self._sums.items():
            if not math.isfinite(value := float(total)):
                raise AmRosError(
                    f"update {self._learner.update}: {name} is {value}; training stopped, the last checkpoint is kept"
                )

    def end(self, stopped: bool) -> Progress:
        """The last progress, as the training leaves it; `stopped`: it was asked to end."""
        self.check_finite()
        self.progress.update, self.progress.seconds_left = self._learner.update, 0.0
        self.progress.ended = self._learner.limit_reached() or ("stopped" if stopped else "")
        return self.progress

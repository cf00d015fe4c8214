"""The offline trainer: batches from a replay store, one loss, one optimiser, checkpoints that resume exactly."""

import logging
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from am_ros import configuration
from am_ros.action import ActionSpace
from am_ros.learning import methods
from am_ros.learning.group import Alone, Group
from am_ros.learning.keeper import Keeper
from am_ros.learning.learner import Learner
from am_ros.learning.loader import Loader
from am_ros.learning.progress import Progress
from am_ros.learning.reporter import Reporter
from am_ros.learning.stopping import calibrate, teaches_stopping
from am_ros.learning.trainer_config import LearnerConfig
from am_ros.paths import Folder
from am_ros.replay.sampling import Sampler
from am_ros.replay.shared import make_sampler
from am_ros.replay.store import ReplayStore

_log = logging.getLogger(__name__)


class Wishes:
    """What may be asked of a training from any thread, and what its loop reads of it between two updates."""

    def __init__(self) -> None:
        self._stop, self._save, self._running = threading.Event(), threading.Event(), threading.Event()
        self._running.set()

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
        self._save.set()

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    def take_save(self) -> bool:
        """Was a checkpoint asked for since the last call?"""
        asked = self._save.is_set()
        self._save.clear()
        return asked

    def wait_while_paused(self) -> float:
        """Seconds that a pause lasted, 0 where there is none."""
        if self._running.is_set():
            return 0.0
        began = time.monotonic()
        self._running.wait()
        return time.monotonic() - began


class Trainer(Wishes):
    """Learn from a store: `Trainer(config, out, action_space).fit(store)`.

    `out` gets `checkpoint/` (see checkpoint.py) and `metrics.csv`. A checkpoint found there is resumed if its
    configuration agrees; otherwise the weights of the checkpoint `start_from`, if given, are the first ones.
    `stop()` may be called from any thread: the training ends after this update, saved. `group` joins it with the
    trainers of other processes (see parallel.py).
    """

    def __init__(
        self,
        config: LearnerConfig,
        out: Folder,
        action_space: ActionSpace | None = None,
        group: Alone | Group | None = None,
        start_from: Folder | None = None,
    ) -> None:
        super().__init__()
        configuration.check(config)
        config = config.settled()
        methods.check_goals(config.method, config.goals)
        self.config, self.out, self.group = config, Path(out), group or Alone()
        self.learner = Learner(config, self.group)
        self.keeper = Keeper(self.learner, self.out, action_space or ActionSpace())
        self.keeper.begin(start_from)
        if not self.group.rank:
            self._warn(self.keeper.other_settings(), self.keeper.other_start(start_from))

    @property
    def update(self) -> int:
        """Gradient updates done."""
        return self.learner.update

    @property
    def trained_s(self) -> float:
        """Seconds of training so far, those before a resume included."""
        return self.learner.trained_s

    @property
    def checkpoint_folder(self) -> Path:
        return self.keeper.checkpoint_folder

    def _warn(self, *sentences: str) -> None:
        for sentence in filter(None, sentences):
            _log.warning(sentence)

    def save(self, store: ReplayStore, progress: Progress) -> Path:
        """Write `checkpoint/` atomically."""
        return self.keeper.save(store, progress)

    def fit(
        self, store: ReplayStore, on_progress: Callable[[Progress], None] | None = None, until_update: int | None = None
    ) -> Progress:
        """Train until the planned updates or minutes are done or `stop()` is called; returns the last progress.

        `until_update` ends this call earlier without shortening the plan (learning rate, resume).

        Raises AmRosError, naming the update and the figure, if the loss or a gradient is not finite; the last
        checkpoint stays as it is.
        """
        learner, settings, group = self.learner, self.config.trainer, self.group
        learner.look_at(store)
        if not group.rank:
            spent, other = learner.limit_reached(), "" if settings.own_data else self.keeper.other_data(store)
            no_more = f"{self.out}: the training is over already, by its {spent} ({settings.limits}); give more"
            self._warn(other, no_more if spent else "")
            _log.info("training ends after %s", settings.limits)
        self.out.mkdir(parents=True, exist_ok=True)
        sampler = self._share_data(store)
        group.barrier()  # all have restored the same checkpoint before the first of them writes another
        began = saved = time.monotonic()
        began_cpu = time.process_time()
        reporter = Reporter(learner, store, self.out, began, on_progress)
        trained_before, cpu_before, waited = learner.trained_s, learner.trained_cpu_s, 0.0
        last, over = until_update or settings.planned_updates or sys.maxsize, learner.share_done() >= 1
        with Loader(sampler, learner.update, learner.device, settings.loader_threads) as loader:
            while learner.update < last and not over:
                began += self.wait_while_paused()  # a pause is no training time
                before = time.monotonic()
                batch = loader.next()
                waited += time.monotonic() - before
                parts, over = learner.step(batch, self.stopping)
                reporter.add(parts)
                now = time.monotonic()
                learner.trained_s = trained_before + now - began
                learner.trained_cpu_s = cpu_before + time.process_time() - began_cpu
                if group.rank:
                    continue  # the first process alone reports and saves
                self.keeper.keep_milestone(store, reporter.progress)
                ending = over or learner.update == last
                if reporter.report(now, now - began, waited, ending) and reporter.score is not None:
                    self.keeper.keep_best(store, reporter.progress, reporter.score)
                if self.take_save() or now - saved >= settings.checkpoint_every_s:
                    reporter.check_finite()
                    self.save(store, reporter.progress)
                    saved = now
        progress = reporter.end(self.stopping or learner.stopped)
        if not group.rank:
            _log.info("training ended by %s, after %s updates", progress.ended or "until_update", learner.update)
            if learner.share_done() >= 1 and settings.calibrate_stop and teaches_stopping(self.config):
                self.keeper.stopping = asdict(calibrate(learner.target, store, self.config.goals))
            self.save(store, progress)
        return progress

    def _share_data(self, store: ReplayStore) -> Sampler:
        """What draws this process's items of each batch; the learner is told what they weigh beside the others'."""
        settings, goals, rank, size = self.config.trainer, self.config.goals, self.group.rank, self.group.size
        items = len(range(rank, settings.batch_size, size))
        if settings.own_data:
            self.learner.weight = self.group.data_weight(store.data_hash, len(store))
            return make_sampler(store, goals, items, settings.seed, stream=rank)
        self.learner.weight = items * size / settings.batch_size
        return make_sampler(store, goals, settings.batch_size, settings.seed, rank=rank, size=size)

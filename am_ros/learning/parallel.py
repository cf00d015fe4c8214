"""Data-parallel training: several processes share each batch, the first one reports and saves.

Either this process starts the others (`processes`), or `torchrun` has started all of them, on one machine or several:

    torchrun --nproc-per-node 2 -m am_ros.cli train runs/demo/bags --out runs/mine

Every process sees the whole store and takes its items of each batch; candidates are drawn for the whole batch, too. So
the result is, to rounding, that of one process, however many they are. Only batch normalisation (qt_opt) sees no more
than the items of its own process. With `own_data` each process draws its items from the store of its machine.

Batch number u is a function of the seed and u. So when torchrun starts the processes again, fewer or more of them
because a machine was lost or has joined, they go on from the last checkpoint without losing or repeating an item.
"""

import multiprocessing
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

from am_ros.action import ActionSpace
from am_ros.errors import AmRosError
from am_ros.learning.group import Group, Launch, launched
from am_ros.learning.keeper import sole_writer
from am_ros.learning.progress import Progress
from am_ros.learning.trainer import Trainer
from am_ros.learning.trainer_config import CLONING, LearnerConfig
from am_ros.learning.two_parts import cloning_part, has_two_parts, is_over, q_part, told
from am_ros.paths import Folder
from am_ros.replay.store import ReplayStore
from am_ros.signals import leave_to_parent, spare_resource_tracker


def train(
    config: LearnerConfig,
    store_folder: Folder,
    out: Folder,
    action_space: ActionSpace,
    on_progress: Callable[[Progress], None],
    on_trainer: Callable[[Trainer], None] = lambda trainer: None,
    start_from: Folder | None = None,
) -> Progress:
    """Train on a store with `config.trainer.processes` processes, this one being the first; returns the last Progress.

    Where torchrun started this process, it joins the others, whoever is the first. `start_from` is a checkpoint whose
    weights are the first ones. `on_trainer(trainer)` gets the trainer before it starts, to stop or pause it; a training
    of two parts (two_parts.py) has two, one after the other. Raises what Trainer.fit raises.
    """
    size, launch = config.trainer.processes, launched()
    if launch is None and has_two_parts(config, out, start_from):
        first, config, folder = cloning_part(config), q_part(config), Path(out) / CLONING
        if not is_over(first, out):
            progress = train(first, store_folder, folder, action_space, told(on_progress, config.trainer), on_trainer)
            if progress.ended == "stopped":
                return progress
        start_from = folder / "checkpoint"
    work = Work(config, store_folder, out, action_space, start_from)
    if launch is not None:
        if size not in (1, launch.size):
            raise AmRosError(f"parameter processes: {size}, but torchrun started {launch.size}; leave it out")
        return _join(launch, work, on_progress, on_trainer)
    with sole_writer(out):
        if size > 1:
            return _lead(work, size, on_progress, on_trainer)
        trainer = Trainer(config, out, action_space, start_from=start_from)
        on_trainer(trainer)
        return trainer.fit(ReplayStore.open(store_folder), on_progress)


class Work(NamedTuple):
    """What every process of a training is told."""

    config: LearnerConfig
    store_folder: Folder
    out: Folder
    action_space: ActionSpace
    start_from: Folder | None

    def trainer(self, group: Group) -> Trainer:
        """This process's part of it."""
        return Trainer(self.config, self.out, self.action_space, group, self.start_from)


def _lead(
    work: Work, size: int, on_progress: Callable[[Progress], None], on_trainer: Callable[[Trainer], None]
) -> Progress:
    spare_resource_tracker()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="am_ros_") as folder:
        rendezvous = f"file://{Path(folder) / 'rendezvous'}"
        helpers = [
            context.Process(target=_help, args=(rank, size, rendezvous, work), daemon=True) for rank in range(1, size)
        ]
        for helper in helpers:
            helper.start()
        group = Group(Launch(0, size, 0, size), rendezvous)
        try:
            trainer = work.trainer(group)
            on_trainer(trainer)
            return trainer.fit(ReplayStore.open(work.store_folder), on_progress)
        finally:
            for helper in helpers:
                helper.join(10.0)
                if helper.is_alive():
                    helper.kill()
            group.close()


def _help(rank: int, size: int, rendezvous: str, work: Work) -> None:
    leave_to_parent()  # it stops all of them after the same update
    # If the first process dies, the next exchange of gradients fails here: nobody is left behind.
    group = Group(Launch(rank, size, rank, size), rendezvous)
    work.trainer(group).fit(ReplayStore.open(work.store_folder))
    group.close()


def _join(
    launch: Launch, work: Work, on_progress: Callable[[Progress], None], on_trainer: Callable[[Trainer], None]
) -> Progress:
    group = Group(launch)
    try:
        # Who writes the store joins when it is written: only now is it there for all.
        store = ReplayStore.open(work.store_folder)
        if not work.config.trainer.own_data:
            group.check_same("the data they read", store.data_hash)
        with nullcontext() if launch.rank else sole_writer(work.out):
            group.barrier()  # nobody else writes a checkpoint from here on
            trainer = work.trainer(group)
            group.check_same("the update they go on from", trainer.update)
            on_trainer(trainer)
            return trainer.fit(store, on_progress)
    finally:
        group.close()

"""Data-parallel training: several processes share each batch, the first one reports and saves."""

import multiprocessing
import tempfile
from collections.abc import Callable
from pathlib import Path

from am_ros.learning.group import Group
from am_ros.learning.trainer import Trainer
from am_ros.replay.store import ReplayStore


def train(
    config,
    store_folder,
    out,
    action_space,
    on_progress: Callable,
    on_trainer: Callable = lambda trainer: None,
    start_from=None,
):
    """Train on a store with `config.trainer.processes` processes, this one being the first; returns the last Progress.

    `start_from` is a checkpoint whose weights are the first ones. `on_trainer(trainer)` gets the trainer before it
    starts, to stop or pause it. Raises what Trainer.fit raises.
    """
    size = config.trainer.processes
    if size == 1:
        trainer = Trainer(config, out, action_space, start_from=start_from)
        on_trainer(trainer)
        return trainer.fit(ReplayStore.open(store_folder), on_progress)
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="am_ros_") as folder:
        rendezvous = str(Path(folder) / "rendezvous")
        arguments = (size, rendezvous, config, store_folder, out, action_space, start_from)
        helpers = [context.Process(target=_help, args=(rank, *arguments), daemon=True) for rank in range(1, size)]
        for helper in helpers:
            helper.start()
        group = Group(0, size, rendezvous)
        try:
            trainer = Trainer(config, out, action_space, group, start_from)
            on_trainer(trainer)
            return trainer.fit(ReplayStore.open(store_folder), on_progress)
        finally:
            for helper in helpers:
                helper.join(10.0)
                if helper.is_alive():
                    helper.kill()
            group.close()


def _help(rank: int, size: int, rendezvous: str, config, store_folder, out, action_space, start_from) -> None:
    # If the first process dies, the next exchange of gradients fails here: nobody is left behind.
    group = Group(rank, size, rendezvous)
    Trainer(config, out, action_space, group, start_from).fit(ReplayStore.open(store_folder))
    group.close()

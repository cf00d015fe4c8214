"""Data-parallel training: several processes share each batch and average their gradients (gloo, or NCCL on GPUs)."""

import multiprocessing
import tempfile
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist


class Alone:
    """The group of one: nothing to exchange."""

    rank, size = 0, 1

    def barrier(self) -> None:
        """Nobody to wait for."""

    def average_gradients(self, parameters: Iterable[torch.Tensor], share: float, stop: bool) -> tuple[float, bool]:
        """Hand back what was given."""
        return share, stop


class Group:
    """One process of several. `rendezvous` is a file that all can reach and that does not exist yet."""

    def __init__(self, rank: int, size: int, rendezvous: str):
        self.rank, self.size = rank, size
        backend = "nccl" if torch.cuda.is_available() and torch.cuda.device_count() >= size else "gloo"
        dist.init_process_group(backend, f"file://{rendezvous}", timedelta(minutes=30), rank=rank, world_size=size)

    def barrier(self) -> None:
        """Wait for all."""
        dist.barrier()

    def average_gradients(self, parameters: Iterable[torch.Tensor], share: float, stop: bool) -> tuple[float, bool]:
        """Replace each gradient by its mean over the processes; return `share` and `stop` of the first process."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        word = torch.tensor([share, float(stop)], device=gradients[0].device) * (self.rank == 0)
        flat = torch.cat([g.reshape(-1) for g in gradients] + [word])
        dist.all_reduce(flat)
        share, stop = flat[-2:].tolist()
        flat /= self.size
        begin = 0
        for gradient in gradients:
            gradient.copy_(flat[begin : begin + gradient.numel()].view(gradient.shape))
            begin += gradient.numel()
        return share, stop > 0

    def close(self) -> None:
        """Leave the group."""
        dist.destroy_process_group()


def train(config, store_folder, out, action_space, on_progress: Callable, on_trainer: Callable = lambda trainer: None):
    """Train on a store with `config.trainer.processes` processes, this one being the first; returns the last Progress.

    `on_trainer(trainer)` gets the trainer before it starts, to stop or pause it. Raises what Trainer.fit raises.
    """
    from am_ros.learning.trainer import Trainer
    from am_ros.replay.store import ReplayStore

    size = config.trainer.processes
    if size == 1:
        trainer = Trainer(config, out, action_space)
        on_trainer(trainer)
        return trainer.fit(ReplayStore.open(store_folder), on_progress)
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="am_ros_") as folder:
        rendezvous = str(Path(folder) / "rendezvous")
        arguments = (size, rendezvous, config, store_folder, out, action_space)
        helpers = [context.Process(target=_help, args=(rank, *arguments), daemon=True) for rank in range(1, size)]
        for helper in helpers:
            helper.start()
        group = Group(0, size, rendezvous)
        try:
            trainer = Trainer(config, out, action_space, group)
            on_trainer(trainer)
            return trainer.fit(ReplayStore.open(store_folder), on_progress)
        finally:
            for helper in helpers:
                helper.join(10.0)
                if helper.is_alive():
                    helper.kill()
            group.close()


def _help(rank: int, size: int, rendezvous: str, config, store_folder, out, action_space) -> None:
    from am_ros.learning.trainer import Trainer
    from am_ros.replay.store import ReplayStore

    # If the first process dies, the next exchange of gradients fails here: nobody is left behind.
    group = Group(rank, size, rendezvous)
    Trainer(config, out, action_space, group).fit(ReplayStore.open(store_folder))
    group.close()

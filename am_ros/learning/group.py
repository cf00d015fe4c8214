"""The processes that share a training: they average their gradients (gloo on CPUs, NCCL on GPUs)."""

from collections.abc import Iterable
from datetime import timedelta

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

"""The processes that share a training: they average their gradients (gloo on CPUs, NCCL on GPUs)."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from am_ros.errors import AmRosError

# The first process may read bags for hours before it joins the others.
_PATIENCE = timedelta(hours=12)


@dataclass(frozen=True)
class Launch:
    """Which of the processes that `torchrun` started this is: of all, and of those on this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1


def launched() -> Launch | None:
    """What torchrun says of this process by RANK, WORLD_SIZE and their local fellows; None if it was not started so."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return None
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    return Launch(rank, size, int(os.environ.get("LOCAL_RANK", rank)), int(os.environ.get("LOCAL_WORLD_SIZE", size)))


class Alone:
    """The group of one: nothing to exchange."""

    rank, size = 0, 1

    def barrier(self) -> None:
        """Nobody to wait for."""

    def average(
        self, parameters: Iterable[torch.Tensor], parts: dict[str, torch.Tensor], share: float, stop: bool
    ) -> tuple[dict[str, torch.Tensor], float, bool]:
        """Hand back what was given."""
        return parts, share, stop


class Group:
    """One process of several on `launch.rank`; `rendezvous` is where they meet, as torch.distributed says it.

    A file that all can reach and that does not exist yet (`file:///...`), or the environment that torchrun made.
    """

    def __init__(self, launch: Launch, rendezvous: str = "env://"):
        self.rank, self.size = launch.rank, launch.size
        backend = "gloo"
        if torch.cuda.is_available() and torch.cuda.device_count() >= launch.local_size:
            backend = "nccl"
            torch.cuda.set_device(launch.local_rank)
        dist.init_process_group(backend, rendezvous, _PATIENCE, rank=launch.rank, world_size=launch.size)
        self._device = "cuda" if backend == "nccl" else "cpu"

    def barrier(self) -> None:
        """Wait for all."""
        dist.barrier()

    def check_same(self, what: str, value: object) -> None:
        """Raise AmRosError in every process unless all of them have the same `value`, as text."""
        digest = hashlib.sha256(str(value).encode()).digest()
        lowest = torch.tensor(list(digest), dtype=torch.int32, device=self._device)
        highest = lowest.clone()
        dist.all_reduce(lowest, dist.ReduceOp.MIN)
        dist.all_reduce(highest, dist.ReduceOp.MAX)
        if not torch.equal(lowest, highest):
            raise AmRosError(f"the processes of this training differ in {what} (here {value}); give all the same --out")

    def average(
        self, parameters: Iterable[torch.Tensor], parts: dict[str, torch.Tensor], share: float, stop: bool
    ) -> tuple[dict[str, torch.Tensor], float, bool]:
        """Replace each gradient by its mean over the processes.

        Returns the means of the `parts` (figures of the log), and `share` and `stop` of the first process.
        """
        gradients = [p.grad for p in parameters if p.grad is not None]
        word = torch.tensor([share, float(stop)], device=gradients[0].device) * (self.rank == 0)
        figures = torch.stack([torch.as_tensor(v, device=word.device).float() for v in parts.values()])
        flat = torch.cat([g.reshape(-1) for g in gradients] + [figures, word])
        dist.all_reduce(flat)
        share, stop = flat[-2:].tolist()
        flat /= self.size
        begin = 0
        for gradient in gradients:
            gradient.copy_(flat[begin : begin + gradient.numel()].view(gradient.shape))
            begin += gradient.numel()
        return dict(zip(parts, flat[begin:-2], strict=True)), share, stop > 0

    def close(self) -> None:
        """Leave the group."""
        dist.destroy_process_group()

"""The processes that share a training, on torch.distributed: gloo on CPUs, NCCL on GPUs.

DistributedDataParallel averages their gradients, bucket by bucket, while the backward pass goes on.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

import torch
import torch.distributed as dist
from torch import nn
from torch._C._distributed_c10d import GradBucket
from torch.distributed.rendezvous import rendezvous as meet
from torch.nn.parallel import DistributedDataParallel

from am_ros.errors import AmRosError
from am_ros.learning.types import Tensors

# The first process may read bags for hours before it joins the others.
_PATIENCE = timedelta(hours=12)
# A host that lost its power says nothing: after so long without a word the others give up, and torchrun starts anew.
_SILENCE = timedelta(minutes=10)

Told: TypeAlias = Callable[[], tuple[Tensors, float, bool]]


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

    def wrap(self, module: nn.Module, compression: str = "none") -> nn.Module:
        """Hand back what was given."""
        return module

    def same_state(self, modules: Iterable[nn.Module]) -> None:
        """Nobody has another one."""

    def data_weight(self, data_hash: str, transitions: int) -> float:
        """All of the data are here."""
        return 1.0

    def tell(self, parts: Tensors, share: float, stop: bool, weight: float = 1.0) -> Told:
        """Hand back what was given."""
        return lambda: (parts, share, stop)

    @contextmanager
    def watched(self, when: str) -> Iterator[None]:
        """Nobody can be lost."""
        yield


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
        self._device = "cuda" if backend == "nccl" else "cpu"
        store, *_ = next(iter(meet(rendezvous, launch.rank, launch.size, timeout=_PATIENCE)))
        store.set_timeout(_PATIENCE)
        store.set(f"am_ros/here/{self.rank}", "1")
        store.wait([f"am_ros/here/{rank}" for rank in range(self.size)], _PATIENCE)
        # Those that this process started itself can be paused for hours; they die with it and need no clock.
        patience = _SILENCE if rendezvous == "env://" else _PATIENCE
        dist.init_process_group(backend, store=store, timeout=patience, rank=launch.rank, world_size=launch.size)

    def barrier(self) -> None:
        """Wait for all."""
        dist.barrier()

    def wrap(self, module: nn.Module, compression: str = "none") -> nn.Module:
        """The module, whose gradients are from now on means over the processes; `compression`: as what they travel."""
        # A method may leave a part of the network unused, as cloning does Q; which part does not change meanwhile.
        shared = DistributedDataParallel(module, static_graph=True, gradient_as_bucket_view=True)
        if compression == "bf16":
            shared.register_comm_hook(self.size, _as_bf16)
        return shared

    def same_state(self, modules: Iterable[nn.Module]) -> None:
        """Give all processes the weights and buffers of the first one."""
        for module in modules:
            for tensor in module.state_dict().values():
                dist.broadcast(tensor, 0)

    def check_same(self, what: str, value: object) -> None:
        """Raise AmRosError in every process unless all of them have the same `value`, as text."""
        digest = list(hashlib.sha256(str(value).encode()).digest())
        if any(row != digest for row in self._gathered(digest)):
            raise AmRosError(f"the processes of this training differ in {what} (here {value}); give all the same --out")

    def data_weight(self, data_hash: str, transitions: int) -> float:
        """What the items of this process weigh where each process draws as many, but from data of its own.

        In the mean each transition then counts alike, whichever process has it; those that several have are shared.
        """
        number = int(hashlib.sha256(data_hash.encode()).hexdigest()[:15], 16)
        rows = self._gathered([number, transitions])
        each = [count / sum(other == data for other, _ in rows) for data, count in rows]
        return self.size * each[self.rank] / sum(each)

    def _gathered(self, numbers: list[int]) -> list[list[int]]:
        """The numbers of every process, by rank."""
        mine = torch.tensor(numbers, dtype=torch.int64, device=self._device)
        rows = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(rows, mine)
        return [row.tolist() for row in rows]

    def tell(self, parts: Tensors, share: float, stop: bool, weight: float = 1.0) -> Told:
        """Begin to exchange figures; call what is returned to wait for them, after the backward pass.

        It returns the means of the `parts` (figures of the log), where this process counts `weight` times, the `share`
        of the first process, and whether any of them wants to `stop`.
        """
        figures = torch.stack([torch.as_tensor(v, device=self._device).float() for v in parts.values()])
        word = torch.tensor([share * (self.rank == 0), float(stop)], device=self._device)
        flat = torch.cat([figures * (weight / self.size), word])
        work = dist.all_reduce(flat, async_op=True)

        def told() -> tuple[Tensors, float, bool]:
            work.wait()
            first_share, stops = flat[-2:].tolist()
            return dict(zip(parts, flat[:-2], strict=True)), first_share, stops > 0

        return told

    @contextmanager
    def watched(self, when: str) -> Iterator[None]:
        """Within it, the loss of another process is an AmRosError that says `when`."""
        try:
            yield
        except RuntimeError as error:
            if not (isinstance(error, dist.DistError) or "gloo" in str(error) or "closed by peer" in str(error)):
                raise
            raise AmRosError(
                f"{when}: another process of this training is lost; the last checkpoint is kept "
                f"({str(error).splitlines()[0]})"
            ) from None

    def close(self) -> None:
        """Leave the group."""
        dist.destroy_process_group()


def _as_bf16(size: int, bucket: GradBucket) -> torch.futures.Future[torch.Tensor]:
    """Average a bucket of gradients as bf16. torch's own hook of this kind refuses gloo, which can do it, too."""
    whole = bucket.buffer()
    future = dist.all_reduce(whole.to(torch.bfloat16).div_(size), async_op=True).get_future()
    return future.then(lambda done: whole.copy_(done.value()[0]))  # type: ignore[no-any-return]  # torch says no type

"""Batches on the device that learns, drawn, copied and shifted while it computes."""

import dataclasses
import os

import numpy as np
import torch
from torch import Tensor

from am_ros.learning.types import Tensors
from am_ros.replay.gather import Gather
from am_ros.replay.prefetch import Prefetcher
from am_ros.replay.sampling import IMAGES, Batch, Sampler

_MOST_THREADS = 8  # as many saturate the memory of a server's socket


class Loader:
    """Batches of `sampler` from `first_step` on, as tensors on `device`; a batch is valid until the next one.

    `threads` copy the images, 0: one, and for a GPU as many as this process has cores, up to eight. For a GPU they
    copy into pinned memory; from there it fetches the batch after the next on a stream of its own, and does the random
    shifts. On a CPU the shift is done on the way. Both give the same pixels.
    """

    def __init__(self, sampler: Sampler, first_step: int, device: torch.device, threads: int = 0):
        gpu = device.type == "cuda"
        sampler.gather = self._gather = Gather(threads or (_cores() if gpu else 1), shifts=not gpu)
        self._prefetcher = Prefetcher(sampler, first_step, _pinned if gpu else np.empty)
        self._device = device
        self._stream = torch.cuda.Stream(device) if gpu else None  # type: ignore[no-untyped-call]  # torch says no type
        self._ahead: tuple[Tensors, torch.cuda.Event] | None = None

    def next(self) -> Tensors:
        """The next batch; images are uint8."""
        if self._stream is None:
            return to_tensors(self._prefetcher.next(), self._device)
        tensors, there = self._ahead or self._fetch(self._stream)
        there.synchronize()  # then its pinned memory may be written again
        self._ahead = self._fetch(self._stream)
        now = torch.cuda.current_stream(self._device)
        now.wait_event(there)
        for tensor in tensors.values():
            tensor.record_stream(now)
        return tensors

    def _fetch(self, stream: torch.cuda.Stream) -> tuple[Tensors, torch.cuda.Event]:
        batch, there = self._prefetcher.next(), torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch says no type
        with torch.cuda.stream(stream):
            tensors = to_tensors(batch, self._device)
            there.record(stream)
        return tensors, there

    def __enter__(self) -> "Loader":
        self._prefetcher.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._prefetcher.__exit__()
        self._gather.close()


def to_tensors(batch: Batch, device: torch.device | str) -> Tensors:
    """The fields of a batch as tensors on the device; images stay uint8, and get the shift that they have not yet."""
    tensors = {
        f.name: torch.from_numpy(getattr(batch, f.name)).to(device, non_blocking=True)
        for f in dataclasses.fields(batch)
    }
    if batch.shift.any():
        tensors |= {name: shifted(tensors[name], tensors["shift"]) for name in IMAGES}
    return tensors


def shifted(images: Tensor, shift: Tensor) -> Tensor:
    """Images [B, H, W, 3], each shifted by its `shift` [B, 2] (down, right) as gather.shift_into does: one gather."""
    batch, height, width = images.shape[:3]
    items = torch.arange(batch, device=images.device)
    y = (torch.arange(height, device=images.device) + shift[:, :1]).clamp(0, height - 1)
    x = (torch.arange(width, device=images.device) + shift[:, 1:]).clamp(0, width - 1)
    return images[items[:, None, None], y[:, :, None], x[:, None, :]]


def _pinned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    kind = torch.uint8 if dtype == np.uint8 else torch.float32
    memory: np.ndarray = torch.empty(shape, dtype=kind, pin_memory=True).numpy()
    return memory


def _cores() -> int:
    """Cores for each process of this machine's that learns."""
    each = len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(_MOST_THREADS, each))

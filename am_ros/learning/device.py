"""Which device a training uses, and what it can."""

import torch

from am_ros.errors import AmRosError


def find_device(name: str) -> torch.device:
    """The device of that name; AmRosError if it is a GPU and PyTorch finds none."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise AmRosError("parameter device: cuda was asked for, but PyTorch finds no GPU")
    return torch.device(name)


def has_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bf16."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    # Before PyTorch 2.6 there is no way to ask; fp32 is always right, bf16 about twice as fast where supported.
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return bool(supported())

"""Which device a training uses, and what it can."""

import torch

from am_ros.errors import AmRosError


def find_device(name: str) -> torch.device:
    """The device of that name, `auto` or one of PyTorch's; AmRosError if PyTorch does not find it."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise AmRosError(f"parameter device: {name!r} is no device; use auto, cpu, cuda or cuda:0") from None
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= gpus:
        raise AmRosError(f"parameter device: {name} was asked for, but PyTorch finds {gpus or 'no'} GPU")
    return device


def has_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bf16."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    # Before PyTorch 2.6 there is no way to ask; fp32 is always right, bf16 about twice as fast where supported.
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return bool(supported())

"""Weights in fewer bytes: float16, or int8 with a scale for each row (absmax quantisation).

A row w is kept as round(w / s) with s = max |w| / 127. Only matrices and filters are kept so, and only large ones: all
else together is a few per cent of the bytes.
"""

import torch
from torch import Tensor

from am_ros.errors import AmRosError
from am_ros.learning.types import Tensors

SCALE = "#scale"  # behind the name of a tensor: its scales, float32 [rows]
LARGE = 4096  # numbers


def to_half(tensors: Tensors) -> Tensors:
    """All floating numbers as float16; raises AmRosError if one does not fit."""
    packed = {name: value.half() if value.is_floating_point() else value for name, value in tensors.items()}
    for name, value in packed.items():
        if not torch.isfinite(value).all():
            raise AmRosError(f"{name} holds numbers that float16 cannot")
    return packed


def to_int8(tensors: Tensors) -> Tensors:
    """Large matrices as int8 with their scales, all else as float16; raises AmRosError if a number does not fit."""
    packed: Tensors = {}
    for name, value in tensors.items():
        if not value.is_floating_point() or value.dim() < 2 or value.numel() < LARGE:
            packed |= to_half({name: value})
            continue
        rows = value.float().flatten(1)
        scale = rows.abs().amax(dim=1).clamp_min(1e-12) / 127
        if not torch.isfinite(scale).all():
            raise AmRosError(f"{name} holds numbers that are not finite")
        packed[name] = (rows / scale.unsqueeze(1)).round().to(torch.int8).reshape(value.shape)
        packed[f"{name}{SCALE}"] = scale
    return packed


def unpacked(tensors: Tensors) -> Tensors:
    """The same with every int8 tensor that has a scale as float32 again; others as they are."""
    return {name: _unpacked(name, value, tensors) for name, value in tensors.items() if not name.endswith(SCALE)}


def _unpacked(name: str, value: Tensor, tensors: Tensors) -> Tensor:
    scale = tensors.get(f"{name}{SCALE}")
    return value if scale is None else value.float() * scale.reshape(-1, *[1] * (value.dim() - 1))

"""Names for what the parts of the learner hand to each other."""

from typing import Any, TypeAlias

import torch
from torch import Tensor

from am_ros.learning.draws import Share

Generator: TypeAlias = torch.Generator | Share | None  # None: torch's own
Device: TypeAlias = torch.device | str | None
Tensors: TypeAlias = dict[str, Tensor]  # a batch (the fields of replay.sampling.Batch), or the parts of a loss
Loss: TypeAlias = tuple[Tensor, Tensors]  # what is minimised, and its parts for the log
Encoding: TypeAlias = Any  # what a network makes of image, goal and state: a tensor, or several

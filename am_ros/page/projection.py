"""Where a point of the cell lies in the camera's picture, for what is drawn over it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

NEAR_M = 0.05  # what is nearer, or behind the camera, is not in its picture


@dataclass(frozen=True)
class Projection:
    """A pinhole: camera matrix `k` [3, 3], its pose [4, 4] in the robot base frame (z forward, x right, y down)."""

    k: np.ndarray
    pose: np.ndarray
    width: int
    height: int
    _view: np.ndarray = field(init=False, repr=False)

    def __post_init__(self):
        object.__setattr__(self, "_view", np.linalg.inv(self.pose))

    def share(self, position_m: Sequence[float]) -> tuple[float, float] | None:
        """From the left and from the top, 0 ... 1 in the picture; beyond that beside it; None: it cannot be seen.

        Shares in place of pixels: they hold for the same view in any size.
        """
        x, y, z, _ = self._view @ np.array([*position_m, 1.0])
        if z < NEAR_M:
            return None
        u, v, _ = self.k @ np.array([x / z, y / z, 1.0])
        return float((u + 0.5) / self.width), float((v + 0.5) / self.height)  # pixel (0, 0) is a centre

"""Names for what the parts of the controller hand to each other."""

from collections.abc import Sequence
from concurrent.futures import Future
from typing import TypeAlias

import numpy as np

from am_ros.control.trajectory import JointTrajectory

Names: TypeAlias = Sequence[str]  # of joints
Vector: TypeAlias = np.ndarray | Sequence[float]  # of numbers; how many, and of what, each docstring says
Plan: TypeAlias = Future[JointTrajectory]  # there at once or later
Slack: TypeAlias = np.ndarray | float  # how far beyond the workspace a step may end, [3] or the same along all axes [m]

"""The action space: units, limits, and the encoding to and from a vector.

An action is a Cartesian step of the end effector (x, y, z, azimuth), a gripper command and the decision to
terminate, as in QT-Opt (Kalashnikov et al., 2018) and Actionable Models (section 6.1).
"""

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from am_ros.configuration import parameter
from am_ros.errors import AmRosError

# Layout of an action vector. Displacements are normalised by the limits of the ActionSpace to [-1, 1];
# the discrete part is one-hot: exactly one of close, open, terminate is 1. The learner takes any number of
# displacements before the same three choices (docs/library.md), the robot has these four.
X, Y, Z, YAW, CLOSE, OPEN, TERMINATE = range(7)
ACTION_DIM = 7
CONTINUOUS_DIM = 4
DISCRETE_DIM = 3

# A gripper that holds something is far from closed: around a 5 cm cube, 9 cm of stroke are 0.56 open.
OPEN_ABOVE = 0.8


class Gripper(IntEnum):
    """Gripper command; the values are those of am_msgs/CartesianAction."""

    HOLD = 0
    OPEN = 1
    CLOSE = 2


@dataclass(frozen=True)
class CartesianAction:
    """One step in SI units, relative to the current pose, in the robot base frame."""

    translation_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    rotation_z_rad: float = 0.0
    gripper: Gripper = Gripper.HOLD
    terminate: bool = False


@dataclass(frozen=True)
class ActionSpace:
    """Largest step per axis; an action outside is scaled by nobody: it is refused."""

    max_translation_m: tuple[float, float, float] = parameter(
        (0.08, 0.08, 0.08), "largest step along x, y, z [m]", range=(1e-4, 1.0)
    )
    max_rotation_rad: float = parameter(0.5, "largest turn about the vertical axis [rad]", range=(1e-4, 3.2))

    def __post_init__(self) -> None:
        limits = self._limits
        if len(limits) != CONTINUOUS_DIM or not all(np.isfinite(x) and x > 0 for x in limits):
            raise AmRosError(f"action space: limits must be four positive finite numbers, got {limits}")

    @property
    def _limits(self) -> tuple[float, ...]:
        return (*self.max_translation_m, self.max_rotation_rad)

    @property
    def scale(self) -> np.ndarray:
        """Metres and radians of one unit of the vector, float64 [4]."""
        return np.array([*self.max_translation_m, self.max_rotation_rad])

    def to_vector(self, action: CartesianAction, gripper_opening: float = 1.0) -> np.ndarray:
        """Encode an action as a vector, float32 [7].

        A gripper command HOLD becomes open or close, whichever the measured `gripper_opening` (0 closed, 1 open)
        says: two names for one behaviour would make one of them a false negative in learning.
        A terminating action moves nothing, so its displacement is zero and only TERMINATE is set.
        """
        vector = np.zeros(ACTION_DIM, np.float32)
        if action.terminate:
            vector[TERMINATE] = 1
            return vector
        moved = (*action.translation_m, action.rotation_z_rad)
        vector[:CONTINUOUS_DIM] = [value / limit for value, limit in zip(moved, self._limits, strict=True)]
        gripper = action.gripper
        if gripper == Gripper.HOLD:
            gripper = Gripper.OPEN if gripper_opening > OPEN_ABOVE else Gripper.CLOSE
        vector[OPEN if gripper == Gripper.OPEN else CLOSE] = 1
        return vector

    def from_vector(self, vector: np.ndarray) -> CartesianAction:
        """Decode a vector [7]; raises AmRosError if it is not finite or not of that shape."""
        vector = np.asarray(vector, np.float64)
        if vector.shape != (ACTION_DIM,) or not np.isfinite(vector).all():
            raise AmRosError(f"action vector: expected {ACTION_DIM} finite numbers, got {vector}")
        choice = CONTINUOUS_DIM + int(np.argmax(vector[CONTINUOUS_DIM:]))
        if choice == TERMINATE:
            return CartesianAction(terminate=True)
        step = np.clip(vector[:CONTINUOUS_DIM], -1, 1) * self.scale
        gripper = Gripper.OPEN if choice == OPEN else Gripper.CLOSE
        return CartesianAction(tuple(step[:3].tolist()), float(step[3]), gripper)

    def check(self, action: CartesianAction, tolerance: float = 1e-6) -> None:
        """Raise AmRosError, naming the component, unless the action is finite and within the limits."""
        values = (*action.translation_m, action.rotation_z_rad)
        # Plain numbers: a bag has an action per step, and four of them are no array.
        for name, value, limit in zip(("x", "y", "z", "rotation_z"), values, self._limits, strict=True):
            if not math.isfinite(value):
                raise AmRosError(f"action_not_finite: {name} = {value}")
            if abs(value) > limit + tolerance:
                raise AmRosError(f"action_too_large: |{name}| = {abs(value):.3f} above {limit:.3f}")

"""What an episode is: observations, actions, outcome. NumPy only; everything else builds on this."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from am_ros.action import ACTION_DIM
from am_ros.errors import AmRosError

# Proprioception of one observation. The first two are QT-Opt's (gripper status, height to the table), and a
# network that wants fewer takes a prefix.
STATE_NAMES = ("gripper_opening", "height_m", "x_m", "y_m", "sin_yaw", "cos_yaw")
STATE_DIM = len(STATE_NAMES)

# Resolution of the azimuth [rad], 1.5e-6. Without it, float32 sin and cos do not survive the way into a quaternion and
# back, and a bag that is read, written and read again would differ in the last bit. It divides the circle evenly.
_YAW_QUANTUM = math.tau / 2**22

# Text of an episode that comes over the network: what people write is far below it.
MAX_TEXT, MAX_REASON = 200, 2000

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


class Outcome(IntEnum):
    """Judgement of an episode; the values are those of am_msgs/EpisodeEvent."""

    UNKNOWN = 0
    SUCCESS = 1
    FAILURE = 2


def check_name(name: str, what: str) -> str:
    """Return `name` if it is 1 to 64 letters, digits, '_' or '-' (so never a path); raise AmRosError otherwise."""
    if not isinstance(name, str) or not _NAME.match(name):
        raise AmRosError(f"{what} {name!r}: use 1 to 64 letters, digits, '_' or '-'")
    return name


def state_vector(position_m: ArrayLike, yaw_rad: float, gripper_opening: float) -> np.ndarray:
    """Proprioception as the networks see it, float32 [STATE_DIM] in the order of STATE_NAMES.

    `position_m` is the tool centre point [3] in the robot base frame, whose z = 0 is the table plane.
    """
    x, y, z = np.asarray(position_m, float)
    yaw_rad = round(yaw_rad / _YAW_QUANTUM) * _YAW_QUANTUM
    return np.array([gripper_opening, z, x, y, math.sin(yaw_rad), math.cos(yaw_rad)], np.float32)


# Of the parameters finger_open and finger_closed, which several nodes have.
FINGER_OPEN = "what joint_states says of a finger when the gripper is open [m], or [rad] for one that turns"
FINGER_CLOSED = "... and when it is closed; larger than finger_open where the joint grows while closing"
FINGER_RANGE = (-4.0, 4.0)


def check_fingers(opened: float, closed: float) -> None:
    """Raise AmRosError if finger_open and finger_closed tell nothing of an opening."""
    if abs(opened - closed) < 1e-4:
        raise AmRosError(f"parameters finger_open and finger_closed: both are {opened:g}, so no opening can be told")


def gripper_opening(
    names: Sequence[str], positions: Sequence[float], finger_names: Sequence[str], opened: float, closed: float
) -> float | None:
    """Opening of a gripper from a joint state: 0 closed ... 1 fully open; None if a finger joint is not in it.

    `names` and `positions` are those of the joint state; `opened` and `closed` are what it says of a finger of an open
    and of a closed gripper: for some joints the one is larger, for some the other.
    """
    position = dict(zip(names, positions, strict=False))
    fingers = [position[name] for name in finger_names if name in position]
    if not fingers or len(fingers) < len(finger_names):
        return None
    return float(np.clip((np.mean(fingers) - closed) / (opened - closed), 0, 1))


def yaw_of_quaternion(x: float, y: float, z: float, w: float) -> float:
    """Azimuth [rad] of a tool that points down, R = Rz(yaw) Rx(pi): the heading of its x axis in the horizontal plane.

    That rotation is the quaternion x = cos(yaw/2), y = sin(yaw/2), z = w = 0.
    """
    return math.atan2(2 * (x * y + w * z), 1 - 2 * (y * y + z * z))


@dataclass(frozen=True)
class EpisodeInfo:
    """What is known of an episode besides its steps. Written into the bag's metadata as text."""

    episode_id: str
    task: str = ""
    goal_id: str = ""
    source: str = ""
    seed: int = -1
    outcome: Outcome = Outcome.UNKNOWN
    reason: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("task", "goal_id", "source"):
            if len(getattr(self, name)) > MAX_TEXT:
                raise AmRosError(f"episode {self.episode_id[:64]!r}: {name} is longer than {MAX_TEXT} characters")
        if len(self.reason) > MAX_REASON:  # it comes with the END: the episode is worth more than its last words
            object.__setattr__(self, "reason", self.reason[: MAX_REASON - 4] + " ...")


@dataclass
class Episode:
    """T steps and T+1 observations: action t was decided on observation t and led to observation t+1."""

    info: EpisodeInfo
    images: np.ndarray  # uint8 [T+1, height, width, 3], RGB
    states: np.ndarray  # float32 [T+1, STATE_DIM]
    actions: np.ndarray  # float32 [T, ACTION_DIM], normalised (see action.py)
    stamps_ns: np.ndarray  # int64 [T+1], header stamps of the images
    files: Sequence[bytes | None] = ()  # if asked for: the JPEG or PNG of each image, where it has exactly its pixels

    def __post_init__(self) -> None:
        steps = len(self.actions)
        name = f"episode {self.info.episode_id!r}"
        if steps < 1:
            raise AmRosError(f"{name}: has no step")
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or self.images.shape[3] != 3:
            raise AmRosError(f"{name}: images must be uint8 [T+1, height, width, 3], got {self.images.shape}")
        shapes = {
            "images": (self.images, self.images.shape[1:]),
            "states": (self.states, (STATE_DIM,)),
            "stamps": (self.stamps_ns, ()),
        }
        for what, (array, shape) in shapes.items():
            if array.shape != (steps + 1, *shape):
                raise AmRosError(f"{name}: {what} have shape {array.shape}, expected {(steps + 1, *shape)}")
        if self.actions.shape != (steps, ACTION_DIM):
            raise AmRosError(f"{name}: actions have shape {self.actions.shape}, expected {(steps, ACTION_DIM)}")
        if not (np.isfinite(self.actions).all() and np.isfinite(self.states).all()):
            raise AmRosError(f"{name}: an action or a state is not finite")
        if (np.diff(self.stamps_ns) < 0).any():
            raise AmRosError(f"{name}: image stamps go backwards")

    def __len__(self) -> int:
        return len(self.actions)

    def with_info(self, **changes: Any) -> "Episode":
        """The same steps with other metadata."""
        return replace(self, info=replace(self.info, **changes))

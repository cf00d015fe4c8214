"""What an actor sees, chooses and is told, and an action as its message."""

import math
from dataclasses import dataclass

import numpy as np
from am_msgs.msg import CartesianAction as CartesianActionMsg
from am_msgs.msg import Observation

from am_ros.action import CartesianAction


@dataclass(frozen=True)
class Seen:
    """One observation: the image, proprioception for the network, and the message that records both."""

    image: np.ndarray  # uint8 [H, W, 3]
    state: np.ndarray  # float32 [STATE_DIM]
    position_m: tuple[float, float, float]
    message: Observation


@dataclass(frozen=True)
class Choice:
    """What an actor decided; `q_value` is NaN where it has no Q."""

    action: CartesianAction
    q_value: float = math.nan
    decision_ms: float = 0.0


@dataclass(frozen=True)
class Label:
    """What an episode is called and where it comes from."""

    episode_id: str
    source: str
    task: str = ""
    goal_id: str = ""
    seed: int = -1


@dataclass(frozen=True)
class Ended:
    """How an episode ended: `reason` is terminated, step_limit, cancelled, or a fault in one sentence."""

    reason: str
    fault: bool
    steps: int
    last: Seen


def action_message(action: CartesianAction) -> CartesianActionMsg:
    """A CartesianAction as its message."""
    message = CartesianActionMsg(
        rotation_z=action.rotation_z_rad, gripper=int(action.gripper), terminate=action.terminate
    )
    message.translation.x, message.translation.y, message.translation.z = action.translation_m
    return message

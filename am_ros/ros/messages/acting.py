"""What an actor is configured by, sees, chooses and is told, and an action as its message."""

import math
from dataclasses import dataclass, field

import numpy as np
from am_msgs.msg import CartesianAction as CartesianActionMsg
from am_msgs.msg import Observation

from am_ros.action import CartesianAction
from am_ros.camera.watchdog import ImageWatchConfig
from am_ros.configuration import parameter
from am_ros.control.limits import MotionLimits
from am_ros.episode import FINGER_CLOSED, FINGER_OPEN, FINGER_RANGE


@dataclass(frozen=True)
class ActingConfig:
    """What acting needs to know of the workcell, and what ends an episode."""

    base_frame: str = parameter("base_link", "frame of actions and poses")
    workspace_x_m: tuple[float, float] = parameter(
        MotionLimits.workspace_x_m, "box the actor keeps its steps in, along x [m]", range=(-2, 2)
    )
    workspace_y_m: tuple[float, float] = parameter(MotionLimits.workspace_y_m, "box along y [m]", range=(-2, 2))
    workspace_z_m: tuple[float, float] = parameter(MotionLimits.workspace_z_m, "box along z [m]", range=(-2, 2))
    finger_names: tuple[str, ...] = parameter(
        ("finger_left_joint", "finger_right_joint"), "gripper joints in joint_states"
    )
    finger_open: float = parameter(0.045, FINGER_OPEN, range=FINGER_RANGE)
    finger_closed: float = parameter(0.0, FINGER_CLOSED, range=FINGER_RANGE)
    motion_timeout_s: float = parameter(15.0, "wait so long for the end of a motion [s]", range=(0.1, 300.0))
    controller_timeout_s: float = parameter(
        1.0, "controller_gone: no controller_status for so long during an episode [s]", range=(0.2, 60.0)
    )
    clock_jump_s: float = parameter(
        0.5, "clock_jump: the clock of the stamps against the monotonic one, from one look to the next [s]",
        range=(0.05, 60.0),
    )  # fmt: skip
    lease_wait_s: float = parameter(
        3.0, "an episode waits at its start so long for the end of another's lease of the arm [s]", range=(0.0, 60.0)
    )
    max_refusals: int = parameter(5, "steps refused in a row before the episode ends with a fault", range=(1, 100))
    images: ImageWatchConfig = field(default_factory=ImageWatchConfig)


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

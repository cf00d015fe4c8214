"""Where things may be in the scenes of all tasks, and the motions that all experts share."""

import math

import numpy as np

from am_ros.action import ActionSpace, CartesianAction, Gripper
from am_ros.sim.objects import BLOCK_SIZE_M, model_name
from am_ros.sim.scene import Pose

BLOCK_REST_M = BLOCK_SIZE_M / 2  # height of its centre on the table
# The workspace box is a little larger (control/limits.py), so that a block at the rim can still be approached.
BLOCK_LOW_M, BLOCK_HIGH_M = (0.44, -0.20), (0.68, 0.20)
TOOL_LOW_M, TOOL_HIGH_M = (0.44, -0.20, 0.06), (0.70, 0.20, 0.28)
MAX_TOOL_YAW_RAD = 1.0

# Steps of experts stay a little within the limits of the action space: rounding must never make one too large.
STEP = 0.999 * ActionSpace().scale


def draw_tool(rng: np.random.Generator, low=TOOL_LOW_M, high=TOOL_HIGH_M) -> tuple[np.ndarray, float]:
    """Position [3] and yaw [rad] of the end effector."""
    return rng.uniform(low, high), rng.uniform(-MAX_TOOL_YAW_RAD, MAX_TOOL_YAW_RAD)


def draw_block(rng: np.random.Generator) -> np.ndarray:
    """Position [3] of a block that lies on the table."""
    return np.array([*rng.uniform(BLOCK_LOW_M, BLOCK_HIGH_M), BLOCK_REST_M])


def towards(tool: Pose, position_m, yaw_rad: float, gripper: Gripper) -> CartesianAction:
    """The step that leads a straight way to a pose, as far as one step goes."""
    displacement = np.asarray(position_m) - np.array(tool.position_m)
    turn = math.remainder(yaw_rad - tool.yaw_rad, math.tau)
    # One factor for all axes keeps the line straight; the turn does not hold up the way.
    displacement /= max(1.0, np.abs(displacement / STEP[:3]).max())
    turn = min(max(turn, -STEP[3]), STEP[3])
    return CartesianAction(tuple(displacement.tolist()), float(turn), gripper)


def distance_to_line(point, a, b) -> float:
    """Distance of a point [2] from the line segment a b."""
    along = b - a
    share = np.clip((point - a) @ along / max(along @ along, 1e-12), 0, 1)
    return float(np.linalg.norm(point - a - share * along))


def numbered(kinds) -> tuple[str, ...]:
    """Names of objects of these kinds: block, block_2, block_3 ..., box ..."""
    names: list[str] = []
    for kind in kinds:
        number = 1 + sum(model_name(name) == kind for name in names)
        names.append(kind if number == 1 else f"{kind}_{number}")
    return tuple(names)

"""Motions that the experts of all tasks share: pick an object, carry it, let it go. The next step from the truth alone.

None of them remembers what it did before, so a dropped object is simply picked up again.
"""

import math

import numpy as np

from am_ros.action import CartesianAction, Gripper
from am_ros.sim.objects import find_model
from am_ros.sim.scene import ObjectState, Pose, SceneState
from am_ros.sim.tasks.layout import towards

LOWEST_M = 0.021  # of the tool: the fingertips 6 mm above the table
HOVER_M = 0.105  # of the tool over a table with blocks: one step above the grasp, fingertips 4 cm over the block
TIP_M = 0.015  # from the tool centre point down to the fingertips
CLEARANCE_M = 0.03  # between fingertips, or what they carry, and what is passed over
ALIGNED_M, ALIGNED_RAD = 0.012, 0.12  # good enough to descend; an open finger leaves 2 cm on either side of a block
HELD_M, HELD_SHARE = 0.03, 0.6  # an object this near to the tool is between the fingers; or this share of a long one
# The fingers are open 9 cm; around the widest object they stay 6.2 cm apart.
CLOSED_OPENING, OPEN_OPENING = 0.75, 0.9
GRIP_PENALTY_M = 0.06  # more than any task tolerates
LIFTED_M = 0.08  # an object this much above the table is lifted


def top_m(thing: ObjectState) -> float:
    """Height of the highest point of an object that stands upright."""
    model = find_model(thing.name)
    return thing.pose.position_m[2] - model.rest_m + model.height_m


def rise_m(thing: ObjectState) -> float:
    """How far an object is above where it lies on the table."""
    return thing.pose.position_m[2] - find_model(thing.name).rest_m


def travel_m(state: SceneState, carried: ObjectState | None = None) -> float:
    """Height of the tool at which fingers, and what they carry, pass over all other objects."""
    tops = [top_m(o) for o in state.objects if carried is None or o.name != carried.name]
    below = TIP_M
    if carried is not None:
        held_m = state.end_effector.position_m[2] - carried.pose.position_m[2]
        below = max(below, find_model(carried.name).rest_m + held_m)
    return max(HOVER_M, max(tops, default=0.0) + CLEARANCE_M + below)


def grasp_point(thing: ObjectState, grasp_m: float | None = None) -> np.ndarray:
    """Where the tool centre point belongs to grasp an object, [3]; `grasp_m` above its frame if not as usual."""
    x, y, z = thing.pose.position_m
    return np.array([x, y, max(LOWEST_M, z + (find_model(thing.name).grasp_m if grasp_m is None else grasp_m))])


def grasp_yaw(thing: ObjectState, tool_yaw_rad: float) -> float:
    """Yaw of a grasp across the narrow side: of the equivalent ones, the nearest to the middle of the wrist's range.

    With cubes only one lies within 45 degrees of zero, so the choice never flips while the arm turns.
    """
    turns = find_model(thing.name).turns
    return math.remainder(thing.pose.yaw_rad, math.tau / turns) if turns else tool_yaw_rad


def is_held(state: SceneState, thing: ObjectState) -> bool:
    """Whether the object is between closed fingers."""
    near = max(HELD_M, HELD_SHARE * find_model(thing.name).radius_m)
    far = math.dist(state.end_effector.position_m, grasp_point(thing))
    return state.gripper_opening < CLOSED_OPENING and far < near


def grip_penalty_m(state: SceneState, thing: ObjectState) -> float:
    """What an object in the hand adds to its distance from the goal [m]: it has to rest there, released."""
    return GRIP_PENALTY_M if is_held(state, thing) else 0.0


def is_lifted(state: SceneState, thing: ObjectState) -> bool:
    """Whether the object is in the hand and off the table."""
    return is_held(state, thing) and rise_m(thing) >= LIFTED_M


def pick(
    state: SceneState, thing: ObjectState, yaw_rad: float | None = None, grasp_m: float | None = None
) -> CartesianAction:
    """Go above the object, down around it, and close the fingers."""
    tool = state.end_effector
    x, y, grasp = grasp_point(thing, grasp_m)
    yaw = grasp_yaw(thing, tool.yaw_rad) if yaw_rad is None else yaw_rad
    height, above = tool.position_m[2], travel_m(state)
    over = math.dist(tool.position_m[:2], (x, y))
    turn = math.remainder(yaw - tool.yaw_rad, math.tau)
    if state.gripper_opening < OPEN_OPENING:
        # Closed around nothing: open, and out of the way of whatever lies there.
        return towards(tool, (*tool.position_m[:2], max(height, above)), tool.yaw_rad, Gripper.OPEN)
    if over < ALIGNED_M and abs(turn) < ALIGNED_RAD:
        if height - grasp > 0.012:
            return towards(tool, (x, y, grasp), yaw, Gripper.OPEN)
        return CartesianAction(gripper=Gripper.CLOSE)
    if over > ALIGNED_M and height < above - 0.02:
        return towards(tool, (*tool.position_m[:2], above), yaw, Gripper.OPEN)
    return towards(tool, (x, y, max(above, grasp + 0.05)), yaw, Gripper.OPEN)


def carry(
    state: SceneState, thing: ObjectState, goal: Pose, drop_m: float = 0.002, aligned_m: float = ALIGNED_M,
    aligned_rad: float = ALIGNED_RAD,
) -> CartesianAction:  # fmt: skip
    """With the object in the hand: up, over its goal pose, down to `drop_m` above it, and open the fingers.

    It goes down once it is aligned as well as asked for.
    """
    tool = state.end_effector
    held = np.subtract(tool.position_m, thing.pose.position_m)
    target = np.add(goal.position_m, (held[0], held[1], held[2] + drop_m))
    yaw = tool.yaw_rad + turn_left(thing, goal)
    above = max(travel_m(state, thing), target[2])
    height = tool.position_m[2]
    if math.dist(tool.position_m[:2], target[:2]) < aligned_m and abs(turn_left(thing, goal)) < aligned_rad:
        if height - target[2] < 0.01:
            return CartesianAction(gripper=Gripper.OPEN)
        return towards(tool, target, yaw, Gripper.CLOSE)
    if height < above - 0.03:
        return towards(tool, (*tool.position_m[:2], above), tool.yaw_rad, Gripper.CLOSE)
    return towards(tool, (*target[:2], above), yaw, Gripper.CLOSE)


def turn_left(thing: ObjectState, goal: Pose) -> float:
    """How far the object still has to turn [rad], as far as that can be seen."""
    turns = find_model(thing.name).turns
    return math.remainder(goal.yaw_rad - thing.pose.yaw_rad, math.tau / turns) if turns else 0.0


def let_go(state: SceneState) -> CartesianAction:
    """Open the fingers, go up, and say that it is done."""
    tool, above = state.end_effector, travel_m(state)
    if state.gripper_opening < OPEN_OPENING:
        return CartesianAction(gripper=Gripper.OPEN)
    if tool.position_m[2] < above - 0.02:
        return towards(tool, (*tool.position_m[:2], above), tool.yaw_rad, Gripper.OPEN)
    return CartesianAction(terminate=True)

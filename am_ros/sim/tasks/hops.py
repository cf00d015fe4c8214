"""Short ways: carry an object up, over and down in as few steps as the way is long, where nothing stands beside it."""

import math

import numpy as np

from am_ros.action import CartesianAction, Gripper
from am_ros.sim.objects import find_model
from am_ros.sim.scene import ObjectState, Pose, SceneState
from am_ros.sim.tasks import layout
from am_ros.sim.tasks.manipulation import ALIGNED_M, ALIGNED_RAD, carry, turn_left

HAND_M = 0.065  # from the tool to the outside of an open finger
HEIGHT_M = 0.05  # of a hop
DROP_M = 0.002


def hop(state: SceneState, thing: ObjectState, goal: Pose) -> CartesianAction:
    """With the object in the hand: to its goal pose in a low hop, and open the fingers; like `carry` if blocked."""
    tool = np.array(state.end_effector.position_m)
    target = np.array(goal.position_m) + (tool - thing.pose.position_m) + (0, 0, DROP_M)
    over, height, turn = math.dist(tool[:2], target[:2]), tool[2] - target[2], turn_left(thing, goal)
    if over < ALIGNED_M and height < 0.01 and abs(turn) < ALIGNED_RAD:
        return CartesianAction(gripper=Gripper.OPEN)
    if not is_clear(state, thing, tool[:2], target[:2]):
        return carry(state, thing, goal, DROP_M)
    steps = steps_for(target[:2] - tool[:2], turn)
    yaw = state.end_effector.yaw_rad + turn
    way: tuple[float, ...] | np.ndarray
    if steps > 1:
        way = (*(tool[:2] + (target[:2] - tool[:2]) / steps), target[2] + HEIGHT_M)
    elif over > ALIGNED_M and height < 0.02:
        way = (*tool[:2], target[2] + HEIGHT_M)  # so near that it would be dragged there
    else:
        way = target
    return layout.towards(state.end_effector, way, yaw, Gripper.CLOSE)


def steps_for(way_m, turn_rad: float = 0.0) -> int:
    """How many steps of the arm a way [2] and a turn take, at least one."""
    return max(1, math.ceil(np.abs(way_m / layout.STEP[:2]).max()), math.ceil(abs(turn_rad) / layout.STEP[3]))


def is_clear(state: SceneState, thing: ObjectState, start, end) -> bool:
    """Whether no other object is so near to the straight line from start to end [2] that the hand could touch it."""
    return all(
        layout.distance_to_line(np.array(o.pose.position_m[:2]), start, end) > HAND_M + find_model(o.name).radius_m
        for o in state.objects
        if o.name != thing.name
    )

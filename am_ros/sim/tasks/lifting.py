"""What the grasping tasks share: the goal with an object in the hand, how much is missing, and how it is lifted.

A trial is reached when an object is lifted (manipulation.is_lifted): in the hand and LIFTED_M above where it rests.
The goal image shows it RAISED_M above; the distance is what is missing to that height, all of it for an object that is
not in the hand. So the distance is within TOLERANCE_M exactly when the object is lifted.
"""

import math
from collections.abc import Iterable

import numpy as np

from am_ros.action import CartesianAction, Gripper
from am_ros.sim.objects import FOODS, find_model
from am_ros.sim.scene import Arrangement, ObjectState, Pose, Scenario, SceneState, tool_down, upright
from am_ros.sim.tasks import layout
from am_ros.sim.tasks.clearance import best_yaw, others_of
from am_ros.sim.tasks.manipulation import CLEARANCE_M, LIFTED_M, TIP_M, grasp_point, is_held, pick, rise_m, top_m

RAISED_M = 0.12
TOLERANCE_M = RAISED_M - LIFTED_M
# Of the hand in goal images, where the object leaves a choice: the fingers are beside the object then, not before it.
SEEN_YAW_RAD = 1.15
FINGER_PLAY = 0.02  # of the gripper's opening: so far from the object the fingers are before they close on it
OPENING_M = 0.09


class LiftingTask:
    """A task whose goal shows one food in the hand: success is that very food, lifted. A task adds name and scenes."""

    objects = FOODS
    max_steps = 20
    lifts = False  # not on the way: an episode that ends with the lift is a success
    goal_image = True
    tolerance_m = TOLERANCE_M

    def distance(self, state: SceneState) -> float:
        """Missing height [m] of the wanted object, all of it while it is not in the hand."""
        return missing_m(state, [wanted_one(state)])

    def act(self, state: SceneState) -> CartesianAction:
        """Grasp the wanted object and raise it."""
        return grasp_and_raise(state, wanted_one(state))


def draw_foods(rng: np.random.Generator, most: int, always: str | None = None) -> tuple[list[str], str]:
    """Names of 2 to `most` foods, one of each kind at most, and which of them is wanted (`always`, if given)."""
    names = rng.permutation(list(FOODS)).tolist()
    wanted = always or names[0]
    names = [wanted, *(n for n in names if n != wanted)][: rng.integers(2, most + 1)]
    return names, wanted


def lift_scenario(rng: np.random.Generator, poses: dict[str, Pose], wanted: str) -> Scenario:
    """From a random arm above all objects to the wanted one in the hand, lifted over where it lay."""
    things = [ObjectState(name, pose) for name, pose in poses.items()]
    thing = next(t for t in things if t.name == wanted)
    lowest = max(map(top_m, things)) + TIP_M + CLEARANCE_M
    tool, tool_yaw = layout.draw_tool(rng, (*layout.TOOL_LOW_M[:2], lowest))
    yaw, _room = best_yaw(thing, [t for t in things if t.name != wanted], SEEN_YAW_RAD)
    x, y, grasp = grasp_point(thing)
    raised = upright(np.add(thing.pose.position_m, (0, 0, RAISED_M)), thing.pose.yaw_rad)
    opening = find_model(wanted).width_m / OPENING_M + FINGER_PLAY
    hand = tool_down((x, y, grasp + RAISED_M), yaw)
    goal = Arrangement(hand, {**poses, wanted: raised}, opening, squeeze=True)
    return Scenario(Arrangement(tool_down(tool, tool_yaw), poses), goal, wanted=(wanted,))


def missing_m(state: SceneState, things: Iterable[ObjectState]) -> float:
    """Height [m] that is missing to RAISED_M for that of the things which is the highest in the hand."""
    highest = max((rise_m(thing) for thing in things if is_held(state, thing)), default=0.0)
    return min(max(RAISED_M - highest, 0.0), RAISED_M)


def wanted_one(state: SceneState) -> ObjectState:
    """The object that the goal shows in the hand."""
    return next(thing for thing in state.objects if thing.goal is not None)


def held_one(state: SceneState) -> ObjectState | None:
    """What is in the hand, if anything."""
    held = [thing for thing in state.objects if is_held(state, thing)]
    return min(held, key=lambda o: math.dist(grasp_point(o), state.end_effector.position_m), default=None)


def grasp_and_raise(state: SceneState, thing: ObjectState) -> CartesianAction:
    """Grasp an object where the fingers have room, raise it, say that it is done."""
    if not is_held(state, thing):
        yaw, _room = best_yaw(thing, others_of(state, thing), state.end_effector.yaw_rad)
        return pick(state, thing, yaw)
    left, tool = RAISED_M - rise_m(thing), state.end_effector
    if left < 0.01:
        return CartesianAction(terminate=True)
    return layout.towards(tool, np.add(tool.position_m, (0, 0, left)), tool.yaw_rad, Gripper.CLOSE)

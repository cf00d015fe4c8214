"""How much room there is between objects on the table, and around the fingers of a grasp. Seen from above."""

import math
from collections.abc import Iterable
from functools import cache

import cv2
import numpy as np

from am_ros.sim.objects import find_model
from am_ros.sim.scene import ObjectState, SceneState
from am_ros.sim.tasks.layout import MAX_TOOL_YAW_RAD
from am_ros.sim.tasks.manipulation import grasp_point, top_m

# Half lengths along x and y of the tool (urdf/gripper.xacro): all that the fingers sweep as they close, and the palm.
FINGERS_M, PALM_M = (0.013, 0.063), (0.025, 0.065)
PALM_HEIGHT_M = 0.055  # above the tool centre point; what is lower passes under the palm
ENOUGH_M = 0.008  # of room around the fingers, as much as an arm on its way down is off at most
# A little more than a quarter turn, so that near it there are two equivalent grasps to choose from and none is lost.
MAX_GRASP_YAW_RAD = 1.7
ROUND_YAWS = np.linspace(-1.3, 1.3, 11)  # grasps of what is round


@cache
def outline(name: str) -> np.ndarray:
    """Convex outline of an object that stands upright, [N, 2] in its frame."""
    hull = cv2.convexHull(find_model(name).mesh.vertices[:, :2].astype(np.float32))[:, 0].astype(float)
    return hull[np.linalg.norm(np.roll(hull, -1, axis=0) - hull, axis=1) > 1e-5]  # without corners that are there twice


def turned(points: np.ndarray, centre, yaw_rad: float) -> np.ndarray:
    """Points [N, 2] turned by yaw, then shifted to a centre [2]."""
    c, s = math.cos(yaw_rad), math.sin(yaw_rad)
    return points @ np.array([[c, s], [-s, c]]) + np.asarray(centre)[:2]


def footprint(thing: ObjectState) -> np.ndarray:
    """Outline of an object where it is, [N, 2]."""
    return turned(outline(thing.name), thing.pose.position_m, thing.pose.yaw_rad)


def gap_m(a: np.ndarray, b: np.ndarray) -> float:
    """Room between two convex outlines [N, 2]; negative if they overlap.

    It is the widest strip between them that runs along an edge of either, so corner to corner it is understated.
    """
    edges = np.concatenate([np.diff(a, axis=0, append=a[:1]), np.diff(b, axis=0, append=b[:1])])
    normals = edges @ np.array([[0.0, 1.0], [-1.0, 0.0]]) / np.linalg.norm(edges, axis=1, keepdims=True)
    along_a, along_b = a @ normals.T, b @ normals.T
    gaps = np.maximum(along_b.min(axis=0) - along_a.max(axis=0), along_a.min(axis=0) - along_b.max(axis=0))
    return float(gaps.max())


def grasp_gap_m(thing: ObjectState, yaw_rad: float, others: Iterable[ObjectState]) -> float:
    """Room between the hand that grasps an object at this yaw, on its way down and closing, and the others."""
    x, y, grasp = grasp_point(thing)
    fingers, palm = (turned(_rectangle(half), (x, y), yaw_rad) for half in (FINGERS_M, PALM_M))
    gap = math.inf
    for other in others:
        reach = math.dist(other.pose.position_m[:2], (x, y)) - find_model(other.name).radius_m - math.hypot(*PALM_M)
        if reach < ENOUGH_M:  # the others are far enough whichever way the hand is turned
            hand = palm if top_m(other) > grasp + PALM_HEIGHT_M else fingers
            gap = min(gap, gap_m(hand, footprint(other)))
    return gap


def best_yaw(thing: ObjectState, others: Iterable[ObjectState], tool_yaw_rad: float = 0.0) -> tuple[float, float]:
    """Yaw of a grasp [rad] and the room there [m]: the nearest to the tool's yaw with enough room, or the freest.

    Once the tool is there it stays the nearest, so the choice does not flip from step to step.
    """
    others = tuple(others)
    yaws = sorted(_yaws(thing, tool_yaw_rad), key=lambda yaw: abs(yaw - tool_yaw_rad))
    best, room = yaws[0], -math.inf
    for yaw in yaws:
        gap = grasp_gap_m(thing, yaw, others)
        if gap >= ENOUGH_M:
            return yaw, gap
        if gap > room:
            best, room = yaw, gap
    return best, room


def others_of(state: SceneState, thing: ObjectState) -> list[ObjectState]:
    """All objects of a scene but one."""
    return [o for o in state.objects if o.name != thing.name]


def _yaws(thing: ObjectState, tool_yaw_rad: float) -> list[float]:
    turns = find_model(thing.name).turns
    if not turns:
        return [min(max(tool_yaw_rad, -MAX_TOOL_YAW_RAD), MAX_TOOL_YAW_RAD), *ROUND_YAWS.tolist()]
    all_round = (math.remainder(thing.pose.yaw_rad + math.tau * k / turns, math.tau) for k in range(turns))
    return [yaw for yaw in all_round if abs(yaw) <= MAX_GRASP_YAW_RAD]


def _rectangle(half_m) -> np.ndarray:
    x, y = half_m
    return np.array([(-x, -y), (x, -y), (x, y), (-x, y)])

"""rearrangement: bring up to three objects into the configuration that the goal image shows."""

import math

import numpy as np

from am_ros.action import CartesianAction
from am_ros.sim.objects import BLOCK, find_model
from am_ros.sim.scene import Arrangement, Pose, Scenario, SceneState, tool_down, upright
from am_ros.sim.tasks import layout
from am_ros.sim.tasks.hops import HAND_M, hop
from am_ros.sim.tasks.manipulation import HOVER_M, grip_penalty_m, is_held, let_go, pick, rise_m

KINDS = (BLOCK, BLOCK, BLOCK, "box", "apple", "lemon", "cup")  # low ones: the hand passes over them without a detour
MOST, MOST_MOVED = 3, 2
APART_M = HAND_M + 0.05  # between the places of objects, before and after: the hand around one touches no other
MAX_YAW_RAD = 0.6  # of objects: no more steps for turns than for ways
TOOL_LOW_M, TOOL_HIGH_M = 0.11, 0.18
PLACED_M = 0.02
NEAR_M, FAR_M = 0.11, 0.155  # of an object along x or y: more than twice what counts as reached, at most two steps
FREE_FAR_M = 0.235  # of the empty hand: three steps


class Rearrangement:
    """Success: every object within 5 cm of its goal place."""

    name = "rearrangement"
    objects = layout.numbered(KINDS)
    max_steps = 20
    lifts = True
    goal_image = True
    tolerance_m = 0.05

    def draw(self, rng: np.random.Generator) -> Scenario:
        """One to three objects; in the goal image one or two are elsewhere, and the arm is over the last of them."""
        count = int(rng.integers(1, MOST + 1))
        moved = int(rng.integers(1, min(count, MOST_MOVED) + 1))
        names = layout.numbered(rng.permutation(KINDS)[:count].tolist())
        tour = draw_tour(rng, moved)
        while tour is None or (places := bystanders(rng, tour, count - moved)) is None:
            tour = draw_tour(rng, moved)
        start, goal = {}, {}
        for i, name in enumerate(names):
            before, after = (tour[1 + 2 * i], tour[2 + 2 * i]) if i < moved else (places[i - moved],) * 2
            yaw = rng.uniform(-MAX_YAW_RAD, MAX_YAW_RAD)
            start[name] = lying(name, before, yaw)
            goal[name] = lying(name, after, rng.uniform(-MAX_YAW_RAD, MAX_YAW_RAD) if i < moved else yaw)
        # Names are told apart by kind: their order must not say which of them is moved.
        order = rng.permutation(names).tolist()
        tool = tool_down((*tour[0], rng.uniform(TOOL_LOW_M, TOOL_HIGH_M)), rng.uniform(-0.5, 0.5))
        released = tool_down((*tour[-1], HOVER_M), goal[names[moved - 1]].yaw_rad)
        return Scenario(
            Arrangement(tool, {name: start[name] for name in order}),
            Arrangement(released, {name: goal[name] for name in order}),
            wanted=tuple(order),
        )

    def distance(self, state: SceneState) -> float:
        """Of the object that is farthest from its goal [m], more while it is in the hand."""
        return max(math.dist(o.pose.position_m, o.wanted.position_m) + grip_penalty_m(state, o) for o in state.objects)

    def act(self, state: SceneState) -> CartesianAction:
        """Place what is in the hand; else fetch the nearest object that is not in its place."""
        tool = state.end_effector.position_m
        held = [o for o in state.objects if is_held(state, o) and not is_placed(o)]
        if held:
            return hop(state, held[0], held[0].wanted)
        left = [o for o in state.objects if not is_placed(o)]
        if not left:
            return let_go(state)
        return pick(state, min(left, key=lambda o: math.dist(o.pose.position_m[:2], tool[:2])))


def is_placed(thing) -> bool:
    """Whether an object lies where it belongs."""
    return math.dist(thing.pose.position_m[:2], thing.wanted.position_m[:2]) < PLACED_M and rise_m(thing) < 0.015


def lying(name: str, place, yaw_rad: float) -> Pose:
    """Pose of an object on the table."""
    return upright((*place, find_model(name).rest_m), yaw_rad)


def draw_tour(rng: np.random.Generator, moved: int) -> list[np.ndarray] | None:
    """Where the hand goes, seen from above: its start, then from and to of each object. None if that does not fit."""
    tour = [rng.uniform(layout.BLOCK_LOW_M, layout.BLOCK_HIGH_M)]
    for _ in range(moved):
        tour.append(near(rng, tour[-1], 0.0, FREE_FAR_M))
        tour.append(near(rng, tour[-1], NEAR_M, FAR_M))
    # The expert takes the nearest object first.
    in_order = moved == 1 or math.dist(tour[0], tour[1]) < math.dist(tour[0], tour[3])
    return tour if in_order and are_clear(tour, tour[1:]) else None


def near(rng: np.random.Generator, place, least_m: float, most_m: float) -> np.ndarray:
    """A place on the table; the longer of its ways along x and y is as far as asked for."""
    low = np.maximum(layout.BLOCK_LOW_M, place - most_m)
    high = np.minimum(layout.BLOCK_HIGH_M, place + most_m)
    while True:
        other = rng.uniform(low, high)
        if np.abs(other - place).max() >= least_m:
            return other


def are_clear(tour, places) -> bool:
    """Whether all places are apart from each other, and from the ways on which objects are carried."""
    apart = all(math.dist(a, b) >= APART_M for i, a in enumerate(places) for b in places[:i])
    return apart and all(
        layout.distance_to_line(place, a, b) >= APART_M
        for a, b in zip(tour[1::2], tour[2::2], strict=True)
        for place in places
        if place is not a and place is not b
    )


def bystanders(rng: np.random.Generator, tour, count: int, tries: int = 30) -> list[np.ndarray] | None:
    """Places of objects that stay where they are, clear of the tour; None if there is no room."""
    for _ in range(tries):
        places = [rng.uniform(layout.BLOCK_LOW_M, layout.BLOCK_HIGH_M) for _ in range(count)]
        if are_clear(tour, [*tour[1:], *places]):
            return places
    return None

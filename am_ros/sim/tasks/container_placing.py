"""container_placing: put the object into the plate or bowl, as the goal image shows it."""

import math

import numpy as np

from am_ros.action import CartesianAction
from am_ros.sim.objects import BLOCK, CONTAINER_FLOOR_M, find_model
from am_ros.sim.scene import Arrangement, ObjectState, Pose, Scenario, SceneState, tool_down, upright
from am_ros.sim.tasks import layout
from am_ros.sim.tasks.hops import HAND_M
from am_ros.sim.tasks.manipulation import CLEARANCE_M, TIP_M, carry, grip_penalty_m, is_held, let_go, pick

CONTAINERS = ("plate", "bowl")
KINDS = (BLOCK, BLOCK, "box", "apple", "lemon", "cup", "can")  # all of them fit into the containers
MOST = 4  # objects, with the container
CONTAINER_LOW_M, CONTAINER_HIGH_M = (0.50, -0.14), (0.62, 0.14)  # of its middle: all of it in the picture
GAP_M = 0.012  # between the open hand around one object and the next
START_LOW_M = 0.14  # of the tool: above all objects
ALIGNED_M = 0.008  # before it goes down: the open fingers fit into the bowl with 7 mm to spare
DROP_M = 0.003
INSIDE_M = 0.045


class ContainerPlacing:
    """Success: the object rests in the container, wholly inside the rim, and is released."""

    name = "container_placing"
    objects = (*layout.numbered(KINDS), *CONTAINERS)
    max_steps = 20
    lifts = True
    goal_image = True
    tolerance_m = 0.05  # from the middle of the container; its floor ends 6 to 7 cm from there

    def draw(self, rng: np.random.Generator) -> Scenario:
        """One to three objects and a container; the goal image shows the arm just after the release."""
        container = str(rng.choice(CONTAINERS))
        names = layout.numbered(rng.permutation(KINDS)[: int(rng.integers(1, MOST))].tolist())
        middle = rng.uniform(CONTAINER_LOW_M, CONTAINER_HIGH_M)
        start = None
        while start is None:
            start = draw_around(rng, names, middle, find_model(container).radius_m)
        start[container] = upright((*middle, 0.0))
        wanted = str(rng.choice(names))
        yaw = rng.uniform(-math.pi / 4, math.pi / 4)
        goal = start | {wanted: upright((*middle, find_model(wanted).rest_m + CONTAINER_FLOOR_M), yaw)}
        top = max(goal[name].position_m[2] - find_model(name).rest_m + find_model(name).height_m for name in goal)
        tool, tool_yaw = layout.draw_tool(rng, (*layout.TOOL_LOW_M[:2], START_LOW_M))
        released = tool_down((*middle, top + CLEARANCE_M + TIP_M), yaw)
        order = rng.permutation(list(start)).tolist()
        return Scenario(
            Arrangement(tool_down(tool, tool_yaw), {name: start[name] for name in order}),
            Arrangement(released, {name: goal[name] for name in order}),
            wanted=(wanted,),
        )

    def distance(self, state: SceneState) -> float:
        """From the object to its place in the container [m], more while it is in the hand."""
        thing = find_wanted(state)
        return math.dist(thing.pose.position_m, thing.wanted.position_m) + grip_penalty_m(state, thing)

    def act(self, state: SceneState) -> CartesianAction:
        """Pick the object, put it into the container, let it go."""
        thing = find_wanted(state)
        if self.distance(state) < INSIDE_M:
            return let_go(state)
        if is_held(state, thing):
            return carry(state, thing, thing.wanted, DROP_M, ALIGNED_M)
        return pick(state, thing)


def find_wanted(state: SceneState) -> ObjectState:
    """The object that belongs into the container."""
    return next(o for o in state.objects if o.goal is not None)


def draw_around(rng: np.random.Generator, names, middle, radius_m: float) -> dict[str, Pose] | None:
    """Objects at rest around a container, each with room for the hand around it; None if they do not fit."""
    places, poses = [(middle, radius_m)], {}
    for name in names:
        place, model = rng.uniform(layout.BLOCK_LOW_M, layout.BLOCK_HIGH_M), find_model(name)
        if any(math.dist(place, other) < HAND_M + r + GAP_M for other, r in places):
            return None
        places.append((place, model.radius_m))
        poses[name] = upright((*place, model.rest_m), rng.uniform(-math.pi / 4, math.pi / 4))
    return poses

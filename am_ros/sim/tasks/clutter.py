"""Tables full of objects: some nearly touch, none overlap, and those that have to be grasped can be."""

import math
from collections.abc import Sequence

import numpy as np

from am_ros.sim.objects import find_model
from am_ros.sim.scene import ObjectState, Pose, upright
from am_ros.sim.tasks import layout
from am_ros.sim.tasks.clearance import ENOUGH_M, best_yaw, footprint, gap_m

NEAR_M = 0.03  # objects that stand together are at most about this far apart
TRIES = 40  # for the place of one object, before the table is cleared and filled anew


def draw_clutter(
    rng: np.random.Generator, names: Sequence[str], graspable: Sequence[str], min_gap_m: float, crowding: float
) -> dict[str, Pose]:
    """Places of objects at rest on the table.

    `graspable` are those that the hand can grasp where they are, without touching the others. `crowding` (0 ... 1) is
    the share of objects that are put near another one; `min_gap_m` lies between any two.
    """
    while True:
        # Those to be grasped first: the others then find what room is left.
        order = [n for n in rng.permutation(list(names)).tolist() if n not in graspable]
        things = _fill(rng, [*graspable, *order], set(graspable), min_gap_m, crowding)
        if things:
            return {name: things[name].pose for name in names}


def _fill(rng, names, graspable, min_gap_m, crowding) -> dict[str, ObjectState] | None:
    placed: dict[str, ObjectState] = {}
    for name in names:
        for _ in range(TRIES):
            thing = _draw_place(rng, name, list(placed.values()) if rng.random() < crowding else [])
            if thing and _fits(thing, placed, graspable, min_gap_m):
                placed[name] = thing
                break
        else:
            return None
    return placed


def _draw_place(rng, name: str, neighbours: list[ObjectState]) -> ObjectState | None:
    """Somewhere, or near one of the neighbours; None if that is outside the table's reach."""
    model = find_model(name)
    place, yaw = rng.uniform(layout.BLOCK_LOW_M, layout.BLOCK_HIGH_M), rng.uniform(-math.pi, math.pi)
    if neighbours:
        neighbour, angle = neighbours[rng.integers(len(neighbours))], rng.uniform(-math.pi, math.pi)
        # Long objects that lie side by side are nearer than their circles; what overlaps is drawn again.
        far = model.radius_m + find_model(neighbour.name).radius_m
        distance = rng.uniform(0.5 * far, far + NEAR_M)
        place = np.add(neighbour.pose.position_m[:2], (distance * math.cos(angle), distance * math.sin(angle)))
        if (place < layout.BLOCK_LOW_M).any() or (place > layout.BLOCK_HIGH_M).any():
            return None
    return ObjectState(name, upright((*place, model.rest_m), yaw))


def _fits(thing: ObjectState, placed: dict[str, ObjectState], graspable: set[str], min_gap_m: float) -> bool:
    mine, radius = footprint(thing), find_model(thing.name).radius_m
    for other in placed.values():
        far = math.dist(thing.pose.position_m[:2], other.pose.position_m[:2])
        if far < radius + find_model(other.name).radius_m + min_gap_m and gap_m(mine, footprint(other)) < min_gap_m:
            return False
    together = {**placed, thing.name: thing}
    return all(
        best_yaw(together[name], [o for o in together.values() if o.name != name])[1] >= ENOUGH_M
        for name in together.keys() & graspable
    )

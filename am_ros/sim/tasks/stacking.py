"""stacking: put one block on the other, as the goal image shows it."""

import math

import numpy as np

from am_ros.action import CartesianAction
from am_ros.sim.objects import BLOCK, BLOCK_SIZE_M
from am_ros.sim.scene import Arrangement, ObjectState, Pose, Scenario, SceneState, tool_down, upright
from am_ros.sim.tasks import layout
from am_ros.sim.tasks.manipulation import CLEARANCE_M, TIP_M, carry, grip_penalty_m, is_held, let_go, pick

BASE = BLOCK + "_2"
APART_M = 0.13  # from block to block: the open hand around one does not touch the other
START_LOW_M = 0.12  # of the tool: above the blocks
RELEASED_M = 2 * BLOCK_SIZE_M + CLEARANCE_M + TIP_M  # of the tool, just above the stack
ON_TOP_M = 0.02


class Stacking:
    """Success: the block rests on the other, wherever that is, and is released."""

    name = "stacking"
    objects = (BLOCK, BASE)
    max_steps = 20
    lifts = True
    goal_image = True
    tolerance_m = 0.025  # half a block: with its centre beyond that it falls

    def draw(self, rng: np.random.Generator) -> Scenario:
        """Random arm above two random blocks; the goal image shows the arm just after the release."""
        tool, tool_yaw = layout.draw_tool(rng, (*layout.TOOL_LOW_M[:2], START_LOW_M))
        block, base = layout.draw_block(rng), layout.draw_block(rng)
        while math.dist(block, base) < APART_M:
            block, base = layout.draw_block(rng), layout.draw_block(rng)
        yaw, base_yaw, goal_yaw = rng.uniform(-math.pi / 4, math.pi / 4, 3)
        start = {BLOCK: upright(block, yaw), BASE: upright(base, base_yaw)}
        top = (*base[:2], base[2] + BLOCK_SIZE_M)
        goal = {BLOCK: upright(top, goal_yaw), BASE: start[BASE]}
        released = tool_down((*base[:2], RELEASED_M), goal_yaw)
        return Scenario(Arrangement(tool_down(tool, tool_yaw), start), Arrangement(released, goal), wanted=(BLOCK,))

    def distance(self, state: SceneState) -> float:
        """From the block to the place on top of where the other is [m], more while it is in the hand."""
        block, base = find(state)
        return math.dist(block.pose.position_m, on_top(base, block).position_m) + grip_penalty_m(state, block)

    def act(self, state: SceneState) -> CartesianAction:
        """Pick the block, put it on the other, let it go."""
        block, base = find(state)
        if self.distance(state) < ON_TOP_M:
            return let_go(state)
        if is_held(state, block):
            return carry(state, block, on_top(base, block))
        if is_held(state, base) or stands_on(base, block):
            return clear_away(state, base, block)
        return pick(state, block)


def find(state: SceneState) -> tuple[ObjectState, ObjectState]:
    """The block to be put on top, and the one that it belongs on."""
    by_name = {o.name: o for o in state.objects}
    return by_name[BLOCK], by_name[BASE]


def on_top(base: ObjectState, block: ObjectState) -> Pose:
    """The place on a block, turned as the goal image shows the other."""
    x, y, z = base.pose.position_m
    return upright((x, y, z + BLOCK_SIZE_M), block.wanted.yaw_rad)


def stands_on(upper: ObjectState, lower: ObjectState) -> bool:
    """Whether one block keeps the hand from the other."""
    over = math.dist(upper.pose.position_m[:2], lower.pose.position_m[:2]) < BLOCK_SIZE_M
    return over and upper.pose.position_m[2] > lower.pose.position_m[2] + BLOCK_SIZE_M / 2


def clear_away(state: SceneState, base: ObjectState, block: ObjectState) -> CartesianAction:
    """The wrong way round: take the other block off, and put it on the table beside this one."""
    if not is_held(state, base):
        return pick(state, base)
    middle = (np.array(layout.BLOCK_LOW_M) + layout.BLOCK_HIGH_M) / 2
    away: np.ndarray = middle - block.pose.position_m[:2]
    x, y = block.pose.position_m[:2] + APART_M * away / max(1e-6, float(np.linalg.norm(away)))
    if math.dist(base.pose.position_m[:2], block.pose.position_m[:2]) >= APART_M:
        x, y = base.pose.position_m[:2]
    return carry(state, base, upright((x, y, layout.BLOCK_REST_M), base.pose.yaw_rad))

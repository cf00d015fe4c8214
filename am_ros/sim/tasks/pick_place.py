"""pick_place: carry the block to the place on the table where the goal image shows it."""

import math

import numpy as np

from am_ros.action import CartesianAction
from am_ros.sim.objects import BLOCK
from am_ros.sim.scene import Arrangement, Scenario, SceneState, tool_down, upright
from am_ros.sim.tasks import layout
from am_ros.sim.tasks.manipulation import HOVER_M, carry, is_held, let_go, pick, rise_m

MIN_WAY_M = 0.10  # of the block
START_LOW_M = 0.12  # of the tool: above the block
PLACED_M = 0.02


class PickPlace:
    """Success: the block within 5 cm of its goal place."""

    name = "pick_place"
    objects = (BLOCK,)
    max_steps = 20
    lifts = True
    goal_image = True
    tolerance_m = 0.05

    def draw(self, rng: np.random.Generator) -> Scenario:
        """Random arm above the table, random block; the goal image shows the arm just after the release."""
        low = (*layout.TOOL_LOW_M[:2], START_LOW_M)
        tool, tool_yaw = layout.draw_tool(rng, low)
        block, block_yaw = layout.draw_block(rng), rng.uniform(-math.pi / 4, math.pi / 4)
        goal = layout.draw_block(rng)
        while math.dist(block, goal) < MIN_WAY_M:
            goal = layout.draw_block(rng)
        goal_yaw = rng.uniform(-math.pi / 4, math.pi / 4)
        released = tool_down((*goal[:2], HOVER_M), goal_yaw)
        return Scenario(
            Arrangement(tool_down(tool, tool_yaw), {BLOCK: upright(block, block_yaw)}),
            Arrangement(released, {BLOCK: upright(goal, goal_yaw)}),
            wanted=(BLOCK,),
        )

    def distance(self, state: SceneState) -> float:
        """From the block to its goal [m]."""
        block = state.objects[0]
        return math.dist(block.pose.position_m, block.wanted.position_m)

    def act(self, state: SceneState) -> CartesianAction:
        """Pick the block, carry it, let it go."""
        block = state.objects[0]
        at_goal = math.dist(block.pose.position_m[:2], block.wanted.position_m[:2]) < PLACED_M
        if at_goal and rise_m(block) < 0.015:
            return let_go(state)
        return carry(state, block, block.wanted) if is_held(state, block) else pick(state, block)

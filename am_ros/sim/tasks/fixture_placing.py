"""fixture_placing: put the block into a fixture with walls, from above and aligned."""

import math

import numpy as np

from am_ros.action import CartesianAction
from am_ros.sim.objects import BLOCK
from am_ros.sim.scene import Arrangement, Pose, Scenario, SceneState, tool_down, upright
from am_ros.sim.tasks import layout
from am_ros.sim.tasks.manipulation import HOVER_M, carry, grip_penalty_m, is_held, let_go, pick

FIXTURE = "fixture"
MIN_WAY_M, MAX_WAY_M = 0.14, 0.30  # of the block: the hand around it is clear of the fixture; 20 steps are enough
START_LOW_M = 0.12  # of the tool: above the block
GRASP_M = 0.017  # above the middle of the block: the fingertips stay above the walls
ALIGNED_M, ALIGNED_RAD = 0.006, 0.1  # to go down, which aligns it fully; there are 5 mm of room on each side


class FixturePlacing:
    """Success: the block between the walls, down on the table, released. One that lies on a wall is 13 mm away."""

    name = "fixture_placing"
    objects = (BLOCK, FIXTURE)
    max_steps = 20
    lifts = True
    goal_image = True
    tolerance_m = 0.01

    def draw(self, rng: np.random.Generator) -> Scenario:
        """Random arm above a random block and fixture; the goal image shows the arm just after the release."""
        tool, tool_yaw = layout.draw_tool(rng, (*layout.TOOL_LOW_M[:2], START_LOW_M))
        block, place = layout.draw_block(rng), layout.draw_block(rng)
        while not MIN_WAY_M <= math.dist(block, place) <= MAX_WAY_M:
            block, place = layout.draw_block(rng), layout.draw_block(rng)
        yaw, fixture_yaw = rng.uniform(-math.pi / 4, math.pi / 4, 2)
        return self.arranged(tool_down(tool, tool_yaw), upright(block, yaw), place, fixture_yaw)

    def arranged(self, tool: Pose, block: Pose, place, fixture_yaw: float) -> Scenario:
        """From a tool and a block on the table to the block at `place` [3], where the fixture lies."""
        fixture = upright((*place[:2], 0.0), fixture_yaw)
        released = tool_down((*place[:2], HOVER_M), fixture_yaw)
        return Scenario(
            Arrangement(tool, {BLOCK: block, FIXTURE: fixture}),
            Arrangement(released, {BLOCK: upright(place, fixture_yaw), FIXTURE: fixture}),
            wanted=(BLOCK,),
        )

    def distance(self, state: SceneState) -> float:
        """From the block to its place between the walls [m], more while it is in the hand."""
        block = next(o for o in state.objects if o.name == BLOCK)
        return math.dist(block.pose.position_m, block.wanted.position_m) + grip_penalty_m(state, block)

    def act(self, state: SceneState) -> CartesianAction:
        """Pick the block near its top, align it over the fixture, put it in, let it go."""
        block = next(o for o in state.objects if o.name == BLOCK)
        if self.distance(state) < self.tolerance_m:
            return let_go(state)
        if is_held(state, block):
            return carry(state, block, block.wanted, aligned_m=ALIGNED_M, aligned_rad=ALIGNED_RAD)
        return pick(state, block, grasp_m=GRASP_M)

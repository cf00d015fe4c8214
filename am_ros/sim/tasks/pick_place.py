"""pick_place: carry the block to the place on the table where the goal image shows it."""

import math

import numpy as np

from am_ros.action import CartesianAction, Gripper
from am_ros.sim.objects import BLOCK
from am_ros.sim.scene import Arrangement, Pose, Scenario, SceneState, tool_down, upright
from am_ros.sim.tasks import layout
from am_ros.sim.tasks.layout import towards

MIN_WAY_M = 0.10  # of the block
START_LOW_M = 0.12  # of the tool: above the block
GRASP_M = 0.025  # height of the tool around a block on the table: the middle of the pads at the middle of the block
ABOVE_M = 0.105  # height of the tool before and after: one step above, fingertips 4 cm over the block
ALIGNED_M, ALIGNED_RAD = 0.012, 0.12  # good enough to descend; an open finger leaves 2 cm on either side
HELD_M = 0.025  # a block this near to the tool is between the fingers
PLACED_M = 0.02
# The fingers are open 9 cm; around a block they stay 5 cm apart.
CLOSED_OPENING, OPEN_OPENING = 0.75, 0.9


class PickPlace:
    """Success: the block within 5 cm of its goal place."""

    name = "pick_place"
    max_steps = 20
    lifts = True
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
        released = tool_down((*goal[:2], ABOVE_M), goal_yaw)
        return Scenario(
            Arrangement(tool_down(tool, tool_yaw), {BLOCK: upright(block, block_yaw)}),
            Arrangement(released, {BLOCK: upright(goal, goal_yaw)}),
            wanted=(BLOCK,),
        )

    def distance(self, state: SceneState) -> float:
        """From the block to its goal [m]."""
        block = state.objects[0]
        return math.dist(block.pose.position_m, block.goal.position_m)

    def act(self, state: SceneState) -> CartesianAction:
        """The next step from what is, not from what was done: a dropped block is simply grasped again."""
        tool, block = state.end_effector, state.objects[0]
        held = state.gripper_opening < CLOSED_OPENING and is_between_fingers(tool, block.pose)
        at_goal = math.dist(block.pose.position_m[:2], block.goal.position_m[:2]) < PLACED_M
        if at_goal and block.pose.position_m[2] < layout.BLOCK_REST_M + 0.015:
            return self._let_go(state)
        return self._carry(tool, block.goal) if held else self._grasp(state, tool, block.pose)

    def _grasp(self, state: SceneState, tool: Pose, block: Pose) -> CartesianAction:
        x, y, z = block.position_m
        yaw = grasp_yaw(tool.yaw_rad, block.yaw_rad)
        over = math.dist(tool.position_m[:2], (x, y))
        turn = math.remainder(yaw - tool.yaw_rad, math.tau)
        grasp_m = max(GRASP_M, z)
        height = tool.position_m[2]
        if state.gripper_opening < OPEN_OPENING:
            # Closed around nothing: open, and out of the way of whatever lies there.
            return towards(tool, (*tool.position_m[:2], max(height, ABOVE_M)), tool.yaw_rad, Gripper.OPEN)
        if over < ALIGNED_M and abs(turn) < ALIGNED_RAD:
            if height - grasp_m > 0.012:
                return towards(tool, (x, y, grasp_m), yaw, Gripper.OPEN)
            return CartesianAction(gripper=Gripper.CLOSE)
        if over > ALIGNED_M and height < ABOVE_M - 0.02:
            return towards(tool, (*tool.position_m[:2], ABOVE_M), yaw, Gripper.OPEN)
        return towards(tool, (x, y, max(ABOVE_M, z + 0.08)), yaw, Gripper.OPEN)

    def _carry(self, tool: Pose, goal: Pose) -> CartesianAction:
        x, y, _ = goal.position_m
        yaw = grasp_yaw(tool.yaw_rad, goal.yaw_rad)
        if math.dist(tool.position_m[:2], (x, y)) < ALIGNED_M:
            if tool.position_m[2] < GRASP_M + 0.01:  # down, but the block is tilted or high in the fingers
                return CartesianAction(gripper=Gripper.OPEN)
            return towards(tool, (x, y, GRASP_M + 0.002), yaw, Gripper.CLOSE)
        if tool.position_m[2] < ABOVE_M - 0.03:
            return towards(tool, (*tool.position_m[:2], ABOVE_M), tool.yaw_rad, Gripper.CLOSE)
        return towards(tool, (x, y, ABOVE_M), yaw, Gripper.CLOSE)

    def _let_go(self, state: SceneState) -> CartesianAction:
        tool = state.end_effector
        if state.gripper_opening < OPEN_OPENING:
            return CartesianAction(gripper=Gripper.OPEN)
        if tool.position_m[2] < ABOVE_M - 0.02:
            return towards(tool, (*tool.position_m[:2], ABOVE_M), tool.yaw_rad, Gripper.OPEN)
        return CartesianAction(terminate=True)


def is_between_fingers(tool: Pose, block: Pose) -> bool:
    """Whether the block is where the fingers would hold it."""
    return math.dist(tool.position_m, block.position_m) < HELD_M


def grasp_yaw(tool_yaw_rad: float, block_yaw_rad: float) -> float:
    """Yaw of a grasp across two sides of a cube: of the four, the one nearest to the middle of the wrist's range.

    Only one of the four lies within 45 degrees of zero, so the choice never flips while the arm turns.
    """
    return math.remainder(block_yaw_rad, math.pi / 2)

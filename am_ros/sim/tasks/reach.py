"""reach: bring the end effector to where the goal image shows it. A block lies by and is not to be touched."""

import math

import numpy as np

from am_ros.action import CartesianAction, Gripper
from am_ros.sim.objects import BLOCK
from am_ros.sim.scene import Arrangement, Scenario, SceneState, tool_down, upright
from am_ros.sim.tasks import layout

MIN_WAY_M = 0.10  # from start to goal: nearer ones are done before they begin
CLEARANCE_M = 0.13  # from the block to the line from start to goal, seen from above: half a hand and half a block


class Reach:
    """Success: the tool centre point within 4 cm of the goal pose."""

    name = "reach"
    objects = (BLOCK,)
    max_steps = 10
    lifts = False
    goal_image = True
    tolerance_m = 0.04

    def draw(self, rng: np.random.Generator) -> Scenario:
        """Random start and goal of the arm, random block away from both."""
        while True:
            start, start_yaw = layout.draw_tool(rng)
            goal, goal_yaw = layout.draw_tool(rng)
            block, block_yaw = layout.draw_block(rng), rng.uniform(-math.pi / 4, math.pi / 4)
            far_enough = np.linalg.norm(goal - start) >= MIN_WAY_M
            if far_enough and layout.distance_to_line(block[:2], start[:2], goal[:2]) >= CLEARANCE_M:
                break
        objects = {BLOCK: upright(block, block_yaw)}
        return Scenario(
            Arrangement(tool_down(start, start_yaw), objects), Arrangement(tool_down(goal, goal_yaw), objects)
        )

    def distance(self, state: SceneState) -> float:
        """From the tool centre point to its goal [m]."""
        return math.dist(state.end_effector.position_m, state.end_effector_goal.position_m)

    def act(self, state: SceneState) -> CartesianAction:
        """Straight there; terminate within 1 cm and 0.1 rad."""
        tool, goal = state.end_effector, state.end_effector_goal
        turn = math.remainder(goal.yaw_rad - tool.yaw_rad, math.tau)
        if self.distance(state) < 0.01 and abs(turn) < 0.1:
            return CartesianAction(terminate=True)
        return layout.towards(tool, goal.position_m, goal.yaw_rad, Gripper.OPEN)

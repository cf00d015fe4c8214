"""grasp_box, grasp_banana, grasp_bottle, grasp_milk: lift one kind of food out of clutter, for a reward (6.6)."""

import numpy as np

from am_ros.sim.scene import Scenario
from am_ros.sim.tasks.food_grasping import draw_food_clutter
from am_ros.sim.tasks.lifting import LiftingTask


class DownstreamGrasping(LiftingTask):
    """Success: the food of the task's name in the hand and 8 cm above its rest."""

    goal_image = False

    def __init__(self, food: str):
        self.name = f"grasp_{food}"
        self._food = food

    def draw(self, rng: np.random.Generator) -> Scenario:
        """A scene of food_grasping with the task's food in it. No learner sees the goal; judges and experts do."""
        return draw_food_clutter(rng, self._food)

"""grasp_box, grasp_banana, grasp_bottle, grasp_milk: lift one kind of food out of clutter, for a reward (6.6)."""

import numpy as np

from am_ros.action import CartesianAction
from am_ros.sim.objects import FOODS
from am_ros.sim.scene import Scenario, SceneState
from am_ros.sim.tasks.food_grasping import draw_food_clutter
from am_ros.sim.tasks.lifting import TOLERANCE_M, grasp_and_raise, missing_m, wanted_one


class DownstreamGrasping:
    """Success: the food of the task's name in the hand and 8 cm above its rest."""

    objects = FOODS
    max_steps = 20
    lifts = False  # not on the way: an episode that ends with the lift is a success
    goal_image = False
    tolerance_m = TOLERANCE_M

    def __init__(self, food: str):
        self.name = f"grasp_{food}"
        self._food = food

    def draw(self, rng: np.random.Generator) -> Scenario:
        """A scene of food_grasping with the task's food in it. No learner sees the goal; judges and experts do."""
        return draw_food_clutter(rng, self._food)

    def distance(self, state: SceneState) -> float:
        """Missing height [m] of the task's food, all of it while it is not in the hand."""
        return missing_m(state, [wanted_one(state)])

    def act(self, state: SceneState) -> CartesianAction:
        """Grasp the task's food and raise it."""
        return grasp_and_raise(state, wanted_one(state))

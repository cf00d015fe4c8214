"""food_grasping: lift any of the foods that lie in clutter on the table; the goal image shows one in the hand."""

import numpy as np

from am_ros.action import CartesianAction
from am_ros.sim.scene import Scenario, SceneState
from am_ros.sim.tasks.clutter import draw_clutter
from am_ros.sim.tasks.lifting import (
    LiftingTask,
    draw_foods,
    grasp_and_raise,
    held_one,
    lift_scenario,
    missing_m,
    wanted_one,
)  # fmt: skip

MOST = 8
MIN_GAP_M, CROWDING = 0.004, 0.7


def draw_food_clutter(rng: np.random.Generator, always: str | None = None) -> Scenario:
    """2 to 8 foods in clutter; one of them (`always`, if given) is wanted and can be grasped."""
    names, wanted = draw_foods(rng, MOST, always)
    return lift_scenario(rng, draw_clutter(rng, names, [wanted], MIN_GAP_M, CROWDING), wanted)


class FoodGrasping(LiftingTask):
    """Success: any object in the hand and 8 cm above its rest."""

    name = "food_grasping"

    def draw(self, rng: np.random.Generator) -> Scenario:
        """Random arm above the clutter; the goal image shows the wanted food lifted."""
        return draw_food_clutter(rng)

    def distance(self, state: SceneState) -> float:
        """Missing height [m] of the highest object in the hand."""
        return missing_m(state, state.objects)

    def act(self, state: SceneState) -> CartesianAction:
        """Lift what is in the hand; with nothing there, grasp the food that the goal image shows."""
        return grasp_and_raise(state, held_one(state) or wanted_one(state))

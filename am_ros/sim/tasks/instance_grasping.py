"""instance_grasping: lift the one food that the goal image shows in the hand."""

import numpy as np

from am_ros.action import CartesianAction
from am_ros.sim.objects import FOODS
from am_ros.sim.scene import Scenario, SceneState
from am_ros.sim.tasks.clutter import draw_clutter
from am_ros.sim.tasks.lifting import TOLERANCE_M, draw_foods, grasp_and_raise, lift_scenario, missing_m, wanted_one

MOST = 8
MIN_GAP_M, CROWDING = 0.012, 0.0


class InstanceGrasping:
    """Success: the wanted object in the hand and 8 cm above its rest; any of the others could be taken instead."""

    name = "instance_grasping"
    objects = FOODS
    max_steps = 20
    lifts = False  # not on the way: an episode that ends with the lift is a success
    goal_image = True
    tolerance_m = TOLERANCE_M

    def draw(self, rng: np.random.Generator) -> Scenario:
        """2 to 8 foods apart from each other, random arm above them; the goal image shows the wanted one lifted."""
        names, wanted = draw_foods(rng, MOST)
        return lift_scenario(rng, draw_clutter(rng, names, names, MIN_GAP_M, CROWDING), wanted)

    def distance(self, state: SceneState) -> float:
        """Missing height [m] of the wanted object, all of it while it is not in the hand."""
        return missing_m(state, [wanted_one(state)])

    def act(self, state: SceneState) -> CartesianAction:
        """Grasp the wanted object and raise it."""
        return grasp_and_raise(state, wanted_one(state))

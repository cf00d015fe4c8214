"""instance_grasping: lift the one food that the goal image shows in the hand."""

import numpy as np

from am_ros.sim.scene import Scenario
from am_ros.sim.tasks.clutter import draw_clutter
from am_ros.sim.tasks.lifting import LiftingTask, draw_foods, lift_scenario

MOST = 8
MIN_GAP_M, CROWDING = 0.012, 0.0


class InstanceGrasping(LiftingTask):
    """Success: the wanted object in the hand and 8 cm above its rest; any of the others could be taken instead."""

    name = "instance_grasping"

    def draw(self, rng: np.random.Generator) -> Scenario:
        """2 to 8 foods apart from each other, random arm above them; the goal image shows the wanted one lifted."""
        names, wanted = draw_foods(rng, MOST)
        return lift_scenario(rng, draw_clutter(rng, names, names, MIN_GAP_M, CROWDING), wanted)

"""Scripted demonstrators: the task's expert, disturbed so that the data shows more than one way."""

import math
from dataclasses import replace

import numpy as np

from am_ros.action import CartesianAction, Gripper
from am_ros.errors import AmRosError
from am_ros.sim.objects import BLOCK_SIZE_M
from am_ros.sim.scene import SceneState
from am_ros.sim.tasks import Task, layout

# Random actions last this many steps on average and keep their direction meanwhile: single ones would cancel out and
# explore nothing.
DISTURBANCE_STEPS = 2.5
JITTER = 0.2  # of the expert's steps at noise 1, in units of the largest step (standard deviation)
TOGGLE = 0.15  # chance per random step that the gripper opens or closes
LIFTED_M = 0.08  # height of a block that no longer touches the table


class NoisyExpert:
    """Acts on the scene's ground truth. `noise` 0 is the task's expert, 1 acts at random, between them a mixture."""

    def __init__(self, task: Task, noise: float, rng: np.random.Generator, stop_after_lift: bool = False):
        """`stop_after_lift`: terminate as soon as an object is lifted, which leaves the task unfinished."""
        if not 0 <= noise <= 1:
            raise AmRosError(f"parameter noise: {noise} is outside 0 ... 1")
        self._task, self._noise, self._rng = task, noise, rng
        self._stop_after_lift = stop_after_lift
        self._gripper = Gripper.OPEN  # last command
        self._disturbance = None
        self._left = 0

    def act(self, scene: SceneState) -> CartesianAction:
        """The next step. The gripper command is never HOLD, so the action has one meaning as a vector."""
        action = self._choose(scene)
        if not action.terminate:
            if action.gripper == Gripper.HOLD:
                action = replace(action, gripper=self._gripper)
            self._gripper = action.gripper
        return action

    @property
    def description(self) -> dict[str, str]:
        """How it acts, for an episode's metadata."""
        return {"noise": f"{self._noise:.3f}", "stop_after_lift": str(self._stop_after_lift).lower()}

    def _choose(self, scene: SceneState) -> CartesianAction:
        if self._stop_after_lift and any(o.pose.position_m[2] > LIFTED_M for o in scene.objects):
            return CartesianAction(terminate=True)
        if self._left == 0 and self._rng.random() < self._chance():
            self._left = int(self._rng.geometric(1 / DISTURBANCE_STEPS))
            self._disturbance = self._draw_disturbance(scene)
        if self._left > 0:
            self._left -= 1
            return self._disturbance(scene)
        action = self._task.act(scene)
        return action if action.terminate or self._noise == 0 else self._jitter(action, JITTER * self._noise)

    def _chance(self) -> float:
        """Chance to begin a disturbance, such that `noise` is the share of disturbed steps."""
        return self._noise / (self._noise + DISTURBANCE_STEPS * (1 - self._noise))

    def _draw_disturbance(self, scene: SceneState):
        kind = self._rng.choice(("wander", "detour", "open_or_close", "pause"), p=(0.45, 0.3, 0.15, 0.1))
        return getattr(self, "_" + kind)(scene)

    def _wander(self, _scene):
        """Some direction, kept roughly."""
        direction = self._rng.uniform(-1, 1, 4) * layout.STEP

        def act(_scene):
            gripper = Gripper.HOLD
            if self._rng.random() < TOGGLE:
                gripper = Gripper.OPEN if self._gripper == Gripper.CLOSE else Gripper.CLOSE
            x, y, z, turn = direction
            return self._jitter(CartesianAction((x, y, z), turn, gripper), 0.2)

        return act

    def _detour(self, scene):
        """Somewhere else first; often to an object, where something can happen."""
        place, yaw = layout.draw_tool(self._rng)
        if scene.objects and self._rng.random() < 0.5:
            target = self._rng.choice(len(scene.objects))
            spread = self._rng.normal(0, BLOCK_SIZE_M / 2, 2)
            place[:2] = np.array(scene.objects[target].pose.position_m[:2]) + spread
            place[2] = self._rng.uniform(0.02, 0.12)

        def act(scene):
            return self._jitter(layout.towards(scene.end_effector, place, yaw, Gripper.HOLD), 0.1)

        return act

    def _open_or_close(self, _scene):
        """Close too early, or drop what is held."""
        gripper = Gripper.OPEN if self._gripper == Gripper.CLOSE else Gripper.CLOSE
        return lambda _scene: self._jitter(CartesianAction(gripper=gripper), 0.2)

    def _pause(self, _scene):
        return lambda _scene: CartesianAction()

    def _jitter(self, action: CartesianAction, deviation: float) -> CartesianAction:
        """Gaussian noise on the displacement, in units of the largest step; stays within the action space."""
        step = np.array([*action.translation_m, action.rotation_z_rad])
        step = np.clip(step + self._rng.normal(0, deviation, 4) * layout.STEP, -layout.STEP, layout.STEP)
        return replace(action, translation_m=tuple(step[:3].tolist()), rotation_z_rad=math.remainder(step[3], math.tau))

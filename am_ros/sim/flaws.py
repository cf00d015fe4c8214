"""Half-trained policies: the expert with one flaw that stays for the whole episode.

Regression averages zero-mean jitter away; what a policy on its way from random to trained does is wrong in the same
way again and again. Each flaw is one such way.
"""

import math
from dataclasses import replace

import numpy as np

from am_ros.action import CartesianAction, Gripper
from am_ros.sim.scene import Pose, SceneState
from am_ros.sim.tasks import layout


class Flaw:
    """None. A flaw changes what the policy sees, or what becomes of its action."""

    name = "none"

    def __init__(self, rng: np.random.Generator):
        self._rng = rng

    def see(self, scene: SceneState) -> SceneState:
        """The scene as the policy takes it to be."""
        return scene

    def do(self, action: CartesianAction, gripper: Gripper) -> CartesianAction:
        """What becomes of an action that does not terminate; `gripper` is the command before."""
        return action


class Displaced(Flaw):
    """Sees all objects beside where they are, for its features are not sharp yet."""

    name = "displaced"
    FAR_M = 0.2  # where the error is full, if it shrinks on the way to the object

    def __init__(self, rng: np.random.Generator):
        super().__init__(rng)
        self._error_m = np.array([*rng.normal(0, 0.025, 2), rng.normal(0, 0.01)])
        self._shrinks = rng.random() < 0.5

    def see(self, scene: SceneState) -> SceneState:
        tool = scene.end_effector.position_m

        def seen(pose: Pose) -> Pose:
            share = min(1.0, math.dist(tool, pose.position_m) / self.FAR_M) if self._shrinks else 1.0
            return moved(pose, share * self._error_m)

        objects = tuple(replace(o, pose=seen(o.pose)) for o in scene.objects)
        # Without objects it is the goal that is misjudged.
        goal = scene.end_effector_goal if objects else seen(scene.end_effector_goal)
        return replace(scene, objects=objects, end_effector_goal=goal)


class Late(Flaw):
    """Decides now and then on the image before, and so overshoots."""

    name = "late"

    def __init__(self, rng: np.random.Generator):
        super().__init__(rng)
        self._last: SceneState | None = None

    def see(self, scene: SceneState) -> SceneState:
        seen = self._last if self._last is not None and self._rng.random() < 0.5 else scene
        self._last = scene
        return seen


class Sticky(Flaw):
    """Opens and closes the gripper some steps late, so that it drags and misses objects."""

    name = "sticky"

    def do(self, action: CartesianAction, gripper: Gripper) -> CartesianAction:
        return action if self._rng.random() < 0.4 else replace(action, gripper=gripper)


class Weak(Flaw):
    """Goes only a part of each way, as a policy that averages over its choices does."""

    name = "weak"

    def __init__(self, rng: np.random.Generator):
        super().__init__(rng)
        self._share = rng.uniform(0.25, 0.75)

    def do(self, action: CartesianAction, gripper: Gripper) -> CartesianAction:
        x, y, z = (self._share * v for v in action.translation_m)
        return replace(action, translation_m=(x, y, z), rotation_z_rad=self._share * action.rotation_z_rad)


class Drifting(Flaw):
    """Pulls to one side in all steps."""

    name = "drifting"

    def __init__(self, rng: np.random.Generator):
        super().__init__(rng)
        self._pull = rng.normal(0, 0.2, 4) * layout.STEP

    def do(self, action: CartesianAction, gripper: Gripper) -> CartesianAction:
        return changed(action, self._pull)


FLAWS = (Displaced, Late, Sticky, Weak, Drifting)


def draw_flaw(noise: float, rng: np.random.Generator) -> Flaw:
    """The flaw of an episode; the noisier it is, the more likely there is one (at noise 1 no policy acts, so none)."""
    kind = FLAWS[rng.integers(len(FLAWS))]
    return kind(rng) if rng.random() < noise < 1 else Flaw(rng)


def moved(pose: Pose, shift_m) -> Pose:
    """The pose at a place shifted by `shift_m` [3]."""
    return replace(pose, position_m=tuple((np.array(pose.position_m) + shift_m).tolist()))


def changed(action: CartesianAction, change: np.ndarray) -> CartesianAction:
    """The action with `change` [4] (m, m, m, rad) added to its step, within the action space."""
    step = np.array([*action.translation_m, action.rotation_z_rad]) + change
    x, y, z, turn = np.clip(step, -layout.STEP, layout.STEP).tolist()
    return replace(action, translation_m=(x, y, z), rotation_z_rad=turn)

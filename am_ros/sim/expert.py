"""Scripted demonstrators: the task's expert, disturbed as explorers are, so that the data shows more than one way."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from am_ros.action import CartesianAction, Gripper
from am_ros.errors import AmRosError
from am_ros.sim.flaws import changed, draw_flaw, moved
from am_ros.sim.lifts import LiftWatch
from am_ros.sim.objects import BLOCK_SIZE_M, find_model
from am_ros.sim.scene import SceneState
from am_ros.sim.tasks import Task, layout

JITTER = 0.2  # of the expert's steps at noise 1, in units of the largest step (standard deviation)
TOGGLE = 0.15  # chance per wandering step that the gripper opens or closes

Behaviour = Callable[[SceneState], CartesianAction]


class Spell(NamedTuple):
    """How often a disturbance comes and how many steps it lasts on average."""

    knowing: float  # weight for one who knows the task
    random: float  # weight for one who knows nothing
    steps: float  # single random steps would cancel out and explore nothing


# Each is a method of NoisyExpert.
SPELLS = {
    "wander": Spell(0.15, 0.45, 2.5),
    "detour": Spell(0.2, 0.3, 2.5),
    "pause": Spell(0.15, 0.1, 2.0),
    "fumble": Spell(0.15, 0.15, 1.5),
    "grip_late": Spell(0.1, 0.0, 2.0),
    "wrong_object": Spell(0.15, 0.0, 5.0),
    "wrong_goal": Spell(0.1, 0.0, 3.0),
}


class NoisyExpert:
    """Acts on the scene's ground truth. `noise` 0 is the task's expert, 1 acts at random, between them a mixture.

    `noise` is the share of steps taken by disturbances, and the chance that the policy between them has a flaw.
    """

    def __init__(self, task: Task, noise: float, rng: np.random.Generator, stop_after_lift: bool = False):
        """`stop_after_lift`: terminate as soon as an object is lifted, which leaves the task unfinished."""
        if not 0 <= noise <= 1:
            raise AmRosError(f"parameter noise: {noise} is outside 0 ... 1")
        self._task, self._noise, self._rng = task, noise, rng
        self._stop_after_lift = stop_after_lift
        self._flaw = draw_flaw(noise, rng)
        self._gripper = Gripper.OPEN  # last command
        self._lift_watch = LiftWatch()
        self._seen = 0  # states so far
        self._lifted_at: list[int] = []
        self._disturbance: Callable[[SceneState], CartesianAction]
        self._kind = ""  # what disturbs at the moment,
        self._left = 0  # for so many steps more
        self._disturbed: Counter[str] = Counter()  # steps by kind of disturbance

    def act(self, scene: SceneState) -> CartesianAction:
        """The next step. The gripper command is never HOLD, so the action has one meaning as a vector."""
        action = self._choose(scene)
        self._seen += 1
        if not action.terminate:
            if action.gripper == Gripper.HOLD:
                action = replace(action, gripper=self._gripper)
            self._gripper = action.gripper
        return action

    @property
    def description(self) -> dict[str, str]:
        """How it acted, for an episode's metadata.

        `disturbed` counts steps by kind of disturbance; `lifted_at` lists the observations, counted from 0, in which
        an object had just been taken up.
        """
        return {
            "noise": f"{self._noise:.3f}",
            "stop_after_lift": str(self._stop_after_lift).lower(),
            "flaw": self._flaw.name,
            "disturbed": " ".join(f"{kind}:{steps}" for kind, steps in sorted(self._disturbed.items())),
            "lifted_at": " ".join(map(str, self._lifted_at)),
        }

    def _choose(self, scene: SceneState) -> CartesianAction:
        if self._lift_watch.taken_up(scene):
            self._lifted_at.append(self._seen)
            if self._stop_after_lift:
                return CartesianAction(terminate=True)
        if self._left == 0:
            self._perhaps_disturb(scene)
        if self._left > 0:
            self._left -= 1
            self._disturbed[self._kind] += 1
            # Who acts in error or at random does not stop there.
            return replace(self._disturbance(scene), terminate=False)
        action = self._task.act(self._flaw.see(scene))
        if action.terminate or self._noise == 0:
            return action
        return self._jitter(self._flaw.do(action, self._gripper), JITTER * self._noise)

    def _perhaps_disturb(self, scene: SceneState) -> None:
        """Begin a disturbance with such a chance that `noise` is the share of disturbed steps."""
        kinds = [kind for kind in SPELLS if kind != "wrong_object" or len(movable(scene)) > 1]
        spells = [SPELLS[kind] for kind in kinds]
        weights = np.array([s.knowing + self._noise * (s.random - s.knowing) for s in spells])
        weights /= weights.sum()
        steps = float(weights @ [s.steps for s in spells])
        if self._rng.random() < self._noise / (self._noise + steps * (1 - self._noise)):
            self._kind = kinds[self._rng.choice(len(kinds), p=weights)]
            self._left = int(self._rng.geometric(1 / SPELLS[self._kind].steps))
            self._disturbance = getattr(self, "_" + self._kind)(scene)

    # -- disturbances: each returns how it acts while it lasts ------------------------------------------------------

    def _wander(self, _scene) -> Behaviour:
        """Some direction, kept roughly."""
        direction = self._rng.uniform(-1, 1, 4) * layout.STEP

        def act(_scene):
            gripper = self._other() if self._rng.random() < TOGGLE else Gripper.HOLD
            x, y, z, turn = direction
            return self._jitter(CartesianAction((x, y, z), turn, gripper), 0.2)

        return act

    def _detour(self, scene: SceneState) -> Behaviour:
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

    def _pause(self, _scene) -> Behaviour:
        """Undecided: stand still."""
        return lambda _scene: CartesianAction()

    def _fumble(self, _scene) -> Behaviour:
        """Grip before it is there, or drop what is held, so that it has to be picked up again."""
        gripper = self._other()
        return lambda _scene: self._jitter(CartesianAction(gripper=gripper), 0.2)

    def _grip_late(self, _scene) -> Behaviour:
        """Go on with the arm but forget the gripper: leave without the object, or carry it past its place."""
        gripper = self._gripper
        return lambda scene: replace(self._task.act(scene), gripper=gripper)

    def _wrong_object(self, scene: SceneState) -> Behaviour:
        """Take another object for the wanted one."""
        indices = movable(scene)
        wanted = self._rng.choice([i for i in indices if scene.objects[i].goal is not None] or indices)
        other = self._rng.choice([i for i in indices if i != wanted])

        def act(scene):
            objects = list(scene.objects)
            objects[wanted] = replace(scene.objects[wanted], pose=scene.objects[other].pose)
            objects[other] = replace(scene.objects[other], pose=scene.objects[wanted].pose)
            return self._task.act(replace(scene, objects=tuple(objects)))

        return act

    def _wrong_goal(self, _scene) -> Behaviour:
        """Head for another place than the goal."""
        shift = np.array([*self._rng.uniform(-0.15, 0.15, 2), 0.0])

        def act(scene):
            objects = tuple(replace(o, goal=o.goal and moved(o.goal, shift)) for o in scene.objects)
            goal = moved(scene.end_effector_goal, shift)
            return self._task.act(replace(scene, objects=objects, end_effector_goal=goal))

        return act

    def _other(self) -> Gripper:
        return Gripper.OPEN if self._gripper == Gripper.CLOSE else Gripper.CLOSE

    def _jitter(self, action: CartesianAction, deviation: float) -> CartesianAction:
        """Gaussian noise on the step, in units of the largest; stays within the action space."""
        return changed(action, self._rng.normal(0, deviation, 4) * layout.STEP)


def movable(scene: SceneState) -> list[int]:
    """Which objects of the scene are not fixed to the table."""
    return [i for i, thing in enumerate(scene.objects) if find_model(thing.name).mass_kg > 0]

"""Where the failed trials of a policy are lost: the motion, the search, Q, or Q and cloning alike; a table by cause.

    python benchmarks/failures.py seven_tasks --task pick_place,stacking,fixture_placing --json runs/failures.json

Each trial is looked at in two ways. How it ended, by the simulator's state:

    not taken up    the object never left the table
    in the hand     the fingers hold it at the end
    beside          it lies beside its place: up to 3 cm further away than the task allows
    elsewhere       it was taken up and lies somewhere else
    near miss       nothing of this: the task judges something that the object's place does not say

Why, at the decisive step of a failed trial: the first where the policy chose something else than the expert would have
there (to close, to open, to end), or, without one, the step whose displacement is furthest from the expert's.

    motion    the policy did what the expert would do at every step; or it held the object, and lost it while it kept
              the fingers closed
    search    Q of the expert's action is higher than that of the chosen one: the search did not find what Q says
    q         Q prefers what was chosen, and the cloning head proposes what the expert would do: Q is wrong there
    both      Q prefers what was chosen, and the cloning head is wrong, too: what both see, or too few data of such
              moments; a network without such a head has this in place of `q`

A linear probe of the encoding was tried first: it is 4 to 9 cm off about the place of an object that the same network
grasps, so it says nothing of what the network sees.
"""

import argparse
import json
import math
import sys
from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from output import output_file
from q_errors import Judge, Step

from am_ros.action import CONTINUOUS_DIM, TERMINATE
from am_ros.evaluation.actors import ActorConfig, PolicyActor
from am_ros.evaluation.statistics import wilson_interval
from am_ros.sim.camera import CameraConfig
from am_ros.sim.environment import Environment, Observation
from am_ros.sim.lifts import LiftWatch
from am_ros.sim.scene import ObjectState, SceneState
from am_ros.sim.tasks import find_task
from am_ros.sim.tasks.manipulation import is_held
from am_ros.sim.workcell import SimConfig

FATES = ("not taken up", "in the hand", "beside", "elsewhere", "near miss")
CAUSES = ("motion", "search", "q", "both")
BESIDE_M = 0.03


@dataclass(frozen=True)
class Moment:
    """One decision: what was the case, what was chosen beside the expert's, and whether the head proposes that one."""

    scene: SceneState
    step: Step
    head_agrees: bool


@dataclass(frozen=True)
class Walk:
    """A trial, with the scene that it left behind."""

    reached: bool
    thing: str  # the wanted object that is furthest from its goal at the start
    moments: list[Moment]
    last: SceneState


def find(scene: SceneState, name: str) -> ObjectState:
    """The object of that name."""
    return next(o for o in scene.objects if o.name == name)


def off_m(thing: ObjectState) -> float:
    """How far an object is from its goal [m]."""
    return math.dist(thing.pose.position_m, thing.wanted.position_m)


def to_be_moved(scene: SceneState) -> str:
    """The wanted object that is furthest from its goal."""
    return max((o for o in scene.objects if o.goal is not None), key=off_m).name


def fate(walk: Walk) -> str:
    """How a failed trial ended, one of FATES."""
    watch, scenes = LiftWatch(), [*(m.scene for m in walk.moments), walk.last]
    taken_up = sum(watch.taken_up(scene) for scene in scenes) > 0  # the watch has to see every scene
    thing = find(walk.last, walk.thing)
    if is_held(walk.last, thing):
        return "in the hand"
    beyond = off_m(thing) - find_task(walk.last.task).tolerance_m
    if beyond <= BESIDE_M:
        return "beside" if beyond > 0 else "near miss"
    return "elsewhere" if taken_up else "not taken up"


def lost_in_motion(walk: Walk) -> bool:
    """Whether the object was in the closed fingers, was to stay there, and is no longer."""
    scenes = [*(m.scene for m in walk.moments), walk.last]
    return any(
        is_held(now, find(now, walk.thing))
        and not is_held(then, find(then, walk.thing))
        and then.gripper_opening < 0.9
        and moment.step.same_choice
        for now, then, moment in zip(scenes, scenes[1:], walk.moments, strict=False)
    )


def decisive(moments: list[Moment]) -> Moment | None:
    """The step at which a failed trial went another way than the expert; None if it never did."""
    other = next((m for m in moments if not m.step.same_choice), None)
    if other is not None:
        return other
    return max((m for m in moments if m.step.kind != "agrees"), key=lambda m: m.step.distance, default=None)


class Witness(Judge):
    """A judge of decisions that also asks the cloning head."""

    def walk(self, scene: int) -> Walk:
        """A whole trial."""
        moments = []
        for chosen, expert, seen, goal_image in self.decisions(scene):
            step = self.compare(chosen, expert, seen, goal_image)
            moments.append(Moment(self.environment.scene(), step, self.head_agrees(expert, seen, goal_image)))
        thing = to_be_moved(moments[0].scene)
        return Walk(self.environment.outcome().reached, thing, moments, self.environment.scene())

    @torch.no_grad()
    def head_agrees(self, expert: np.ndarray, seen: Observation, goal_image: np.ndarray) -> bool:
        """Whether the cloning head proposes the expert's action [D + 3]."""
        prior = self.actor.policy.network.prior(self.encoding(seen, goal_image))
        if prior is None:
            return False
        choice = int(prior.logits[0].argmax())
        away = float(np.linalg.norm(prior.mean[0].float().numpy() - expert[:CONTINUOUS_DIM]))
        return choice == int(expert[CONTINUOUS_DIM:].argmax()) and (expert[TERMINATE] > 0.5 or away < self.near)


def cause(walk: Walk) -> str:
    """Why a failed trial failed, one of CAUSES."""
    moment = decisive(walk.moments)
    if moment is None or lost_in_motion(walk):
        return "motion"
    if moment.step.kind == "search":
        return "search"
    return "q" if moment.head_agrees else "both"


def figures(walks: list[Walk]) -> dict:
    """Counts by fate and by cause."""
    failed = [walk for walk in walks if not walk.reached]
    low, high = wilson_interval(len(walks) - len(failed), len(walks))
    fates, causes = Counter(map(fate, failed)), Counter(map(cause, failed))
    both = Counter(f"{fate(walk)}: {cause(walk)}" for walk in failed)
    return {
        "trials": len(walks), "successes": len(walks) - len(failed), "ci95": [low, high],
        "fates": {name: fates[name] for name in FATES}, "causes": {name: causes[name] for name in CAUSES},
        "fates_and_causes": dict(both.most_common()),
    }  # fmt: skip


def line(task: str, answer: dict) -> str:
    """The table's line of a task."""
    failed = max(1, answer["trials"] - answer["successes"])
    parts = [f"{answer[kind][name]} ({answer[kind][name] / failed:.0%})" for kind, names in
             (("fates", FATES), ("causes", CAUSES)) for name in names]  # fmt: skip
    return f"| {task} | {answer['trials'] - answer['successes']} of {answer['trials']} | {' | '.join(parts)} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--task", default="pick_place")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=20_000, help="the first scene")
    parser.add_argument("--near", type=float, default=0.3, help="displacements that count as the same [normalised]")
    parser.add_argument("--variety", type=float, default=0.0)
    parser.add_argument("--json", type=output_file)
    a = parser.parse_args()
    actor = PolicyActor(ActorConfig(a.checkpoint))
    config = SimConfig(variety=a.variety, camera=CameraConfig(image_size=actor.image_size))
    answer: dict = {"checkpoint": a.checkpoint, "first_scene": a.seed, "tasks": {}}
    print(f"| task | failed | {' | '.join((*FATES, *CAUSES))} |\n|{'---|' * (2 + len(FATES) + len(CAUSES))}")
    for task in a.task.split(","):
        with Environment(find_task(task), config) as environment:
            witness = Witness(actor, environment, a.near)
            walks = [witness.walk(scene) for scene in range(a.seed, a.seed + a.trials)]
        answer["tasks"][task] = figures(walks)
        print(line(task, answer["tasks"][task]), flush=True)
        if a.json:
            a.json.write_text(json.dumps(answer, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

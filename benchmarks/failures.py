"""Where the failed trials of a policy are lost: seeing, Q, the search, or the motion; a table by cause.

    python benchmarks/failures.py seven_tasks --task pick_place,stacking,fixture_placing --json runs/failures.json

Each trial is looked at in two ways. How it ended, by the simulator's state:

    not taken up    the object never left the table
    in the hand     the fingers hold it at the end
    beside          it lies beside its place: up to 3 cm further away than the task allows
    elsewhere       it was taken up and lies somewhere else
    near miss       nothing of this: the task judges something that the object's place does not say

Why, at the decisive step of a failed trial: the first where the policy chose something else than the expert would have
there (to close, to open, to end), or, without one, the step whose displacement is furthest from the expert's.

    seeing    a linear probe of what the network sees is wrong about the object, or its place, by more than `--room`
    search    it sees well, and Q of the expert's action is higher: the search did not find what Q says
    q         it sees well, and Q prefers what was chosen: Q is wrong, or there was another way
    motion    the policy did what the expert would do at every step; or it held the object, and lost it while it kept
              the fingers closed

The probe (ridge regression) is fitted on episodes of the scripted expert with noise, on scenes of its own. It says what
can be read from the encoding by one matrix; a network may know more. So its error in trials that reached the goal is
printed beside the error in those that failed: where both are alike, seeing is not what is missing.
"""

import argparse
import json
import math
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from q_errors import Judge, Step

from am_ros.evaluation.actors import ActorConfig, PolicyActor
from am_ros.evaluation.statistics import wilson_interval
from am_ros.evaluation.trials import reset_trial
from am_ros.learning.policy import Policy
from am_ros.sim.camera import CameraConfig
from am_ros.sim.environment import Environment
from am_ros.sim.episodes import fixed_noise, perform
from am_ros.sim.lifts import LiftWatch
from am_ros.sim.scene import ObjectState, SceneState
from am_ros.sim.tasks import evaluation_seed, find_task
from am_ros.sim.tasks.manipulation import is_held
from am_ros.sim.workcell import SimConfig

FATES = ("not taken up", "in the hand", "beside", "elsewhere", "near miss")
CAUSES = ("seeing", "search", "q", "motion")
BESIDE_M = 0.03
PROBE_SCENE = 500_000  # scenes of the evaluation set that no figure is measured on
PROBE_NOISE = 0.5
RIDGE = 1e-2  # of the mean squared feature
HELD_OUT = 4  # every fourth episode of the probe's


@dataclass(frozen=True)
class Moment:
    """One decision: what was the case, what was chosen beside the expert's, and what the network saw."""

    scene: SceneState
    step: Step
    seen: np.ndarray  # float32 [F]


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


class Probe:
    """Where the object and its goal are, read from an encoding by one matrix."""

    def __init__(self, features: np.ndarray, places: np.ndarray):
        """From features [N, F] and places [N, 4]: x, y of the object and of its goal [m]."""
        self.mean, self.scale = features.mean(0), features.std(0) + 1e-6
        x = np.c_[(features - self.mean) / self.scale, np.ones(len(features))]
        gram = x.T @ x
        self.weights = np.linalg.solve(gram + RIDGE * len(x) * np.eye(len(gram)), x.T @ places)

    def errors_m(self, features: np.ndarray, places: np.ndarray) -> np.ndarray:
        """How far off it is, [N, 2]: of the object, and of its goal [m]."""
        x = np.c_[(features - self.mean) / self.scale, np.ones(len(features))]
        off = (x @ self.weights - places).reshape(-1, 2, 2)
        return np.linalg.norm(off, axis=2)


def places(scene: SceneState, name: str) -> np.ndarray:
    """x, y of an object and of its goal, [4]."""
    thing = find(scene, name)
    return np.array([*thing.pose.position_m[:2], *thing.wanted.position_m[:2]])


@torch.no_grad()
def encoding(policy: Policy, *inputs: np.ndarray) -> np.ndarray:
    """What the network sees of batches of observations, goals and states, all of its encoders, float32 [N, F]."""
    parts = policy.network.encode(*(torch.from_numpy(np.ascontiguousarray(x)) for x in inputs))
    parts = (parts,) if isinstance(parts, torch.Tensor) else parts
    return torch.cat([part.float().flatten(1) for part in parts], dim=1).numpy()


class Seer(Judge):
    """A judge of decisions that also keeps what the network saw."""

    def walk(self, scene: int) -> Walk:
        """A whole trial."""
        environment, task = self.environment, self.environment.task
        seen, goal_image = reset_trial(environment, scene)
        self.actor.begin(task, scene)
        first, moments = environment.scene(), []
        while len(moments) < task.max_steps:
            now = environment.scene()
            decision = self.actor.decide(seen, goal_image, environment)
            space, opening = self.actor.policy.action_space, float(now.gripper_opening)
            chosen, expert = (space.to_vector(a, opening) for a in (decision.action, task.act(now)))
            inputs = [x[None] for x in self.actor.inputs(seen, goal_image, environment)]
            step = self.compare(chosen, expert, seen, goal_image)
            moments.append(Moment(now, step, encoding(self.actor.policy, *inputs)[0]))
            position = seen.state[[2, 3, 1]]
            seen = environment.step(environment.limits.keep_inside(position, decision.action))
            if decision.action.terminate:
                break
        return Walk(environment.outcome().reached, to_be_moved(first), moments, environment.scene())

    def probe(self, episodes: int) -> tuple[Probe, np.ndarray]:
        """The probe, and its errors [N, 2] on episodes that it was not fitted on [m]."""
        environment, parts = self.environment, []
        for scene in range(PROBE_SCENE, PROBE_SCENE + episodes):
            _, goal_image = reset_trial(environment, scene)
            done = perform(environment, evaluation_seed(scene), fixed_noise(PROBE_NOISE))
            name = to_be_moved(done.scenes[0])
            images = np.stack([o.image for o in done.observations])
            states = np.stack([o.state for o in done.observations])
            seen = encoding(self.actor.policy, images, np.repeat(goal_image[None], len(images), 0), states)
            parts.append((seen, np.stack([places(s, name) for s in done.scenes])))
        fitted = [p for i, p in enumerate(parts) if i % HELD_OUT]
        held = parts[::HELD_OUT]
        probe = Probe(*(np.concatenate(x) for x in zip(*fitted, strict=True)))
        return probe, probe.errors_m(*(np.concatenate(x) for x in zip(*held, strict=True)))


def cause(walk: Walk, probe: Probe, room_m: float) -> str:
    """Why a failed trial failed, one of CAUSES."""
    moment = decisive(walk.moments)
    if moment is None or lost_in_motion(walk):
        return "motion"
    if errors(walk, moment, probe).max() > room_m:
        return "seeing"
    return "q" if moment.step.kind == "agrees" else moment.step.kind


def errors(walk: Walk, moment: Moment, probe: Probe) -> np.ndarray:
    """The probe's errors at a step, [2]: of the object, and of its goal [m]."""
    return probe.errors_m(moment.seen[None], places(moment.scene, walk.thing)[None])[0]


def figures(walks: list[Walk], probe: Probe, room_m: float) -> dict:
    """Counts by fate and cause, and what the probe says in failed and in reached trials."""
    failed, reached = ([w for w in walks if w.reached == kind] for kind in (False, True))
    low, high = wilson_interval(len(reached), len(walks))
    fates, causes = Counter(map(fate, failed)), Counter(cause(w, probe, room_m) for w in failed)
    both = Counter(f"{fate(w)}: {cause(w, probe, room_m)}" for w in failed)
    return {
        "trials": len(walks), "successes": len(reached), "ci95": [low, high],
        "fates": {name: fates[name] for name in FATES}, "causes": {name: causes[name] for name in CAUSES},
        "fates_and_causes": dict(both.most_common()),
        "probe_cm": {
            name: [round(100 * float(np.median(x)), 2) for x in np.stack(seen).T] if seen else None
            for name, seen in (
                ("failed", [errors(w, m, probe) for w in failed for m in w.moments]),
                ("reached", [errors(w, m, probe) for w in reached for m in w.moments]),
            )
        },
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
    parser.add_argument("--probe-episodes", type=int, default=200)
    parser.add_argument("--room", type=float, default=0.012, help="an error of seeing that a grasp survives [m]")
    parser.add_argument("--near", type=float, default=0.3, help="displacements that count as the same [normalised]")
    parser.add_argument("--variety", type=float, default=0.0)
    parser.add_argument("--json", type=Path)
    a = parser.parse_args()
    actor = PolicyActor(ActorConfig(a.checkpoint))
    config = SimConfig(variety=a.variety, camera=CameraConfig(image_size=actor.image_size))
    answer: dict = {"checkpoint": a.checkpoint, "room_m": a.room, "first_scene": a.seed, "tasks": {}}
    print(f"| task | failed | {' | '.join((*FATES, *CAUSES))} |\n|{'---|' * (2 + len(FATES) + len(CAUSES))}")
    for task in a.task.split(","):
        with Environment(find_task(task), config) as environment:
            seer = Seer(actor, environment, a.near)
            probe, held_out = seer.probe(a.probe_episodes)
            walks = [seer.walk(scene) for scene in range(a.seed, a.seed + a.trials)]
        answer["tasks"][task] = figures(walks, probe, a.room)
        answer["tasks"][task]["probe_cm"]["held_out"] = [round(100 * float(x), 2) for x in np.median(held_out, 0)]
        print(line(task, answer["tasks"][task]), flush=True)
        if a.json:
            a.json.write_text(json.dumps(answer, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

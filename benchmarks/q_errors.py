"""Where a policy loses: what it chose against what the expert would do there, by Q, step by step.

    python benchmarks/q_errors.py runs/mine/checkpoint --task fixture_placing --trials 60 --json docs/data/q_errors.json

At every step of a trial the scripted expert is asked, too, and Q of three actions is compared: the chosen one, the
expert's, and the best of 10 000 candidates (actions of the data, drawn at random, and around the expert's).

    agrees   the chosen action is the expert's: the same choice, displacements within `--near`
    search   it is another one, and Q of the expert's is higher: the search did not find what Q says
    q        it is another one, and Q prefers it: Q is wrong, or there is another way
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from output import output_file

from am_ros.action import CONTINUOUS_DIM, TERMINATE
from am_ros.evaluation.actors import ActorConfig, PolicyActor, searching
from am_ros.evaluation.statistics import wilson_interval
from am_ros.evaluation.trials import reset_trial
from am_ros.learning.cem import sample_actions, uniform_actions
from am_ros.learning.types import Encoding
from am_ros.sim.camera import CameraConfig
from am_ros.sim.environment import Environment, Observation
from am_ros.sim.tasks import find_task
from am_ros.sim.workcell import SimConfig

CANDIDATES, AROUND_STD = 10_000, 0.1
MARGIN = 0.005  # of Q: less is no difference
KINDS = ("agrees", "search", "q")


@dataclass(frozen=True)
class Step:
    """One decision beside the expert's."""

    kind: str
    q_chosen: float
    q_expert: float
    q_best: float
    distance: float  # of the displacements [normalised]
    same_choice: bool
    expert_ends: bool


class Judge:
    """Compares the decisions of a policy with the expert's, trial by trial."""

    def __init__(self, actor: PolicyActor, environment: Environment, near: float):
        self.actor, self.environment, self.near = actor, environment, near
        self.generator = torch.Generator().manual_seed(0)

    def trial(self, scene: int) -> tuple[bool, list[Step]]:
        """Whether the goal was reached, and all steps."""
        steps = [self.compare(*one) for one in self.decisions(scene)]
        return self.environment.outcome().reached, steps

    def decisions(self, scene: int) -> Iterator[tuple[np.ndarray, np.ndarray, Observation, np.ndarray]]:
        """A trial, step by step before it is executed: the chosen action and the expert's, what was seen, the goal."""
        environment, task = self.environment, self.environment.task
        seen, goal_image = reset_trial(environment, scene)
        self.actor.begin(task, scene)
        for _ in range(task.max_steps):
            decision = self.actor.decide(seen, goal_image, environment)
            space, now = self.actor.policy.action_space, environment.scene()
            chosen, expert = (
                space.to_vector(action, float(now.gripper_opening)) for action in (decision.action, task.act(now))
            )
            yield chosen, expert, seen, goal_image
            position = seen.state[[2, 3, 1]]
            seen = environment.step(environment.limits.keep_inside(position, decision.action))
            if decision.action.terminate:
                break

    @torch.no_grad()
    def encoding(self, seen: Observation, goal_image: np.ndarray) -> Encoding:
        """What the network makes of a step, a batch of one."""
        inputs = self.actor.inputs(seen, goal_image, self.environment)
        return self.actor.policy.network.encode(*(torch.from_numpy(np.ascontiguousarray(x))[None] for x in inputs))

    @torch.no_grad()
    def compare(self, chosen: np.ndarray, expert: np.ndarray, seen: Observation, goal_image: np.ndarray) -> Step:
        """The step with Q of all three."""
        policy, encoding = self.actor.policy, self.encoding(seen, goal_image)
        pair = torch.from_numpy(np.stack([chosen, expert]))
        logits = policy.network.score(encoding, torch.cat([pair, self.candidates(pair[1])])[None])[0]
        q = logits.float().sigmoid().numpy()
        distance = float(np.linalg.norm((chosen - expert)[:CONTINUOUS_DIM]))
        same = bool(np.array_equal(chosen[CONTINUOUS_DIM:], expert[CONTINUOUS_DIM:]))
        agrees = same and distance < self.near
        kind = "agrees" if agrees else "search" if q[1] > q[0] + MARGIN else "q"
        return Step(kind, *map(float, (q[0], q[1], q.max())), distance, same, bool(expert[TERMINATE] > 0.5))

    def candidates(self, expert: torch.Tensor) -> torch.Tensor:
        """Actions [N, D + 3] among which the best one is looked for."""
        parts = [uniform_actions(1, CANDIDATES // 2, generator=self.generator)[0]]
        std = torch.full((1, CONTINUOUS_DIM), AROUND_STD)
        choice = 0.7 * expert[None, CONTINUOUS_DIM:] + 0.1
        centre = expert[None, :CONTINUOUS_DIM]
        parts.append(sample_actions(centre, std, choice, CANDIDATES // 2, self.generator)[0])
        if self.actor.policy.data_actions is not None:
            parts.append(self.actor.policy.data_actions)
        return torch.cat(parts)


def figures(trials: list[tuple[bool, list[Step]]]) -> dict:
    """Shares of the kinds and means of Q, for all trials, those that failed and those that did not."""
    answer = {}
    for name, wanted in (("all", (True, False)), ("failed", (False,)), ("reached", (True,))):
        steps = [step for reached, steps in trials if reached in wanted for step in steps]
        count = Counter(step.kind for step in steps)
        disagree = [step for step in steps if step.kind != "agrees"]
        answer[name] = {
            "trials": sum(reached in wanted for reached, _ in trials),
            "steps": len(steps),
            "shares": {kind: count[kind] / max(1, len(steps)) for kind in KINDS},
            "of_disagreeing": {
                "another_choice": float(np.mean([not s.same_choice for s in disagree] or [0])),
                "expert_ends": float(np.mean([s.expert_ends for s in disagree] or [0])),
                "median_distance": float(np.median([s.distance for s in disagree] or [0])),
            },
            "mean_q": {
                key.removeprefix("q_"): float(np.mean([getattr(s, key) for s in steps] or [0]))
                for key in ("q_chosen", "q_expert", "q_best")
            },
        }
    return answer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--task", default="pick_place")
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--first-scene", type=int, default=20_000)
    parser.add_argument("--near", type=float, default=0.3, help="displacements that count as the same [normalised]")
    parser.add_argument("--q-alone", action="store_true", help="act by Q alone, whatever the checkpoint asks for")
    parser.add_argument("--json", type=output_file)
    a = parser.parse_args()
    search = searching(objective="q", prior_weight=0.0, prior_share=0.0) if a.q_alone else ()
    actor = PolicyActor(ActorConfig(a.checkpoint, search=search))
    config = SimConfig(variety=0.0, camera=CameraConfig(image_size=actor.image_size))
    with Environment(find_task(a.task), config, sees=actor.sees) as environment:
        judge = Judge(actor, environment, a.near)
        trials = [judge.trial(scene) for scene in range(a.first_scene, a.first_scene + a.trials)]
    successes = sum(reached for reached, _ in trials)
    low, high = wilson_interval(successes, len(trials))
    answer = {"checkpoint": a.checkpoint, "task": a.task, "q_alone": a.q_alone, "trials": len(trials),
              "successes": successes, "ci95": [low, high], **figures(trials)}  # fmt: skip
    print(json.dumps(answer, indent=2))
    if a.json:
        a.json.write_text(json.dumps(answer, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

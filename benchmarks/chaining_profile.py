"""Why a policy of cut episodes crosses the cut or not: Q along whole episodes of the expert, and the goals it learns.

    python benchmarks/chaining_profile.py runs/chaining/chaining_12000/0 --task fixture_placing --store runs/fx_parts

For each step before and after the lift: Q of what the expert does, Q of the best action that the policy's search finds,
how far the two are apart (normalised), how often their gripper commands agree. Where the search's Q is well above the
expert's, Q is optimistic about actions that nobody tried. With `--store`: how far from the scene's fixture that of a
random goal is, as drawn and as skewed to high Q (`goal_candidates`, section 4.2 of the paper).
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from vector_study import FixtureInPlace  # noqa: F401, registers the task

from am_ros.action import CONTINUOUS_DIM
from am_ros.learning.loader import to_tensors
from am_ros.learning.method_config import MethodConfig
from am_ros.learning.methods.actionable_models import skew_goals
from am_ros.learning.policy import Policy
from am_ros.replay.sampling import GoalConfig, Sampler
from am_ros.replay.store import ReplayStore
from am_ros.sim.environment import Environment
from am_ros.sim.episodes import fixed_noise, perform
from am_ros.sim.objects import BLOCK
from am_ros.sim.tasks import evaluation_seed, find_task
from am_ros.sim.vectors import place_of, scene_vector
from am_ros.sim.workcell import SimConfig

FIRST_SCENE = 7000
LIFTED_M = 0.06
NEAR_M, BATCHES = 0.02, 20


def profile(policy: Policy, task: str, episodes: int) -> dict[int, np.ndarray]:
    """Means by step after the lift: Q of the expert's action, Q of the policy's, their distance, same gripper."""
    rows: dict[int, list] = {}
    with Environment(find_task(task), SimConfig(variety=0.0), sees=False) as environment:
        for scene in range(FIRST_SCENE, FIRST_SCENE + episodes):
            done = perform(environment, evaluation_seed(scene), fixed_noise(0.0))
            goal = scene_vector(done.scenes[-1])
            heights = [next(o.pose.position_m[2] for o in s.objects if o.name == BLOCK) for s in done.scenes]
            lift = next((t for t, height in enumerate(heights) if height > LIFTED_M), None)
            if lift is None:
                continue
            for t, action in enumerate(done.actions[:-1]):
                seen, state = scene_vector(done.scenes[t]), done.observations[t].state
                decision = policy.act(seen, goal, state)
                chosen = policy.action_space.to_vector(decision.action, float(state[0]))
                apart = chosen - action
                rows.setdefault(t - lift, []).append((
                    q_of(policy, seen, goal, state, action), decision.q_value, np.linalg.norm(apart[:CONTINUOUS_DIM]),
                    not apart[CONTINUOUS_DIM:].any(),
                ))  # fmt: skip
    return {step: np.mean(rows[step], axis=0) for step in sorted(rows)}


@torch.no_grad()
def q_of(policy: Policy, seen: np.ndarray, goal: np.ndarray, state: np.ndarray, action: np.ndarray) -> float:
    """Q of one action."""
    tensors = (torch.from_numpy(np.asarray(x, np.float32))[None] for x in (seen, goal, state))
    encoding = policy.network.encode(*tensors)
    return policy.network.score(encoding, torch.from_numpy(np.asarray(action, np.float32))[None, None]).sigmoid().item()


@torch.no_grad()
def goals_drawn(policy: Policy, store: ReplayStore, thing: str, config: MethodConfig) -> dict[str, tuple]:
    """Share of random goals whose `thing` is where the scene has it, and the mean Q of those, plain and skewed."""
    sampler, network = Sampler(store, GoalConfig(random_share=0.5), 128, seed=5), policy.network
    found: dict[str, list] = {"plain": [], "skewed": []}
    for step in range(BATCHES):
        batch = to_tensors(sampler.batch(step), torch.device("cpu"))
        skewed = skew_goals(network, batch, config, torch.Generator().manual_seed(step))
        free = batch["steps_to_goal"] < 0
        for name, one in (("plain", batch), ("skewed", skewed)):
            here, there, state = one["image"][free], one["goal_image"][free], one["state"][free]
            near = (here[:, place_of(thing)] - there[:, place_of(thing)]).norm(dim=1) < NEAR_M
            q = network.score(network.encode(here, there, state), one["action"][free].unsqueeze(1)).sigmoid()
            found[name].append(torch.stack([near.float(), q.squeeze(1)], dim=1))
    answer = {}
    for name, parts in found.items():
        near, q = torch.cat(parts).unbind(dim=1)
        answer[name] = near.mean().item(), (q * near).sum().item() / max(1.0, near.sum().item())
    return answer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a training of vector_study.py")
    parser.add_argument("--task", default="fixture_placing")
    parser.add_argument("--episodes", type=int, default=25)
    parser.add_argument("--store", type=Path, help="the data, to look at random goals")
    parser.add_argument("--goal-candidates", type=int, default=120)
    parser.add_argument("--goal-temperature", type=float, default=0.04)
    a = parser.parse_args()
    torch.set_num_threads(1)
    policy = Policy.load(a.run / "checkpoint")
    print("step after the lift | Q of the expert's action | of the policy's | apart | same gripper")
    for step, (expert, best, apart, same) in profile(policy, a.task, a.episodes).items():
        print(f"{step:+19d} | {expert:24.2f} | {best:15.2f} | {apart:5.2f} | {same:12.0%}")
    if a.store:
        config = replace(MethodConfig(), goal_candidates=a.goal_candidates, goal_temperature=a.goal_temperature)
        for name, (share, q) in goals_drawn(policy, ReplayStore.open(a.store), "fixture", config).items():
            print(f"random goals, {name}: fixture within {NEAR_M * 100:.0f} cm in {share:.1%}, of these mean Q {q:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

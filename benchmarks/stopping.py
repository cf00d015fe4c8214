"""What a level of Q of terminating would do, from trials that nothing ends before their last step.

    python benchmarks/stopping.py runs/mine/checkpoint --task pick_place --trials 60 --json docs/data/stopping.json

Of each trial it is known at every step whether the goal is reached there, so that every level is judged by the same
trials: `stop_q` ends a trial at its first step with as high a Q, `stop_sum` where the sum so far is as high; rightly if
the goal is reached there.
"""

import argparse
import json
import sys

import numpy as np
from output import output_file

from am_ros.evaluation.actors import ActorConfig
from am_ros.evaluation.played_walks import WatchedActor
from am_ros.evaluation.statistics import wilson_interval
from am_ros.evaluation.trials import run_trial
from am_ros.learning.checkpoint import load
from am_ros.sim.camera import CameraConfig
from am_ros.sim.environment import Environment
from am_ros.sim.tasks import find_task
from am_ros.sim.workcell import SimConfig

LEVELS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def watched_trial(actor: WatchedActor, environment: Environment, scene: int) -> dict:
    """Q of terminating before each step, whether the goal is reached there, and whether it is at the end."""
    trial = run_trial(environment, actor, scene)
    q, reached = zip(*actor.walk, strict=True)
    return {"task": trial.task, "scene": scene, "q": [round(value, 4) for value in q], "reached": list(reached),
            "success": trial.success}  # fmt: skip


def judged(trials: list[dict], level: float, rule: str) -> dict:
    """What the level would have done; 0: no such rule."""
    right = wrong = missed = success = reached_once = 0
    for trial in trials:
        values = np.cumsum(trial["q"]) if rule == "stop_sum" else trial["q"]
        ends = next((i for i, value in enumerate(values) if level and value >= level), None)
        reached = trial["reached"]
        at_end = trial["success"] if ends is None else reached[ends]
        success += at_end
        right += ends is not None and at_end
        wrong += ends is not None and not at_end
        missed += ends is None and at_end
        reached_once += any(reached) or trial["success"]
    return {"rule": rule, "level": level, "trials": len(trials), "success": success, "reached_once": reached_once,
            "ended_at_goal": right, "ended_wrongly": wrong, "at_goal_not_ended": missed}  # fmt: skip


def line(row: dict) -> str:
    """A level as a line of a table."""
    shares = []
    for done, of in (("success", row["trials"]), ("ended_at_goal", row["success"]), ("ended_wrongly", row["trials"])):
        low, high = wilson_interval(row[done], of)
        shares.append(f"{row[done]} of {of} ({100 * low:.0f} ... {100 * high:.0f} %)")
    return f"| {row['rule']} {row['level']:.3g} | {' | '.join(shares)} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--task", default="pick_place", help="one, or several, separated by commas")
    parser.add_argument("--trials", type=int, default=60, help="per task")
    parser.add_argument("--first-scene", type=int, default=20_000)
    parser.add_argument("--json", type=output_file)
    a = parser.parse_args()
    actor, trials = WatchedActor(ActorConfig(a.checkpoint)), []
    config = SimConfig(variety=0.0, camera=CameraConfig(image_size=actor.image_size))
    for task in a.task.split(","):
        with Environment(find_task(task), config, sees=actor.sees) as environment:
            scenes = range(a.first_scene, a.first_scene + a.trials)
            trials += [watched_trial(actor, environment, scene) for scene in scenes]
    stopping = load(a.checkpoint).meta.get("stopping", {})
    calibrated = {rule: stopping.get(rule, 0.0) for rule in ("stop_q", "stop_sum")}
    rows = [judged(trials, 0.0, "stop_q")]
    for rule, level in calibrated.items():
        rows += [judged(trials, value, rule) for value in sorted({level, *LEVELS} - {0.0})]
    print("| level | success | of them ended by itself | of all ended wrongly |\n|---|---|---|---|")
    print("\n".join(map(line, rows)))
    print("levels of the checkpoint: " + ", ".join(f"{rule} {level:.3f}" for rule, level in calibrated.items()))
    if a.json:
        answer = {"checkpoint": a.checkpoint, "task": a.task, "calibrated": calibrated, "levels": rows}
        a.json.write_text(json.dumps(answer | {"trials": trials}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

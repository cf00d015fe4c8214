"""Figures 8c and 8d of the paper on vectors: how many episodes of its own a policy needs for a task with a reward.

    S=benchmarks/vector_study.py
    python $S collect --task grasp_bottle --episodes 600 --seed 31 --out runs/bottle
    python benchmarks/vector_online.py run runs/bottle --task grasp_bottle --variants qt_opt qt_opt_auxiliary \
        --out runs/online/bottle
    python benchmarks/vector_online.py run runs/bottle --task grasp_bottle --variants qt_opt \
        --start-from runs/pre/q_alone_12000/0/checkpoint --out runs/online/bottle
    python benchmarks/vector_online.py table runs/online/bottle runs/online/banana --json docs/data/online_study.json \
        --picture docs/images/online.png

Every run begins with the first `--given` episodes of the data, because exploration alone never lifts a bottle. Then,
round by round: judge the policy on scenes that nobody learned from, let it play `--episodes` with exploration, learn
`--updates` more from all episodes so far; what `am-ros improve` does with bags. Variants are those of vector_study.py.
"""

import argparse
import json
import shutil
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path

from output import output_file
from vector_study import FIRST_SCENE, first_episodes, variant

from am_ros.errors import AmRosError
from am_ros.evaluation.actors import ActorConfig
from am_ros.evaluation.curves import new_figure, save_figure
from am_ros.evaluation.policy_episodes import Exploration, Explorer, play
from am_ros.evaluation.statistics import summarise
from am_ros.evaluation.trials import TrialPlan, run_trials
from am_ros.learning.trainer import Trainer
from am_ros.replay.store import ReplayStore
from am_ros.sim.collect import SCENES_PER_SEED
from am_ros.sim.environment import Environment
from am_ros.sim.tasks import find_task, train_seed
from am_ros.sim.vectors import performance_rows
from am_ros.sim.workcell import SimConfig
from am_ros.workers import run_jobs

FIRST_SEED = 100  # of the scenes that are played; those of the given episodes are others
ENOUGH = 0.5


@dataclass(frozen=True)
class Online:
    """What all runs of a study share."""

    data: Path
    task: str
    out: Path
    given: int
    first_updates: int
    rounds: int
    episodes: int
    updates: int
    trials: int
    exploration: float
    start_from: Path | None = None


def run_one(name: str, seed: int, study: Online) -> dict:
    """One run; its figures are kept in a file of their own, and what ran already is not run again."""
    folder = study.out / (name.replace(",", "+") + ("_started" if study.start_from else "")) / str(seed)
    result = folder / "result.json"
    sizes = {
        "given": study.given,
        "first_updates": study.first_updates,
        "updates_per_round": study.updates,
        "exploration": study.exploration,
        "trials": study.trials,
    }
    if result.exists():
        answer = json.loads(result.read_text())
        if any(answer.get(name, value) != value for name, value in sizes.items()):
            raise AmRosError(f"{result}: ran with other sizes; choose another --out")
        return answer
    shutil.rmtree(folder, ignore_errors=True)
    config = variant(name, study.first_updates + study.rounds * study.updates, seed)
    config = replace(config, trainer=replace(config.trainer, decay_from=1.0))
    store = first_episodes(ReplayStore.open(study.data), study.given, folder / "replay")
    trainer = Trainer(config, folder, start_from=study.start_from)
    rounds = []
    with Environment(find_task(study.task), SimConfig(variety=0.0), sees=False) as environment:
        for number in range(study.rounds + 1):
            trainer.fit(store, until_update=study.first_updates + number * study.updates)
            policy = folder / "policies" / f"{number:03d}"
            shutil.copytree(trainer.checkpoint_folder, policy)
            rounds.append({"episodes": study.given + number * study.episodes, "success_rate": judge(policy, study)})
            if number < study.rounds:
                first = (FIRST_SEED + seed) * SCENES_PER_SEED + number * study.episodes
                explorer, reached = Explorer(policy, Exploration(exploration=study.exploration)), 0
                for scene in range(first, first + study.episodes):
                    done = play(environment, explorer, train_seed(scene), f"{study.task}_{scene}_{name}_{seed}")
                    store.append_rows(performance_rows(done))
                    reached += environment.outcome().reached
                rounds[-1]["collecting"] = reached / study.episodes
            print(f"{name} {seed}: {rounds[-1]}", flush=True)
    answer = {
        "task": study.task,
        "variant": name + (" from the Actionable Model" if study.start_from else ""),
        "seed": seed,
        **sizes,
        "minutes_of_training": round(trainer.trained_s / 60, 1),
        "rounds": rounds,
    }
    result.write_text(json.dumps(answer) + "\n")
    return answer


def judge(policy: Path, study: Online) -> float:
    """Success rate on the scenes that judge every policy."""
    plan = TrialPlan(ActorConfig(str(policy)), (study.task,), study.trials, FIRST_SCENE, variety=0.0)
    return summarise(list(run_trials([plan])))[study.task]["success_rate"]


def results(folders: list[Path]) -> list[dict]:
    """The figures of every run in the folders."""
    return [json.loads(path.read_text()) for folder in folders for path in sorted(folder.glob("*/*/result.json"))]


def grouped(runs: list[dict]) -> dict[tuple[str, str], list[dict]]:
    """Runs that differ in their seed alone, by (task, variant and the episodes that it began with)."""
    groups: dict[tuple[str, str], list[dict]] = {}
    for run in runs:
        groups.setdefault((run["task"], f"{run['variant']}, {run['given']} given"), []).append(run)
    return groups


def needed(run: dict) -> int | None:
    """Episodes after which a policy first reached half of the goals; None: never."""
    return next((r["episodes"] for r in run["rounds"] if r["success_rate"] >= ENOUGH), None)


def table(runs: list[dict]) -> str:
    """Success along the way, mean over the seeds, and the episodes that each seed needed."""
    columns = sorted({r["episodes"] for run in runs for r in run["rounds"]})
    lines = ["| task | variant | " + " | ".join(map(str, columns)) + f" | to {ENOUGH:.0%}, each seed |"]
    lines.append("|---" * (3 + len(columns)) + "|")
    for (task, name), same in grouped(runs).items():
        cells = []
        for episodes in columns:
            rates = [r["success_rate"] for run in same for r in run["rounds"] if r["episodes"] == episodes]
            cells.append(f"{sum(rates) / len(rates):.0%}" if rates else "")
        each = ", ".join(str(needed(run) or "not reached") for run in same)
        lines.append(f"| {task} | {name} | " + " | ".join(cells) + f" | {each} |")
    return "\n".join(lines)


def draw(runs: list[dict], path: Path) -> None:
    """A panel per task: success over episodes, a line per variant, thin ones per seed."""
    groups = grouped(runs)
    tasks = list(dict.fromkeys(task for task, _ in groups))
    figure, (axes,) = new_figure(1, len(tasks), figsize=(6 * len(tasks), 4.8))
    for task, axis in zip(tasks, axes, strict=True):
        for (_, name), same in ((key, runs) for key, runs in groups.items() if key[0] == task):
            episodes = [r["episodes"] for r in same[0]["rounds"]]
            rates = [[r["success_rate"] for r in run["rounds"]] for run in same]
            (line,) = axis.plot(episodes, [sum(r) / len(r) for r in zip(*rates, strict=True)], marker="o", label=name)
            for one in rates:
                axis.plot(episodes, one, linewidth=0.7, alpha=0.5, color=line.get_color())
        axis.axhline(ENOUGH, color="grey", linestyle=":")
        axis.set(title=task, xlabel="episodes", ylabel="success, judged", ylim=(-0.02, 1.02))
        axis.grid(alpha=0.3)
        axis.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.15))
    save_figure(figure, path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    running = verbs.add_parser("run", help="learn, play, learn ...")
    running.add_argument("data", type=Path)
    running.add_argument("--task", required=True)
    running.add_argument("--variants", nargs="+", default=["qt_opt"])
    running.add_argument("--start-from", type=Path, help="checkpoint whose weights are the first ones")
    running.add_argument("--given", type=int, default=150, help="episodes of the data to begin with")
    running.add_argument("--first-updates", type=int, default=1500)
    running.add_argument("--rounds", type=int, default=8)
    running.add_argument("--episodes", type=int, default=100, help="per round")
    running.add_argument("--updates", type=int, default=500, help="per round")
    running.add_argument("--exploration", type=float, default=Exploration().exploration, help="share of random steps")
    running.add_argument("--trials", type=int, default=50)
    running.add_argument("--seeds", type=int, default=1)
    running.add_argument("--workers", type=int, default=1)
    running.add_argument("--out", type=Path, required=True)
    showing = verbs.add_parser("table", help="all that ran, as a table, and as JSON and a picture")
    showing.add_argument("out", type=Path, nargs="+")
    showing.add_argument("--json", type=output_file)
    showing.add_argument("--picture", type=output_file)
    a = parser.parse_args()
    if a.verb == "table":
        runs = results(a.out)
        print(table(runs))
        if a.json:
            a.json.write_text("[\n" + ",\n".join(json.dumps(run) for run in runs) + "\n]\n")
        if a.picture:
            draw(runs, a.picture)
        return 0
    study = Online(**{field.name: getattr(a, field.name) for field in fields(Online)})
    jobs = [(name, seed, study) for seed in range(a.seeds) for name in a.variants]
    for _ in run_jobs(run_one, jobs, a.workers, "online"):
        print(table(results([a.out])), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

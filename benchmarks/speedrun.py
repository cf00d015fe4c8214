"""How much a CPU minute teaches: success from pictures after N minutes of one core, on fixed data, a line per idea.

    python benchmarks/speedrun.py collect --task pick_place --episodes 1000 --out runs/speed_pick_place
    python benchmarks/speedrun.py run runs/speed_pick_place --task pick_place --cpu-minutes 10 30 --seeds 3 \
        --ideas best best,trainer.batch_size=64 --workers 2 --out runs/speedrun
    python benchmarks/speedrun.py table runs/speedrun --json docs/data/speedrun.json --picture docs/images/speedrun.png

An idea is a recipe and the fields that differ, as in vector_study.py. Each budget is a training of its own, whose
learning rate falls to zero at its end: what counts is where one is after 10 minutes, not on the way to 30. What was
killed goes on where it was, and what ran is not run again. CPU time is that of the training's process, all threads
added; beside other programs a CPU minute does less, so lines are compared that ran on the same machine side by side.
"""

import argparse
import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from output import output_file
from vector_study import changed

from am_ros import configuration
from am_ros.action import ActionSpace
from am_ros.evaluation.actors import ActorConfig
from am_ros.evaluation.curves import new_figure, save_figure
from am_ros.evaluation.statistics import summarise, wilson_interval
from am_ros.evaluation.trials import TrialPlan, run_trials
from am_ros.learning.parallel import train
from am_ros.learning.recipes import find_recipe
from am_ros.learning.trainer import Trainer
from am_ros.learning.trainer_config import LearnerConfig
from am_ros.replay.store import ReplayStore
from am_ros.sim.collect import SCENES_PER_SEED
from am_ros.sim.environment import Environment
from am_ros.sim.episodes import Mixture, play
from am_ros.sim.tasks import find_task, train_seed
from am_ros.sim.workcell import SimConfig
from am_ros.workers import ProgressLine, run_in_order, run_jobs

FIRST_SCENE = 30_000  # of the trials: no study tunes on these
_CHUNK = 20  # episodes per job


def collect(task: str, episodes: int, folder: Path, seed: int, workers: int) -> ReplayStore:
    """Episodes as `am-ros collect --variety 0` plays them, without bags; goes on where it was."""
    if (folder / "store.json").exists():
        store = ReplayStore.open(folder)
    else:
        store = ReplayStore.create(folder, (64, 64))
    first = seed * SCENES_PER_SEED
    starts = range(first + len(store.episodes), first + episodes, _CHUNK)
    jobs = ((task, range(start, min(start + _CHUNK, first + episodes))) for start in starts)
    show = ProgressLine(sys.stderr, "collect", "episodes").show
    for played in run_in_order(_play, jobs, workers, "collect"):
        store.append(played)
        show(len(store.episodes), episodes)
    return store


def _play(task: str, scenes: range) -> list:
    with Environment(find_task(task), SimConfig(variety=0.0)) as environment:
        return [play(environment, train_seed(scene), Mixture()) for scene in scenes]


def idea(name: str, cpu_minutes: float, seed: int) -> LearnerConfig:
    """The configuration of an idea with a budget."""
    recipe, *changes = name.split(",")
    config = find_recipe(recipe)
    trainer = replace(config.trainer, cpu_minutes=cpu_minutes, seed=seed)
    return changed(replace(config, trainer=trainer), changes, name)


@dataclass(frozen=True)
class Track:
    """What all runs of a table share."""

    data: Path
    out: Path
    task: str
    trials: int
    first_scene: int = FIRST_SCENE


def run_one(name: str, cpu_minutes: float, seed: int, track: Track) -> dict:
    """Train and judge an idea with one budget and seed; the figures are kept in a file of their own."""
    folder = track.out / track.task / f"{name.replace(',', '+')}_{cpu_minutes:g}min" / str(seed)
    result = folder / "result.json"
    if result.exists():
        return json.loads(result.read_text())
    config = idea(name, cpu_minutes, seed)
    parts: list[Trainer] = []
    train(config, track.data, folder, ActionSpace(), lambda progress: None, parts.append)
    trainer = parts[-1]
    actor = ActorConfig(str(trainer.checkpoint_folder))
    plan = TrialPlan(actor, (track.task,), track.trials, track.first_scene, variety=0.0)
    summary = summarise(list(run_trials([plan])))[track.task]
    answer = {
        "idea": name,
        "task": track.task,
        "cpu_minutes": cpu_minutes,
        "seed": seed,
        "updates": trainer.update,
        "wall_minutes": round(sum(part.trained_s for part in parts) / 60, 1),
        "trials": track.trials,
        "successes": summary["successes"],
        "ends": summary["ends"],
        "first_scene": track.first_scene,
    }
    result.write_text(json.dumps(answer | {"config": asdict(config)}, indent=2) + "\n")
    return answer


def results(out: Path) -> list[dict]:
    """The figures of every run in the folder."""
    found = [json.loads(path.read_text()) for path in sorted(out.glob("*/*/*/result.json"))]
    return [{name: value for name, value in one.items() if name != "config"} for one in found]


def lines(runs: list[dict]) -> list[dict]:
    """One entry per task, idea and budget, over its seeds: successes of trials and their 95 % interval."""
    groups: dict[tuple, list[dict]] = {}
    for one in runs:
        groups.setdefault((one["task"], one["idea"], one["cpu_minutes"]), []).append(one)
    rows = []
    for (task, name, minutes), same in sorted(groups.items()):
        successes, trials = (sum(one[key] for one in same) for key in ("successes", "trials"))
        low, high = wilson_interval(successes, trials)
        updates = sum(one["updates"] for one in same) / len(same)
        rows.append(
            {"task": task, "idea": name, "cpu_minutes": minutes, "seeds": len(same), "updates": updates,
             "rate": successes / trials, "low": low, "high": high, "trials": trials}
        )  # fmt: skip
    return rows


def table(runs: list[dict]) -> str:
    """The lines as a table of a document."""
    text = ["| task | idea | CPU minutes | updates | seeds | success |", "|---|---|---|---|---|---|"]
    for row in lines(runs):
        share = f"{row['rate']:.0%} ({100 * row['low']:.0f} ... {100 * row['high']:.0f})"
        numbers = f"{row['cpu_minutes']:g} | {row['updates']:.0f} | {row['seeds']}"
        text.append(f"| {row['task']} | `{row['idea']}` | {numbers} | {share} |")
    return "\n".join(text)


def draw(runs: list[dict], path: Path) -> None:
    """Success over CPU minutes: a panel per task, a line per idea with its interval as a band."""
    rows = lines(runs)
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    figure, panels = new_figure(1, len(tasks), figsize=(5 * len(tasks), 4), sharey=True)
    for panel, task in zip(panels[0], tasks, strict=True):
        of_task = [row for row in rows if row["task"] == task]
        for name in dict.fromkeys(row["idea"] for row in of_task):
            line = [row for row in of_task if row["idea"] == name]
            minutes = [row["cpu_minutes"] for row in line]
            panel.plot(minutes, [100 * row["rate"] for row in line], "o-", label=name)
            low, high = ([100 * row[key] for row in line] for key in ("low", "high"))
            panel.fill_between(minutes, low, high, alpha=0.15, linewidth=0)
        panel.set(title=task, xlabel="CPU minutes of one core", xscale="log", ylim=(0, 100))
        panel.legend(fontsize=7)
    panels[0][0].set_ylabel("success [%]")
    save_figure(figure, path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    collecting = verbs.add_parser("collect")
    collecting.add_argument("--task", default="pick_place")
    collecting.add_argument("--episodes", type=int, default=1000)
    collecting.add_argument("--seed", type=int, default=11)
    collecting.add_argument("--workers", type=int, default=1)
    collecting.add_argument("--out", type=Path, required=True)
    running = verbs.add_parser("run")
    running.add_argument("data", type=Path)
    running.add_argument("--task", default="pick_place")
    running.add_argument("--ideas", nargs="+", default=["best"])
    running.add_argument("--cpu-minutes", type=float, nargs="+", default=[10.0, 30.0])
    running.add_argument("--seeds", type=int, default=3)
    running.add_argument("--workers", type=int, default=1)
    running.add_argument("--trials", type=int, default=100)
    running.add_argument("--first-scene", type=int, default=FIRST_SCENE, help="of the trials")
    running.add_argument("--out", type=Path, required=True)
    showing = verbs.add_parser("table")
    showing.add_argument("out", type=Path)
    showing.add_argument("--json", type=output_file, help="write every run's figures to this file")
    showing.add_argument("--picture", type=output_file, help="draw the curve")
    a = parser.parse_args()
    if a.verb == "collect":
        print(json.dumps(collect(a.task, a.episodes, a.out, a.seed, a.workers).summary(), indent=2))
    elif a.verb == "run":
        for name in a.ideas:
            configuration.check(idea(name, a.cpu_minutes[0], 0))  # what cannot be is said before anything runs
        track = Track(a.data, a.out, a.task, a.trials, a.first_scene)
        jobs = [(n, m, s, track) for s in range(a.seeds) for m in sorted(a.cpu_minutes) for n in a.ideas]
        for done in run_jobs(run_one, jobs, a.workers, "speedrun"):
            print({key: value for key, value in done.items() if key != "config"}, flush=True)
        print(table(results(a.out)))
    else:
        print(table(results(a.out)))
        if a.json:
            a.json.write_text("[\n" + ",\n".join(json.dumps(one) for one in results(a.out)) + "\n]\n")
        if a.picture:
            draw(results(a.out), a.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())

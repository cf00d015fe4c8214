"""Success of the noisy demonstrators against their noise, from the expert (0) to random actions (1).

    python benchmarks/noise.py --trials 50 --workers 2 --json docs/data/noise.json --picture docs/images/noise.png

Scenes are those of the evaluation set, the same at every noise.
"""

import argparse
import json
import math
import sys
from functools import lru_cache
from pathlib import Path

from output import output_file

from am_ros.episode import Outcome
from am_ros.evaluation.statistics import wilson_interval
from am_ros.sim.camera import CameraConfig
from am_ros.sim.environment import Environment
from am_ros.sim.episodes import fixed_noise, play
from am_ros.sim.tasks import TASKS, evaluation_seed, find_task
from am_ros.sim.workcell import SimConfig
from am_ros.workers import ProgressLine, run_jobs

LEVELS = [round(0.1 * i, 1) for i in range(11)]
CHUNK = 5  # trials per job
NOT_LOOKED_AT = SimConfig(camera=CameraConfig(image_size=16))  # the demonstrator acts on the truth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="all", choices=("all", *TASKS))
    parser.add_argument("--trials", type=int, default=50, help="per task and noise (default 50)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--json", type=output_file, help="write the figures to this file")
    parser.add_argument("--picture", type=output_file, help="draw them into this PNG")
    arguments = parser.parse_args()
    tasks = list(TASKS) if arguments.task == "all" else [arguments.task]
    table = measure(tasks, arguments.trials, arguments.workers)
    print("task".ljust(18) + "".join(f"{level:>6}" for level in LEVELS))
    for task, successes in table.items():
        print(task.ljust(18) + "".join(f"{count / arguments.trials:>6.0%}" for count in successes))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures(table, arguments.trials), indent=2) + "\n")
    if arguments.picture:
        draw(table, arguments.trials, arguments.picture)


def measure(tasks: list[str], trials: int, workers: int) -> dict[str, list[int]]:
    """Successes per task at each of LEVELS."""
    jobs = [
        (task, level, range(first, min(first + CHUNK, trials)))
        for task in tasks
        for level in range(len(LEVELS))
        for first in range(0, trials, CHUNK)
    ]
    table = {task: [0] * len(LEVELS) for task in tasks}
    progress, total = ProgressLine(sys.stderr, "noise", "trials"), len(tasks) * len(LEVELS) * trials
    done = 0
    for task, level, count, successes in run_jobs(try_scenes, jobs, workers, "noise"):
        table[task][level] += successes
        done += count
        progress.show(done, total)
    return table


def try_scenes(task: str, level: int, scenes: range) -> tuple[str, int, int, int]:
    """Task, level, how many trials, how many reached the goal."""
    mixture = fixed_noise(LEVELS[level])
    episodes = [play(environment(task), evaluation_seed(scene), mixture) for scene in scenes]
    return task, level, len(scenes), sum(e.info.outcome == Outcome.SUCCESS for e in episodes)


@lru_cache(maxsize=1)
def environment(task: str) -> Environment:
    return Environment(find_task(task), NOT_LOOKED_AT)


def figures(table: dict[str, list[int]], trials: int) -> dict:
    """Per task and noise: trials, successes, success_rate, ci95."""
    return {
        task: {
            str(level): {
                "trials": trials,
                "successes": count,
                "success_rate": count / trials,
                "ci95": list(wilson_interval(count, trials)),
            }
            for level, count in zip(LEVELS, successes, strict=True)
        }
        for task, successes in table.items()
    }


def draw(table: dict[str, list[int]], trials: int, path: Path) -> None:
    """One small plot per task, with the 95 % interval."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(4, len(table))
    rows = math.ceil(len(table) / columns)
    figure, axes = pyplot.subplots(
        rows,
        columns,
        figsize=(2.7 * columns, 2.2 * rows),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axis in axes.flat[len(table) :]:
        axis.remove()
    for axis, (task, successes) in zip(axes.flat, table.items(), strict=False):
        low, high = zip(*(wilson_interval(count, trials) for count in successes), strict=True)
        axis.fill_between(LEVELS, low, high, alpha=0.25, linewidth=0)
        axis.plot(LEVELS, [count / trials for count in successes], marker="o", markersize=3)
        axis.set_title(task, fontsize=9)
        axis.tick_params(labelbottom=True, labelsize=7)
        axis.set_ylim(0, 1.02)
        axis.grid(alpha=0.3)
    figure.supxlabel("noise of the demonstrator", fontsize=9)
    figure.supylabel(f"success, {trials} trials", fontsize=9)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()

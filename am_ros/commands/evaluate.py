"""am-ros evaluate: trials of a checkpoint, the expert or random actions on scenes that training never saw."""

import json
import sys
from pathlib import Path

from am_ros.errors import AmRosError
from am_ros.evaluation.pictures import contact_sheet, overview
from am_ros.evaluation.statistics import summarise, table
from am_ros.evaluation.trials import TrialPlan, run_trials
from am_ros.sim.tasks import TASKS


def register(subparsers) -> None:
    """Add the parser."""
    parser = subparsers.add_parser("evaluate", help="trials of a checkpoint, the expert or random actions")
    parser.add_argument("actor", help="a checkpoint folder, or: expert, random")
    parser.add_argument("--task", default="all", choices=("all", *TASKS), help="default: all")
    parser.add_argument("--trials", type=int, default=50, help="per task (default 50)")
    parser.add_argument("--seed", type=int, default=0, help="first scene of the evaluation set (default 0)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--samples", type=int, default=64, help="CEM: candidates per iteration (default 64)")
    parser.add_argument("--iterations", type=int, default=2, help="CEM: refits (default 2)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--pictures", type=Path, help="draw a contact sheet per trial into this folder")
    parser.add_argument("--through-ros", action="store_true", help="run the trials through the nodes")


def run(arguments) -> int:
    """Run, judge, print the table."""
    if arguments.pictures:
        _check_writable(arguments.pictures)
    trials = []
    for task in TASKS if arguments.task == "all" else (arguments.task,):
        plan = TrialPlan(arguments.actor, task, arguments.trials, arguments.seed, arguments.samples,
                         arguments.iterations, keep_frames=arguments.pictures is not None)  # fmt: skip
        for trial in _run(plan, arguments):
            trials.append(trial)
            done = [t for t in trials if t.task == task]
            rate = sum(t.success for t in done) / len(done)
            print(
                f"{task}: {len(done)}/{plan.trials} trials, {rate:.0%} reached", end="\r", file=sys.stderr, flush=True
            )
        print(file=sys.stderr)
    summary = summarise(trials)
    print(table(summary))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(summary, indent=2) + "\n")
    if arguments.pictures:
        for task in summary:
            mine = sorted((t for t in trials if t.task == task), key=lambda t: t.seed)
            overview(mine, arguments.pictures / f"{task}.png")
            for trial in mine:
                contact_sheet(trial, arguments.pictures / task / f"{trial.seed:04d}.png")
        print(f"pictures: {arguments.pictures}")
    return 0


def _run(plan: TrialPlan, arguments):
    if not arguments.through_ros:
        return run_trials(plan, arguments.workers)
    from am_ros.nodes.trials import run_trials_through_ros

    return run_trials_through_ros(plan)


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise AmRosError(f"pictures: {folder} cannot be written ({error.strerror})") from None

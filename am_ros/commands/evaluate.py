"""am-ros evaluate: trials of checkpoints, the expert or random actions on scenes that training never saw."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from am_ros.cell.arguments import DRIVERS, IDEAL
from am_ros.commands.shared_flags import CHECKPOINT_HELP, add_tasks_flag, add_variety_flag, find_tasks
from am_ros.commands.worker_flags import add_worker_flags, workers_of
from am_ros.configuration import add_flags, given_flags
from am_ros.errors import AmRosError
from am_ros.evaluation.actors import ActorConfig, searching
from am_ros.evaluation.curves import curve_rows, find_checkpoints, write_curve
from am_ros.evaluation.drawing import TILE
from am_ros.evaluation.outputs import check_file, check_folder
from am_ros.evaluation.pictures import Album
from am_ros.evaluation.statistics import Trial, summarise, table, with_trial_list
from am_ros.evaluation.trials import TrialPlan, run_trials
from am_ros.learning.cem import CemConfig
from am_ros.learning.planning import PlanConfig
from am_ros.workers import ProgressLine


def register(subparsers) -> None:
    """Add the parser."""
    parser = subparsers.add_parser("evaluate", help="trials of checkpoints, the expert or random actions")
    parser.add_argument("actor", nargs="+", help=f"{CHECKPOINT_HELP}, expert or random; several are compared")
    add_tasks_flag(parser)
    parser.add_argument("--trials", type=int, default=50, help="per task (default 50)")
    parser.add_argument("--seed", type=int, default=0, help="first scene of the evaluation set (default 0)")
    add_worker_flags(parser, "processes, unless --through-ros")
    parser.add_argument("--noise", type=float, default=0.0, help="of the expert: 0 (default) none ... 1 random")
    parser.add_argument("--image-size", type=int, help="pixels; default: the checkpoint's own, or 64")
    add_variety_flag(parser)
    parser.add_argument(
        "--goal-variety", type=float,
        help="record the goal under other light, with other errors of the camera's pose than the trial: 0 the usual "
        "ones ... 1; default: those of the trial",
    )  # fmt: skip
    search = parser.add_argument_group("search of a policy; what is left out is as its checkpoint says")
    add_flags(search, CemConfig, show_defaults=False)
    parser.add_argument(
        "--plan-through",
        metavar="RUN",
        help="reach far goals by way of observations of this run or replay store",
    )
    parser.add_argument(
        "--waypoints", type=int, default=PlanConfig.waypoints, help="so many of them (default %(default)s)"
    )
    parser.add_argument("--json", type=Path, help="write the figures and each trial to this file")
    parser.add_argument("--pictures", type=Path, help="draw contact sheets, overviews and animations into this folder")
    parser.add_argument(
        "--curve", type=Path, nargs="?", const=Path(), metavar="DIR",
        help="all checkpoints that the training in each given run folder kept, as a curve into DIR "
        "(default: the folder `curve` in the first run folder)",
    )  # fmt: skip
    parser.add_argument("--through-ros", action="store_true", help="run the trials through the nodes")
    parser.add_argument(
        "--real-time-factor", type=float, default=3.0, help="speed of the cell with --through-ros (default 3)"
    )
    parser.add_argument(
        "--driver", choices=DRIVERS, default=IDEAL,
        help="with --through-ros: whose driver the simulated arm lags and sags like (default: ideal, neither)",
    )  # fmt: skip


def run(arguments) -> int:
    """Run, judge, print the table."""
    runs = _actors(arguments)
    names = list(runs)
    plans = [_plan(arguments, name) for name in names]
    curve = None
    if arguments.curve is not None:
        curve = arguments.curve if arguments.curve.name else Path(arguments.actor[0]) / "curve"
        check_folder(curve, "curve")
    if arguments.json:
        check_file(arguments.json, "json")
    albums = _albums(arguments.pictures, names)
    trials: list[Trial] = []
    progress, total = ProgressLine(sys.stderr, "evaluate", "trials"), sum(len(plan.scenes) for plan in plans)
    try:
        for trial in _trials(plans, arguments):
            if albums:
                albums[trial.actor].add(trial)
            trials.append(trial)
            progress.show(len(trials), total, f"{sum(t.success for t in trials)} reached")
    except KeyboardInterrupt:
        print(f"\nevaluate: interrupted after {len(trials)} of {total} trials; no figures written", file=sys.stderr)
        raise
    results = {name: _ordered(trials, name, plan.tasks) for name, plan in zip(names, plans, strict=True)}
    summaries = {name: summarise(mine) for name, mine in results.items()}
    for name, summary in summaries.items():
        print(f"{name}\n{table(summary)}" if len(names) > 1 else table(summary))
    if arguments.json:
        listed = {name: with_trial_list(summaries[name], mine) for name, mine in results.items()}
        content = listed if len(names) > 1 else listed[names[0]]
        arguments.json.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    for album in albums.values():
        album.close()
        print(f"pictures: {album.folder}")
    if curve:
        print(f"curve: {write_curve(curve_rows(summaries, runs), curve)}")
    return 0


def _actors(arguments) -> dict[str, str]:
    """Who acts, and the training that each belongs to, by the name of its folder."""
    names = [(name, name) for name in arguments.actor]
    if arguments.curve is not None:
        if {"expert", "random"} & set(arguments.actor):
            raise AmRosError("--curve: takes checkpoints only; evaluate expert and random without it")
        names = [(str(path), folder) for folder in arguments.actor for path in find_checkpoints(folder)]
    actors = {}
    for name, folder in names:
        if name in actors:
            raise AmRosError(f"{name}: is named twice")
        actors[name] = Path(folder).name
    return actors


def _plan(arguments, name: str) -> TrialPlan:
    search = searching(**given_flags(CemConfig, arguments))
    if arguments.plan_through and arguments.through_ros:
        raise AmRosError("--plan-through: needs trials without --through-ros: the policy server does not plan")
    if arguments.ray is not None and arguments.through_ros:
        raise AmRosError("--ray: needs trials without --through-ros: that is one cell")
    if arguments.driver != IDEAL and not arguments.through_ros:
        raise AmRosError("--driver: needs --through-ros")
    if arguments.goal_variety is not None and arguments.through_ros:
        raise AmRosError("--goal-variety: needs trials without --through-ros: that cell has one light only")
    plan = arguments.plan_through or ""
    actor = ActorConfig(name, arguments.noise, arguments.image_size, search, plan, arguments.waypoints)
    tasks = find_tasks(arguments.task)
    return TrialPlan(
        actor, tasks, arguments.trials, arguments.seed, TILE if arguments.pictures else 0, arguments.variety,
        arguments.goal_variety,
    )  # fmt: skip


def _albums(folder: Path | None, names: list[str]) -> dict[str, Album]:
    """One album, or one per actor in folders of their own."""
    if folder is None:
        return {}
    check_folder(folder, "pictures")
    if len(names) == 1:
        return {names[0]: Album(folder)}
    return {name: Album(folder / f"{i:02d}_{Path(name).name}") for i, name in enumerate(names)}


def _trials(plans: list[TrialPlan], arguments) -> Iterator[Trial]:
    if not arguments.through_ros:
        return run_trials(plans, workers_of(arguments))
    from am_ros.ros.trials import run_trials_through_ros

    return run_trials_through_ros(plans, arguments.real_time_factor, arguments.driver)


def _ordered(trials: list[Trial], actor: str, tasks: tuple[str, ...]) -> list[Trial]:
    """They end in any order; figures and lists have one order."""
    return sorted((t for t in trials if t.actor == actor), key=lambda t: (tasks.index(t.task), t.seed))

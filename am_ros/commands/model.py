"""am-ros model: what the networks are and cost; a checkpoint in half its size; when a policy ends by itself."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from am_ros import configuration
from am_ros.commands.shared_flags import CHECKPOINT_HELP, add_tasks_flag, add_variety_flag, find_tasks
from am_ros.commands.worker_flags import add_worker_flags, workers_of
from am_ros.errors import AmRosError
from am_ros.evaluation.actors import ActorConfig
from am_ros.evaluation.outputs import check_file, check_folder
from am_ros.evaluation.played_walks import calibrate_by_trials
from am_ros.evaluation.trials import TrialPlan
from am_ros.learning import checkpoint
from am_ros.learning.cem import CemConfig
from am_ros.learning.describe import describe
from am_ros.learning.networks import NetworkConfig, check_fits
from am_ros.learning.policy import Policy
from am_ros.learning.stopping import WRONG_SHARE, StopRule, calibrate
from am_ros.replay.sampling import GoalConfig
from am_ros.replay.store import ReplayStore
from am_ros.workers import ProgressLine

# What the presets are made for, qt_opt as published; a flag says otherwise.
USUAL: dict[str, dict[str, Any]] = {
    "qt_opt": {"image_size": 472, "behaviour_prior": False},
    "state": {"observation_size": 32},
}


def register(subparsers) -> None:
    """Add the parser with its actions."""
    parser = subparsers.add_parser("model", help="what the networks are and cost; a small copy of a checkpoint")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    describing = actions.add_parser("describe", help="parameters, sizes of the maps, multiply-adds of a decision")
    configuration.add_flags(describing, NetworkConfig)
    describing.add_argument("--samples", type=int, help="candidates per iteration of the search (default 64)")
    describing.add_argument("--iterations", type=int, help="iterations of the search (default 2)")
    describing.add_argument("--json", metavar="FILE", help="write the figures to this file; -: to standard output")
    describing.set_defaults(act=_describe)
    exporting = actions.add_parser("export", help="weights alone, as float16: to act with, and to start from")
    exporting.add_argument("checkpoint", help=CHECKPOINT_HELP)
    exporting.add_argument("out", type=Path, help="folder of the copy; must not be there")
    exporting.add_argument("--int8", action="store_true", help="in a quarter of the bytes, each row with a scale")
    exporting.set_defaults(act=_export)
    calibrating = actions.add_parser("calibrate", help="find from which Q of terminating on a policy ends by itself")
    calibrating.add_argument("checkpoint", help=CHECKPOINT_HELP)
    calibrating.add_argument("replay", type=Path, help="replay store, as a training leaves it in OUT/replay")
    calibrating.add_argument("out", type=Path, help="folder of the copy that has the rule; must not be there")
    calibrating.add_argument(
        "--wrong-share", type=float, default=WRONG_SHARE, help=f"walks ended wrongly (default {WRONG_SHARE})"
    )
    calibrating.set_defaults(act=_calibrate)
    playing = actions.add_parser("calibrate-by-trials", help="the same from trials in the simulated cell")
    playing.add_argument("checkpoint", help=CHECKPOINT_HELP)
    playing.add_argument("out", type=Path, help="folder of the copy that has the rule; must not be there")
    add_tasks_flag(playing)
    playing.add_argument("--trials", type=int, default=50, help="per task (default 50)")
    playing.add_argument("--seed", type=int, default=20_000, help="first scene of the evaluation set (default 20000)")
    add_variety_flag(playing)
    add_worker_flags(playing)
    playing.add_argument(
        "--wrong-share", type=float, default=WRONG_SHARE, help=f"trials ended wrongly (default {WRONG_SHARE})"
    )
    playing.set_defaults(act=_calibrate_by_trials)


def run(arguments) -> int:
    """Do what was asked."""
    return arguments.act(arguments)


def _export(arguments) -> int:
    if arguments.out.exists():
        raise AmRosError(f"out {arguments.out}: is there already")
    check_folder(arguments.out.parent, "out")
    print(f"checkpoint: {checkpoint.export(arguments.checkpoint, arguments.out, arguments.int8)}")
    return 0


def _calibrate(arguments) -> int:
    found = _to_be_calibrated(arguments)
    store, policy = ReplayStore.open(arguments.replay), Policy.load(arguments.checkpoint)
    check_fits(store, policy.network.config)
    goals = configuration.from_dict(GoalConfig, found.meta["config"]["goals"])
    new = store.hash_of_first(found.meta["episodes"]) != found.meta["data_hash"]  # not what it was trained on
    rule = calibrate(policy.network, store, goals, wrong_share=arguments.wrong_share, all_new=new)
    return _with_rule(arguments, found, rule)


def _calibrate_by_trials(arguments) -> int:
    found = _to_be_calibrated(arguments)
    tasks, actor = find_tasks(arguments.task), ActorConfig(arguments.checkpoint)
    plan = TrialPlan(actor, tasks, arguments.trials, arguments.seed, variety=arguments.variety)
    progress = ProgressLine(sys.stderr, "calibrate", "trials")
    rule, others = calibrate_by_trials(plan, arguments.wrong_share, workers_of(arguments), progress.show)
    for share, other in others:
        if other.ended_share:
            print(f"at most {share:.0%} elsewhere: {other}")
    return _with_rule(arguments, found, rule)


def _to_be_calibrated(arguments) -> checkpoint.Checkpoint:
    if arguments.out.exists():
        raise AmRosError(f"out {arguments.out}: is there already")
    check_folder(arguments.out.parent, "out")
    if not 0 <= arguments.wrong_share < 1:
        raise AmRosError(f"parameter wrong_share: {arguments.wrong_share} is outside 0 ... 1")
    return checkpoint.load(arguments.checkpoint)


def _with_rule(arguments, found: checkpoint.Checkpoint, rule: StopRule) -> int:
    checkpoint.save(arguments.out, found.description | {"stopping": asdict(rule)}, found.tensors)
    print(f"{rule}\ncheckpoint: {arguments.out}")
    return 0


def _describe(arguments) -> int:
    usual = NetworkConfig(**USUAL.get(arguments.preset, {}))
    config = configuration.from_flags(NetworkConfig, arguments, usual)
    search = {name: v for name in ("samples", "iterations") if (v := getattr(arguments, name)) is not None}
    if arguments.json not in (None, "-"):
        check_file(arguments.json, "json")
    figures = describe(config, configuration.from_dict(CemConfig, search))
    if arguments.json == "-":
        print(json.dumps(figures, indent=2))
        return 0
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(figures, indent=2) + "\n")
    cost, decision = figures["multiply_adds"], figures["decision"]
    sizes = " / ".join(map(str, figures["sizes"].values())) or "none"
    lines = (
        f"{config.preset}: {figures['parameters']:,} parameters",
        f"behaviour prior: {figures['parameters_behaviour_prior']:,} parameters more",
        f"maps: {sizes}",
        f"multiply-adds: tower {cost['tower_per_state']:,} per state, "
        f"tail {cost['tail_per_candidate']:,} per candidate",
        f"decision over {decision['candidates']} candidates: {decision['multiply_adds']:,} multiply-adds, "
        f"{decision['multiply_adds_without_sharing_the_tower']:,} if the tower ran for each",
    )
    print("\n".join(lines))
    return 0

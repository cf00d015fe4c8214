"""am-ros qmap: draw what a checkpoint's Q wants, over the table, step by step."""

from pathlib import Path

from am_ros.commands.shared_flags import CHECKPOINT_HELP, add_variety_flag
from am_ros.configuration import add_flags, check, from_flags
from am_ros.errors import AmRosError
from am_ros.evaluation.actors import load_policy
from am_ros.evaluation.outputs import check_file
from am_ros.evaluation.q_map import QMapConfig
from am_ros.evaluation.q_map_picture import draw_look, look_inside
from am_ros.sim.tasks import TASKS, evaluation_seed, find_task
from am_ros.sim.workcell import SimConfig

FORMATS = (".png", ".svg", ".pdf")


def register(subparsers) -> None:
    """Add the parser."""
    parser = subparsers.add_parser("qmap", help="draw what a checkpoint's Q wants, over the table, step by step")
    parser.add_argument("checkpoint", help=CHECKPOINT_HELP)
    parser.add_argument("--task", default=next(iter(TASKS)), help=f"one of {', '.join(TASKS)} (default the first)")
    parser.add_argument("--seed", type=int, default=0, help="scene of the evaluation set (default 0)")
    parser.add_argument("--steps", type=int, default=5, help="moments from the start on (default 5)")
    add_variety_flag(parser)
    parser.add_argument("--out", type=Path, required=True, help=f"the picture ({', '.join(FORMATS)})")
    add_flags(parser, QMapConfig, skip=("seed",))


def run(arguments) -> int:
    """Act, map, draw."""
    task = find_task(arguments.task)
    evaluation_seed(arguments.seed)
    if arguments.steps < 1:
        raise AmRosError(f"parameter steps: {arguments.steps} is not a positive number")
    if arguments.out.suffix.lower() not in FORMATS:
        raise AmRosError(f"out {arguments.out}: must end with one of {', '.join(FORMATS)}")
    check(SimConfig(variety=arguments.variety))
    config = from_flags(QMapConfig, arguments, seed=0)
    policy = load_policy(arguments.checkpoint)
    if policy.network.config.preset == "state":
        raise AmRosError(f"{arguments.checkpoint}: was trained on vectors; qmap draws only policies that see images")
    check_file(arguments.out, "out")
    look = look_inside(policy, task, arguments.seed, arguments.steps, config, arguments.variety)
    print(f"picture: {draw_look(look, arguments.out)}")
    return 0

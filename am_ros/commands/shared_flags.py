"""Flags that several verbs have, each described once."""

from am_ros.errors import AmRosError
from am_ros.pretrained import checkpoint_names
from am_ros.sim.tasks import TASKS, find_task
from am_ros.sim.workcell import SimConfig

CHECKPOINT_HELP = f"a checkpoint folder or one that comes with the package ({', '.join(checkpoint_names())})"


def add_tasks_flag(parser) -> None:
    """`--task`, one or several; find_tasks() reads it."""
    parser.add_argument(
        "--task", default="all", help=f"all (default), or one or more, separated by commas, of {', '.join(TASKS)}"
    )


def find_tasks(text: str) -> tuple[str, ...]:
    """The names in `all` or `reach,stacking`; AmRosError if there is no such task or one is named twice."""
    if text == "all":
        return tuple(TASKS)
    names = tuple(find_task(name.strip()).name for name in text.split(","))
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise AmRosError(f"task {twice[0]!r}: is named twice")
    return names


def add_variety_flag(parser) -> None:
    """`--variety`, as SimConfig means it."""
    parser.add_argument(
        "--variety", type=float, default=SimConfig.variety,
        help="how far light, colours and camera pose differ from scene to scene: 0 not at all ... 1 (default)",
    )  # fmt: skip

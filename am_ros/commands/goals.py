"""am-ros goals: look into a goal library and compare a goal with a picture, without ROS; record and compare in a cell.

`record` and `now` ask the goal registry of a running cell.
"""

from pathlib import Path

import numpy as np

from am_ros import configuration
from am_ros.camera.calibration import pinhole
from am_ros.consistency import ConsistencyConfig, Finding, check_view
from am_ros.consistency.picture import draw
from am_ros.errors import AmRosError
from am_ros.goals import GoalLibrary
from am_ros.images import array_from_image, decode, encode_png

# Exit codes of `check`, for scripts; 2 is bad input, as everywhere.
_CODES = {Finding.CONSISTENT: 0, Finding.MOVED: 1, Finding.SCENE_DIFFERS: 1, Finding.UNDECIDED: 3}


def register(subparsers) -> None:
    """Add the verb and its own verbs."""
    parser = subparsers.add_parser("goals", help="record, list, show and check goal images")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    verb = verbs.add_parser("list", help="a table of the goals in a library")
    verb.add_argument("library", type=Path, help="folder of the goal library")
    verb = verbs.add_parser("show", help="all that is known of a goal")
    verb.add_argument("library", type=Path, help="folder of the goal library")
    verb.add_argument("goal", help="its name")
    verb = verbs.add_parser(
        "check", help="does the camera still stand where it stood? exit code 0 consistent, 1 not, 3 undecided"
    )
    verb.add_argument("goal", type=Path, help="the goal's PNG, in a library or anywhere")
    verb.add_argument("now", type=Path, help="a picture (PNG or JPEG) of what the camera sees now")
    verb.add_argument("--fov-deg", type=float, help="horizontal opening angle of the camera (default: of the goal)")
    verb.add_argument("--out", type=Path, help="draw both pictures and what agrees into this PNG")
    configuration.add_flags(verb, ConsistencyConfig)
    verb = verbs.add_parser("record", help="store what the camera of a running cell sees now as a goal")
    verb.add_argument("goal", help="its name: letters, digits, '_' and '-'")
    verb.add_argument("--note", default="", help="a note, kept with it")
    _add_namespace(verb)
    verb = verbs.add_parser("now", help="check a goal against what the camera of a running cell sees now; as check")
    verb.add_argument("goal", help="its name in the cell's registry")
    verb.add_argument("--out", type=Path, help="draw both pictures and what agrees into this PNG")
    _add_namespace(verb)


def _add_namespace(verb) -> None:
    verb.add_argument("--namespace", default="", help="ROS namespace of the cell (default: the root)")


def run(arguments) -> int:
    """Exit code: 0 all well; of `check` and `now` 1 if the goal does not fit today's view, 3 if that cannot be told."""
    verbs = {"list": _list, "show": _show, "check": _check, "record": _record, "now": _now}
    return verbs[arguments.verb](arguments)


def _list(arguments) -> int:
    goals, damaged = _library(arguments.library).list()
    print(f"{'goal':24} {'size':>9} {'view':>9}  {'recorded':24} note")
    for goal in goals:
        view = f"{goal.view_width}x{goal.view_height}" if goal.view_width else "-"
        print(f"{goal.goal_id:24} {f'{goal.width}x{goal.height}':>9} {view:>9}  {goal.created[:19]:24} {goal.note}")
    for sentence in damaged:
        print(f"DAMAGED: {sentence}")
    return 1 if damaged else 0


def _show(arguments) -> int:
    goal, _ = _library(arguments.library).get(arguments.goal)
    for name, value in vars(goal).items():
        print(f"  {name}: {value}")
    return 0


def _check(arguments) -> int:
    config = configuration.from_flags(ConsistencyConfig, arguments)
    goal, now = _picture(arguments.goal), _picture(arguments.now)
    focal_px = _focal_px(arguments, goal)
    found = check_view(goal, now, focal_px, config)
    print(found.sentence)
    if arguments.out:
        _write(arguments.out, draw(goal, now, found))
    return _CODES[found.finding]


def _record(arguments) -> int:
    from am_msgs.srv import RecordGoal

    answer = _ask(arguments, RecordGoal, "record", goal_id=arguments.goal, note=arguments.note)
    print(answer.message)
    return 0


def _now(arguments) -> int:
    from am_msgs.srv import CheckGoal

    answer = _ask(arguments, CheckGoal, "check", goal_id=arguments.goal)
    print(answer.message)
    if arguments.out:
        _write(arguments.out, array_from_image(answer.overlay))
    return _CODES[Finding(answer.finding)]


def _ask(arguments, service, name: str, **request):
    """The registry's answer; raises AmRosError with its sentence where it refuses."""
    from am_ros.ros.commanding.goal_requests import READY_S
    from am_ros.ros.introspection.client import RosClient

    with RosClient("goals", namespace=arguments.namespace) as client:
        answer = client.call(service, f"goal_registry/{name}", ready_s=READY_S, **request)
    if not answer.success:
        raise AmRosError(f"goal_registry/{name}: {answer.message}")
    return answer


def _write(path: Path, rgb: np.ndarray) -> None:
    try:
        path.write_bytes(encode_png(rgb))
    except OSError as error:
        raise AmRosError(f"--out {path}: cannot be written: {error.strerror}") from None
    print(path)


def _focal_px(arguments, goal: np.ndarray) -> float | None:
    """Of the goal image: by the flag, else by its library, else not known."""
    if arguments.fov_deg is not None:
        if not 1 <= arguments.fov_deg <= 170:
            raise AmRosError(f"--fov-deg {arguments.fov_deg}: is outside 1 ... 170")
        return pinhole(goal.shape[1], goal.shape[0], np.radians(arguments.fov_deg)).k[0]
    if not arguments.goal.with_suffix(".json").is_file():
        return None
    return GoalLibrary(arguments.goal.parent).get(arguments.goal.stem)[0].focal_px


def _library(folder: Path) -> GoalLibrary:
    if not folder.is_dir():  # to look into one that is not there would make it
        raise AmRosError(f"goal library {folder}: is not a folder")
    return GoalLibrary(folder)


def _picture(path: Path) -> np.ndarray:
    try:
        return decode(path.read_bytes(), str(path))
    except OSError as error:
        raise AmRosError(f"{path}: cannot be read: {error.strerror}") from None

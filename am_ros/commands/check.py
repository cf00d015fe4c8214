"""am-ros check: look at a cell before anything moves, and say what is wrong with it and how to mend it."""

import argparse
import json
import os
import time
from contextlib import ExitStack
from pathlib import Path

from am_ros.cell.arguments import arguments_from_text
from am_ros.cell.graph import GRAPHS, NodeSpec
from am_ros.cell.security import security_environment
from am_ros.commands.up import describe_arguments, split_settings
from am_ros.errors import AmRosError
from am_ros.preflight.cell import CAMERA, CONTROLLER, Cell
from am_ros.preflight.checks import check_cell, check_configuration
from am_ros.preflight.findings import WRONG, Finding, as_json, summary, worst, wrong
from am_ros.preflight.machine import environment
from am_ros.preflight.settings import known_parameters

CAMERA_START_S = 10.0
LOOK_FIRST_S = 1.5  # for topics of nodes that run already: the graph of another process takes so long at most


def register(subparsers) -> None:
    """Add the parser."""
    parser = subparsers.add_parser(
        "check",
        help="look at a cell before anything moves: topics, rates, stamps, names, limits, disk, checkpoint",
        usage="am-ros check [-h] [--json FILE] [--seconds S] [--wait S] [--running] [--offline] [--alone]\n"
        "                    [workcell | sim | record | train] [workcell.yaml] [key:=value ...]",
        description="Look at a cell and print what is wrong and how to mend it. Nothing is commanded. Exit code 0: "
        "nothing is wrong, 1: something is, 2: bad input. The arguments are those of `am-ros up`.",
        epilog="\n\n".join(describe_arguments(name) for name in GRAPHS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("settings", nargs="*", metavar="key:=value", help="cell, parameter file, arguments of the cell")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings there too")
    parser.add_argument("--seconds", type=float, default=3.0, help="listen so long (3)")
    parser.add_argument("--wait", type=float, default=5.0, help="wait so long for the topics to appear (5)")
    parser.add_argument("--running", action="store_true", help="the camera node runs already: never start it")
    parser.add_argument("--alone", action="store_true", help="only: do nodes of that cell run already?")
    parser.add_argument("--offline", action="store_true", help="only what can be told without any node")


def run(arguments) -> int:
    """Exit code: 0 nothing wrong, 1 something is."""
    if not (0.2 <= arguments.seconds <= 600 and 0 <= arguments.wait <= 600):
        raise AmRosError("check: --seconds must be 0.2 ... 600, --wait 0 ... 600")
    name, specs = read_cell(arguments.settings)
    if arguments.alone:
        from am_ros.ros.introspection.twins import check_alone

        check_alone(spec.full_name for spec in specs)
        return 0
    cell = Cell(tuple(specs))
    findings = _say(check_configuration(cell, environment(), known_parameters()))
    unsafe = [f for f in findings if f.name in ("security", "parameter_value") and f.level == WRONG]
    if not (arguments.offline or unsafe) and cell.spec(CONTROLLER):
        findings += _say(_look(cell, arguments))
    print(summary(findings) + ("; the cell was not looked at" if unsafe else ""))
    if arguments.json:
        _write(arguments.json, as_json(findings, cell=name, settings=arguments.settings, time=time.time()))
    return 1 if worst(findings) == WRONG else 0


def read_cell(words: list[str]) -> tuple[str, list[NodeSpec]]:
    """The cell and its nodes from `[sim|workcell] [FILE.yaml] [key:=value ...]`."""
    name, settings = "workcell", []
    for word in words:
        if ":=" in word:
            settings.append(word)
        elif word in GRAPHS:
            name = word
        elif word.endswith((".yaml", ".yml")):
            settings.append(f"params_file:={word}")
        else:
            raise AmRosError(f"check: {word!r} is no cell ({', '.join(GRAPHS)}), no .yaml file and no key:=value")
    arguments_class, make_nodes = GRAPHS[name]
    values = arguments_from_text(arguments_class, split_settings(settings))
    os.environ.update(security_environment(values.get("security", "")))
    return name, make_nodes(**values)


def _look(cell: Cell, arguments) -> list[Finding]:
    """What the cell shows; starts the camera node for as long as that takes, if nobody publishes images."""
    from am_ros.ros.introspection.client import RosClient
    from am_ros.ros.introspection.prober import Prober

    with ExitStack() as stack:
        args = ["--ros-args", "-p", "use_sim_time:=true"] if cell.simulated_time else []  # to tell how old stamps are
        prober = Prober(stack.enter_context(RosClient("am_ros_check", args=args)), cell)
        camera, died = cell.spec(CAMERA), []
        if camera and not arguments.running and not prober.wait(LOOK_FIRST_S, (cell.image_topic,)):
            died = _start_camera(stack, camera)
        prober.wait(arguments.wait)
        return [*died, *check_cell(cell, prober.observe(arguments.seconds))]


def _start_camera(stack: ExitStack, camera: NodeSpec) -> list[Finding]:
    from am_ros.cell.processes import NodeProcess

    process = NodeProcess(camera)
    stack.callback(process.stop)
    try:
        process.wait_for_line("ready: ", CAMERA_START_S)
    except TimeoutError:
        said = process.obituary() if process.returncode is not None else f"it says nothing for {CAMERA_START_S:g} s"
        return [wrong("camera", f"the camera node does not start: {said}", "mend camera:= or its parameters")]
    print("(no node publishes images: the camera node runs for the time of this check)", flush=True)
    return []


def _say(findings: list[Finding]) -> list[Finding]:
    for finding in findings:
        print(finding, flush=True)
    return findings


def _write(path: Path, content: dict) -> None:
    try:
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise AmRosError(f"--json {path}: cannot be written ({error.strerror})") from None

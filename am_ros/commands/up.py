"""am-ros up: start the nodes of a workcell as supervised processes; Ctrl-C stops them."""

import argparse
import dataclasses
import os
import shlex
import sys
import threading
import time
from pathlib import Path

from am_ros.cell.arguments import arguments_from_text
from am_ros.cell.graph import GRAPHS
from am_ros.cell.security import security_environment
from am_ros.cell.security_policy import cell_policy
from am_ros.cell.start_check import check_start
from am_ros.cell.supervisor import NodeDied, Supervisor
from am_ros.errors import AmRosError
from am_ros.signals import on_stop


def register(subparsers) -> None:
    """Add the parser."""
    parser = subparsers.add_parser(
        "up",
        help="start the nodes of a cell (simulated, real, to record, to train) and watch over them",
        usage="am-ros up [-h] [--log-dir LOG_DIR] [--print | --policy] CELL [key:=value ...]",
        description="Start the nodes of a workcell as processes, the same ones as `ros2 launch am_ros`.",
        epilog="\n\n".join(describe_arguments(name) for name in GRAPHS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("cell", choices=GRAPHS, metavar="CELL", help=f"which nodes: {', '.join(GRAPHS)}")
    parser.add_argument("settings", nargs="*", metavar="key:=value", help="arguments of the cell, listed below")
    parser.add_argument("--log-dir", type=Path, help="folder of the nodes' log files (default ~/.ros/log/am_ros/TIME)")
    parser.add_argument("--print", action="store_true", help="print the commands instead of running them")
    parser.add_argument("--policy", action="store_true", help="print the SROS2 policy of these nodes instead")


def run(arguments) -> int:
    """Start, watch, stop; 0 after Ctrl-C or SIGTERM, 1 if a node died, 2 if it died of bad input."""
    arguments_class, make_nodes = GRAPHS[arguments.cell]
    settings = arguments_from_text(arguments_class, split_settings(arguments.settings))
    nodes = make_nodes(**settings)
    if arguments.policy:
        print(cell_policy(nodes), end="")
        return 0
    if arguments.print:
        for node in nodes:
            print(shlex.join(node.command()))
        return 0
    os.environ.update(security_environment(settings.get("security", "")))
    check_start()
    from am_ros.ros.introspection.twins import check_alone

    check_alone(node.full_name for node in nodes)
    log_dir = arguments.log_dir or Path.home() / ".ros" / "log" / "am_ros" / time.strftime("%Y-%m-%d-%H-%M-%S")
    stop = threading.Event()
    on_stop(lambda *_: stop.set())
    try:
        with Supervisor(nodes, log_dir, echo=True) as cell:
            count = f"{len(nodes)} node{'s' * (len(nodes) != 1)}"
            print(f"{count} started, logs in {log_dir}; Ctrl-C stops them", flush=True)
            if up := cell.wait_until_up(stop):
                print(up, flush=True)
            cell.watch(stop)
            print("stopping", flush=True)
        return 0
    except NodeDied as death:
        print(f"am-ros up: {death}; the other nodes were stopped", file=sys.stderr)
        return 2 if death.returncode == 2 else 1


def split_settings(settings: list[str]) -> dict[str, str]:
    """`key:=value` words as a dictionary of texts; raises AmRosError naming a word that is none."""
    for setting in settings:
        if ":=" not in setting:
            raise AmRosError(f"argument {setting!r}: expected key:=value")
    return dict(setting.split(":=", 1) for setting in settings)


def describe_arguments(name: str) -> str:
    """The arguments of a cell, one line each."""
    lines = [f"arguments of {name}:"]
    for field in dataclasses.fields(GRAPHS[name][0]):
        choices = field.metadata["choices"]
        default = f"{', '.join(choices)}; default {field.default}" if choices else f"default {field.default!r}"
        lines.append(f"  {field.name:18} {field.metadata['help']} ({default})")
    return "\n".join(lines)

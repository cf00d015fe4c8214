"""am-ros teleop: move the arm by keys or joystick, and record what is played."""

from pathlib import Path

from am_ros import configuration
from am_ros.cell.arguments import STACKS
from am_ros.cell.graph import NodeSpec, driver_topics, stack_files
from am_ros.teleop import HELP, TeleopConfig


def register(subparsers) -> None:
    """Add the parser; one flag per parameter of the node's own."""
    import argparse

    parser = subparsers.add_parser(
        "teleop",
        help="move the arm by keys or joystick, record episodes, label them (a ROS node)",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="keys:\n" + HELP,
    )
    parser.add_argument("--namespace", default="", help="ROS namespace of the cell (default: the root)")
    parser.add_argument("--source", choices=("auto", "keyboard", "joy"), help="default auto: both, if in a terminal")
    parser.add_argument("--task", help="name of the task, written into the episodes")
    parser.add_argument("--stack", choices=STACKS, default="sim", help="whose driver moves the arm (default: sim)")
    parser.add_argument("--params-file", type=Path, help="ROS parameter file of the cell")
    configuration.add_flags(parser, TeleopConfig)


def run(arguments) -> int:
    """Run the node in this process, whose terminal it needs."""
    from am_ros.nodes import teleop

    given = {name: getattr(arguments, name) for name in ("source", "task") if getattr(arguments, name) is not None}
    files = stack_files(arguments.stack, arguments.params_file)
    parameters = given | configuration.given_flags(TeleopConfig, arguments)
    topics = driver_topics(files, arguments.namespace)
    spec = NodeSpec(
        "teleop", namespace=arguments.namespace, parameters=parameters, parameter_files=files, remappings=topics
    )
    return teleop.main(spec.command()[3:])

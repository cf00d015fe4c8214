"""Turns the node list of graph.py into launch_ros actions: the one place that imports launch and launch_ros."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from am_ros.cell.arguments import arguments_from_text
from am_ros.cell.environment import ros_environment
from am_ros.cell.graph import GRAPHS, NodeSpec
from am_ros.cell.security import security_environment
from am_ros.cell.start_check import check_start
from am_ros.errors import AmRosError

# Only what launch itself does not set.
ENVIRONMENT = ("FASTRTPS_DEFAULT_PROFILES_FILE", "ROS_AUTOMATIC_DISCOVERY_RANGE")


def describe(cell: str) -> Any:
    """The LaunchDescription of a cell: one launch argument per field of its arguments, the environment, the nodes.

    Raises AmRosError if launch_ros is not installed (it comes with ROS 2 from apt, not as a wheel).
    """
    try:
        from launch import LaunchDescription
        from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
    except ImportError as error:
        raise AmRosError(f"{error.name} is not installed: source ROS 2, or use `am-ros up {cell}`") from None

    arguments_class, make_nodes = GRAPHS[cell]
    fields = dataclasses.fields(arguments_class)
    environment = ros_environment()

    def nodes(context: Any) -> list[Any]:
        arguments_from_text(arguments_class, _typed(cell, context.argv))
        texts = {f.name: context.launch_configurations[f.name] for f in fields}
        security = security_environment(texts.get("security", ""))
        check_start({**context.environment, **security})
        _check_alone(cell, texts, {**context.environment, **security})
        return [
            *(SetEnvironmentVariable(name, value) for name, value in security.items()),
            *_actions(make_nodes(**arguments_from_text(arguments_class, texts))),
        ]

    return LaunchDescription(
        [SetEnvironmentVariable(name, environment[name]) for name in ENVIRONMENT if name not in os.environ]
        + [DeclareLaunchArgument(f.name, default_value=_text(f.default), description=_help(f)) for f in fields]
        + [OpaqueFunction(function=nodes)]
    )


def _check_alone(cell: str, texts: dict[str, str], environment: dict[str, str]) -> None:
    """Raise AmRosError "node_twice: ..." if such a cell is up already; in a process of its own, which is a ROS node."""
    words = [f"{name}:={text}" for name, text in texts.items() if text]
    command = [sys.executable, "-m", "am_ros.cli", "check", "--alone", cell, *words]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    if run.returncode:
        raise AmRosError(run.stderr.strip().removeprefix("am-ros: "))


def _typed(cell: str, argv: list[str]) -> dict[str, str]:
    """The `key:=value` words of `ros2 launch`, if they were meant for this file: launch takes any key without a word.

    A launch file of somebody else that includes ours may have arguments of its own.
    """
    words = dict(word.split(":=", 1) for word in argv if ":=" in word)
    return words if f"{cell}.launch.py" in {Path(word).name for word in sys.argv} else {}


def _actions(specs: list[NodeSpec]) -> list[Any]:
    from launch.actions import OpaqueFunction
    from launch_ros.actions import Node

    return [
        Node(
            package="am_ros",
            executable=spec.executable,
            name=spec.label,
            namespace=spec.namespace,
            parameters=[*map(str, spec.parameter_files), dict(spec.parameters)],
            remappings=list(spec.remappings.items()),
            ros_arguments=["--enclave", spec.enclave] if spec.enclave else None,
            output="both",
            on_exit=[OpaqueFunction(function=_shut_down, args=[spec.label])] if spec.required else None,
        )
        for spec in specs
    ]


def _shut_down(context: Any, label: str) -> list[Any]:
    """Stop the launch because a node ended, unless it ended because the launch stops."""
    from launch.actions import Shutdown

    return [] if context.is_shutdown else [Shutdown(reason=f"{label} ended")]


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _help(field: dataclasses.Field[Any]) -> str:
    choices = field.metadata["choices"]
    return str(field.metadata["help"]) + (f" ({', '.join(choices)})" if choices else "")

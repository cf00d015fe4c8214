"""Every parameter of every node with its default, unit and range, as config/defaults.yaml has them.

    python -m am_ros.nodes.defaults config/defaults.yaml    # writes it anew, from what the nodes declare
"""

import sys
import textwrap
from collections.abc import Iterator
from dataclasses import Field, fields
from pathlib import Path

import yaml

from am_ros.action import ActionSpace
from am_ros.bags.recorder import RecorderConfig
from am_ros.camera.sources import SourceConfig
from am_ros.cell.bringup import BringupConfig
from am_ros.configuration import flat_fields
from am_ros.consistency import ConsistencyConfig
from am_ros.control.controller import ControllerConfig
from am_ros.learning.recipes import find_recipe
from am_ros.nodes.bag_player import PlayerConfig
from am_ros.nodes.camera import CameraConfig
from am_ros.nodes.goal_registry import GoalRegistryConfig
from am_ros.nodes.image_relay import RelayConfig
from am_ros.nodes.policy_server import PolicyServerConfig
from am_ros.nodes.scripted_expert import ScriptedExpertConfig
from am_ros.nodes.sim_workcell import SimWorkcellConfig
from am_ros.nodes.teleop import TeleopNodeConfig
from am_ros.nodes.trainer import TrainerNodeConfig
from am_ros.page.config import PageConfig
from am_ros.preflight.cell import CheckConfig
from am_ros.ros.arm.description import DescriptionConfig
from am_ros.ros.messages.acting import ActingConfig
from am_ros.ros.page.source import PageNodeConfig
from am_ros.teleop import TeleopConfig
from am_ros.topics import REMAPPED

HEAD = """\
# Every parameter of every node with its default. Generated from what the nodes declare, by
#     .venv/bin/python -m am_ros.nodes.defaults config/defaults.yaml
# For reading: copy the few lines that differ into a file of your own, and give that as params_file:=... . Given as it
# is, it would take back what config/<stack>.yaml says of your arm.
"""
NOTES = {
    "topics": "Our names of the topics that a driver may call otherwise; read by am_ros, no node is called so.",
    "check": "The pre-flight check, `am-ros check`, which is no node.",
}
WIDTH = 120

NODES: dict[str, tuple[type, ...]] = {
    "bag_player": (PlayerConfig,),
    "bringup": (BringupConfig,),
    "camera": (CameraConfig, SourceConfig),
    "cartesian_controller": (ControllerConfig,),
    "cell_description": (DescriptionConfig,),
    "check": (CheckConfig,),
    "episode_logger": (RecorderConfig,),
    "goal_registry": (GoalRegistryConfig, ConsistencyConfig),
    "image_relay": (RelayConfig,),
    "operator_page": (PageConfig, PageNodeConfig),
    "policy_server": (PolicyServerConfig, ActingConfig),
    "scripted_expert": (ScriptedExpertConfig, ActingConfig),
    "sim_workcell": (SimWorkcellConfig,),
    "teleop": (TeleopNodeConfig, TeleopConfig, ActingConfig),
    "trainer": (TrainerNodeConfig, ActionSpace),
}


def parameters_of(node: str) -> Iterator[tuple[Field, object]]:
    """The parameters that a node declares, each with its default."""
    for cls in NODES[node]:
        yield from flat_fields(cls)
    if node == "trainer":  # what it learns with: the parts of the recipe, as the node declares them
        recipe = find_recipe(TrainerNodeConfig.recipe)
        for f in fields(recipe):
            if f.name != "acting":
                part = getattr(recipe, f.name)
                yield from flat_fields(type(part), part, skip=("target_cem",))


def text() -> str:
    """The whole file."""
    sections = [HEAD]
    topics = "\n".join(f"    {name}: {name}" for name in REMAPPED)
    sections.append(f"# {NOTES['topics']}\n/**/topics:\n  ros__parameters:\n{topics}\n")
    for node in NODES:
        note = f"# {NOTES[node]}\n" if node in NOTES else ""
        lines = [line for f, default in parameters_of(node) for line in _lines(f, default)]
        sections.append("\n".join([f"{note}/**/{node}:", "  ros__parameters:", *lines]) + "\n")
    return "\n".join(sections)


def _lines(f: Field, default) -> list[str]:
    """The comment and the value of one parameter."""
    bounds, choices = f.metadata.get("range"), f.metadata.get("choices")
    limits = f"; {_plain(bounds[0])} ... {_plain(bounds[1])}" if bounds else ""
    limits += f"; one of {', '.join(map(str, choices))}" if choices else ""
    comment = textwrap.wrap(f.metadata.get("help", "") + limits, WIDTH - 6)
    value = list(default) if isinstance(default, tuple) else default
    written = yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("...\n").strip()
    return [*(f"    # {line}" for line in comment), f"    {f.name}: {written}"]


def _plain(number) -> str:
    return f"{number:g}" if isinstance(number, float) else str(number)


def run(arguments: list[str]) -> int:
    """Write the file, or print it if none is named."""
    if arguments:
        Path(arguments[0]).write_text(text(), encoding="utf-8")
    else:
        print(text(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))

"""Writes the pages of the reference from the code: commands, parameters of every node, messages, the Python library."""

import argparse
import importlib
import typing
from pathlib import Path

import mkdocs_gen_files

from am_ros import cli
from am_ros.configuration import flat_fields
from am_ros.nodes import defaults

ROOT = Path(__file__).parents[2]
# What a program of one's own uses, in the order in which it meets it.
LIBRARY = (
    "am_ros.action", "am_ros.episode", "am_ros.goals", "am_ros.bags.episodes", "am_ros.bags.reader",
    "am_ros.bags.writer", "am_ros.replay.store", "am_ros.replay.sampling", "am_ros.learning.trainer",
    "am_ros.learning.trainer_config", "am_ros.learning.recipes", "am_ros.learning.policy", "am_ros.learning.cem",
    "am_ros.learning.networks", "am_ros.learning.method_config", "am_ros.control.kinematics",
    "am_ros.control.trajectory", "am_ros.sim.tasks",
)  # fmt: skip


def write(name: str, title: str, intro: str, parts) -> None:
    with mkdocs_gen_files.open(f"reference/{name}.md", "w") as page:
        page.write(f"# {title}\n\n{intro}\n\n" + "\n".join(parts))


def commands():
    parser = argparse.ArgumentParser(prog="am-ros")
    subparsers = parser.add_subparsers()
    for name, summary in cli.COMMANDS:
        importlib.import_module(f"am_ros.commands.{name}").register(subparsers)
        yield from _command(f"am-ros {name}", subparsers.choices[name], summary)


def _command(name: str, parser: argparse.ArgumentParser, summary: str):
    yield f"## `{name}`\n\n{summary}\n\n```text\n{parser.format_help().strip()}\n```\n"
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help for choice in action._choices_actions}
            for verb, sub in action.choices.items():
                text = sub.format_help().strip()
                yield f"### `{name} {verb}`\n\n{helps.get(verb) or ''}\n\n```text\n{text}\n```\n"


def parameters():
    for node, classes in defaults.NODES.items():
        yield f"## {node}\n"
        if node in defaults.NOTES:
            yield f"{defaults.NOTES[node]}\n"
        yield "| parameter | type | default | range | what |\n|---|---|---|---|---|"
        rows = {f.name: _row(f, value) for cls in classes for f, value in flat_fields(cls)}
        yield from (rows[name] for name in sorted(rows))
        yield ""


def _row(field, value) -> str:
    kind = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", str(field.type))
    kind = typing.get_origin(field.type).__name__ if typing.get_origin(field.type) else kind
    low_high, choices = field.metadata.get("range"), field.metadata.get("choices")
    span = f"{low_high[0]:g} ... {low_high[1]:g}" if low_high else ", ".join(f"`{c}`" for c in choices or ())
    cells = (f"`{field.name}`", kind, f"`{value!r}`" if value != "" else "", span, field.metadata.get("help", ""))
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def messages():
    for folder, kind in (("msg", "Messages"), ("srv", "Services"), ("action", "Actions")):
        yield f"## {kind}\n"
        for path in sorted((ROOT / "msg" / folder).iterdir()):
            yield f"### am_msgs/{folder}/{path.stem}\n\n```text\n{path.read_text().strip()}\n```\n"


write("commands", "Commands", "What `am-ros` can do. Generated from the program.", commands())
write(
    "parameters", "Parameters of every node",
    "Name, type, default, range and meaning, generated from the code. "
    "[Cells](../cells.md) says how a parameter file is given.", parameters(),
)  # fmt: skip
write("messages", "Messages, services, actions", "The interfaces of the package `am_msgs`, with units.", messages())
write(
    "python", "Python", "The parts of the package that a program of your own uses. None of them needs ROS.",
    (f"::: {module}\n" for module in LIBRARY),
)  # fmt: skip

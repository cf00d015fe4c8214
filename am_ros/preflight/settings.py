"""Parameter files: does every name in them belong to a node of the cell that knows it?"""

import difflib
from collections.abc import Mapping
from pathlib import Path

from am_ros import topics
from am_ros.cell.environment import share_directory
from am_ros.errors import AmRosError
from am_ros.preflight.cell import CHECK, Cell, CheckConfig, configured, matches, read_parameter_file
from am_ros.preflight.findings import Finding, ok, wrong

# What rclpy gives every node.
EVERY_NODE = {"use_sim_time", "start_type_description_service"}


def known_parameters() -> dict[str, dict[str, object]]:
    """Every parameter of every node with its default, as config/defaults.yaml lists them; empty without it."""
    file = share_directory() / "config" / "defaults.yaml"
    if not file.is_file():
        return {}
    return {pattern.rpartition("/")[2]: values for pattern, values in read_parameter_file(file).items()}


def check_parameters(cell: Cell, known: Mapping[str, Mapping[str, object]]) -> list[Finding]:
    """Every parameter of every file against those that the nodes declare: `known` maps nodes to names and defaults.

    Of a node that is not in `known` only the name is checked. Raises AmRosError naming a file that cannot be read.
    """
    files = sorted({file for spec in cell.specs for file in spec.parameter_files})
    findings = [finding for file in files for finding in _check_file(cell, file, known)]
    for label, make in ((CHECK, lambda: cell.check), ("cartesian_controller", lambda: cell.controller)):
        try:
            make()
        except AmRosError as error:
            findings.append(wrong("parameter_value", f"{label}: {error}", "correct it in the parameter file"))
    if not findings:
        findings.append(ok("parameters", f"every parameter of {', '.join(f.name for f in files)} is known to its node"))
    return findings


def _check_file(cell: Cell, file: Path, known: Mapping[str, Mapping[str, object]]) -> list[Finding]:
    # Two sections are no nodes': the check's own, and the driver's names of our topics.
    declared = {**known, CHECK: vars(configured(CheckConfig, {})), "topics": dict.fromkeys(topics.REMAPPED, "")}
    labels = sorted({*declared, *(spec.label for spec in cell.specs)})
    findings = []
    for pattern, values in read_parameter_file(file).items():
        meant = [label for label in labels if matches(pattern, f"{cell.namespace}/{label}")]
        if not meant:
            mend = _nearest(pattern, [f"/**/{label}" for label in labels])
            findings.append(wrong("parameter_node", f"{file}: {pattern} is no node of this cell", mend))
        if all(label in declared for label in meant):
            findings += _check_names(f"{file}: {pattern}", values, [declared[label] for label in meant])
    return findings


def _check_names(where: str, values: Mapping[str, object], nodes: list[Mapping[str, object]]) -> list[Finding]:
    """What a section sets against what the nodes that it means know."""
    findings = []
    for name, value in values.items():
        default = next((node[name] for node in nodes if name in node), None)
        if not any(name in node for node in nodes) and nodes and name not in EVERY_NODE:
            mend = _nearest(name, sorted({known for node in nodes for known in node}))
            findings.append(wrong("parameter_name", f"{where} has no parameter {name}", mend))
        elif _differs(value, default):
            what = f"{where}: {name} is {value!r}, a {type(default).__name__} as {default!r} is expected"
            findings.append(wrong("parameter_type", what, "write 5.0 where a float is meant, and quote text"))
    return findings


def _differs(value, default) -> bool:
    """ROS takes no integer for a float, nor anything else of another type; None: the default's type is not known."""
    if default is None:
        return False
    if isinstance(default, (list, tuple)):
        kinds = {type(item) for item in default}
        return not isinstance(value, list) or (bool(kinds) and bool({type(item) for item in value} - kinds))
    return type(value) is not type(default)


def _nearest(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f"is {near[0]} meant?" if near else "take it out; `ros2 param list` shows what there is"

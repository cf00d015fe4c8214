"""The one description of the nodes: launch files and `am-ros up` both start what these lists say."""

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from am_ros.cell.arguments import (
    ARM_HOST,
    IDEAL,
    POLICY_HOST,
    ArmArguments,
    CommonArguments,
    PolicyArguments,
    RecordArguments,
    SimArguments,
    TrainArguments,
    WorkcellArguments,
)
from am_ros.cell.environment import share_directory
from am_ros.cell.security import enclave
from am_ros.configuration import from_dict
from am_ros.errors import AmRosError
from am_ros.pretrained import find_checkpoint
from am_ros.topics import REMAPPED


@dataclass(frozen=True)
class NodeSpec:
    """One node: a process of its own.

    `executable` names the module in am_ros/nodes and the console script alike. `required`: when it dies, the rest
    of the cell stops. `lifecycle`: it does nothing before it is configured and activated, by `bringup` in a cell, by
    itself where its parameter `autostart` says so. `stop_wait_s`: how long its end holds up the stop of the others.
    `enclave`: whose keys it takes from an SROS2 keystore.
    """

    executable: str
    name: str = ""
    namespace: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict)
    parameter_files: tuple[Path, ...] = ()
    remappings: Mapping[str, str] = field(default_factory=dict)
    lifecycle: bool = False
    required: bool = True
    stop_wait_s: float = 1.0
    enclave: str = ""

    @property
    def label(self) -> str:
        """The node's name, which is the executable's unless another is given."""
        return self.name or self.executable

    @property
    def full_name(self) -> str:
        """With its namespace, as the graph has it."""
        return "/".join(["", *filter(None, [self.namespace.strip("/"), self.label])])

    def command(self) -> list[str]:
        """The command line of the process, run by this Python so that no PATH has to be set."""
        command = [sys.executable, "-m", f"am_ros.nodes.{self.executable}", "--ros-args"]
        if self.name:
            command += ["-r", f"__node:={self.name}"]
        if self.namespace:
            command += ["-r", f"__ns:=/{self.namespace.strip('/')}"]
        if self.enclave:
            command += ["--enclave", self.enclave]
        for source, target in self.remappings.items():
            command += ["-r", f"{source}:={target}"]
        for file in self.parameter_files:
            command += ["--params-file", str(file)]
        for name, value in self.parameters.items():
            command += ["-p", f"{name}:={_yaml(value)}"]
        return command


BRINGUP = "bringup"
# Two nodes that are both hung are given up after 3 s on the way down; twice that, and the others stop without it.
BRINGUP_STOP_S = 6.0
TRAINER_STOP_S = 8.0  # it writes a checkpoint

# What the controller is told of the arm and a description tells others.
DESCRIBED = ("robot_description", "joint_names", "base_frame", "flange_extension_m", "tool_length_m")

# Sections of config/<stack>.yaml that are no node: the driver's names of our topics, and the pre-flight check's.
TOPICS, CHECK = "/**/topics", "check"


def sim_nodes(**arguments: Any) -> list[NodeSpec]:
    """The nodes of the simulated workcell; `arguments` are the fields of SimArguments."""
    a = from_dict(SimArguments, arguments)
    files = _parameter_files(a, "sim")
    nodes = [_simulator(a, files), *_arm_nodes(a, files, simulated=True), _policy_node(a, files)]
    if a.expert:
        nodes.append(NodeSpec("scripted_expert", parameter_files=files))
    return _cell(nodes, a, files, _check_words("sim", arguments))


def workcell_nodes(**arguments: Any) -> list[NodeSpec]:
    """The nodes of the real workcell beside the arm's own driver; `arguments` are the fields of WorkcellArguments."""
    a = from_dict(WorkcellArguments, arguments)
    files = _parameter_files(a, "workcell", a.stack)
    nodes = [_eye(a, files), *_arm_nodes(a, files, a.stack == "sim"), _policy_node(a, files)]
    return _cell(nodes, a, files, _check_words("workcell", arguments))


def record_nodes(**arguments: Any) -> list[NodeSpec]:
    """What an operator needs to move the arm and record it; `arguments` are the fields of RecordArguments."""
    a = from_dict(RecordArguments, arguments)
    files = _parameter_files(a, "workcell", a.stack)
    nodes = [_eye(a, files), *_arm_nodes(a, files, a.stack == "sim")]
    if a.teleop == "joy":
        nodes.append(NodeSpec("teleop", parameters={"source": "joy", "task": a.task}, parameter_files=files))
    return _cell(nodes, a, files, _check_words("record", arguments))


def train_nodes(**arguments: Any) -> list[NodeSpec]:
    """The trainer, which watches a folder; `arguments` are the fields of TrainArguments."""
    a = from_dict(TrainArguments, arguments)
    files = _parameter_files(a)
    bags = a.bags or cell_folder("bags", a.namespace)
    values = {"bags": _path(bags), "out": _path(a.out), "recipe": a.recipe, "min_episodes": a.min_episodes}
    trainer = NodeSpec("trainer", parameters=values, parameter_files=files, stop_wait_s=TRAINER_STOP_S)
    return _in_namespace([trainer, *_page(a, files)], a)


GRAPHS: dict[str, tuple[type[CommonArguments], Callable[..., list[NodeSpec]]]] = {
    "sim": (SimArguments, sim_nodes),
    "workcell": (WorkcellArguments, workcell_nodes),
    "record": (RecordArguments, record_nodes),
    "train": (TrainArguments, train_nodes),
}


def _simulator(a: SimArguments | WorkcellArguments | RecordArguments, files: tuple[Path, ...]) -> NodeSpec:
    values = {"model": a.model, "image_size": a.image_size}
    values |= {"real_time_factor": a.real_time_factor, "variety": a.variety, "description": a.description != "false"}
    return NodeSpec("sim_workcell", parameters=values, parameter_files=files)


def _eye(a: WorkcellArguments | RecordArguments, files: tuple[Path, ...]) -> NodeSpec:
    """Where images come from: the camera, or the simulator, which is the arm's driver as well."""
    if (a.stack, a.model) == ("kuka_drivers", "iiwa7"):  # whose limits are others
        raise AmRosError("argument model: kuka_drivers drives the iiwa14 only; iiwa7 needs stack:=lbr_fri")
    if a.stack == "sim":
        return _simulator(a, files)
    camera = {"source": a.camera, "width": a.image_size, "height": a.image_size}
    return NodeSpec("camera", parameters=camera, parameter_files=files)


def cell_folder(what: str, namespace: str, simulated: bool = False) -> str:
    """Where a cell keeps its goals or bags unless told otherwise: a goal of one cell means nothing to another."""
    parts = ("~/.ros/am_ros", "sim" if simulated else "", namespace.strip("/"), what)
    return "/".join(part for part in parts if part)


def _arm_nodes(a: ArmArguments, files: tuple[Path, ...], simulated: bool) -> list[NodeSpec]:
    controller = {"robot_model": a.model, "backend": a.backend} | _driver_names(files, a.namespace)
    goals, bags = a.goals or cell_folder("goals", a.namespace, simulated), a.bags or cell_folder("bags", a.namespace)
    return [
        NodeSpec("cartesian_controller", parameters=controller, parameter_files=files, lifecycle=True),
        NodeSpec("goal_registry", parameters={"folder": _path(goals)}, parameter_files=files),
        NodeSpec("episode_logger", parameters={"folder": _path(bags)}, parameter_files=files),
    ]


POLICY = "policy_server"


def _policy_node(a: PolicyArguments, files: tuple[Path, ...]) -> NodeSpec:
    policy = {
        # Beside the arm its files need not be: another host serves it.
        "checkpoint": _path(str(find_checkpoint(a.policy))) if a.policy and a.part != ARM_HOST else "",
        "checkpoint_folder": _path(a.checkpoints),
        "device": a.device,
        "samples": a.samples,
        "iterations": a.iterations,
    }
    return NodeSpec(POLICY, parameters=policy, parameter_files=files, lifecycle=True)


def _cell(nodes: list[NodeSpec], a: ArmArguments, files: tuple[Path, ...], check: list[str]) -> list[NodeSpec]:
    """The nodes as a cell: with a bring-up, the driver's topics, and the namespace."""
    topics, nodes = driver_topics(files, a.namespace), [*nodes, *_description(nodes, a, files), *_page(a, files)]
    nodes = _managed(nodes, files, {"check_arguments": check} | ({"check": a.check} if a.check else {}))
    nodes = [dataclasses.replace(node, remappings=topics) for node in _of_this_host(nodes, a)]
    return _in_namespace(nodes, a)


def _of_this_host(nodes: list[NodeSpec], a: ArmArguments) -> list[NodeSpec]:
    """Of a cell on two hosts those of this one. The bring-up beside the arm takes the policy server up over there."""
    part = a.part if isinstance(a, PolicyArguments) else ""
    if part == POLICY_HOST:
        return [node for node in nodes if node.label == POLICY]
    return [node for node in nodes if node.label != POLICY or part != ARM_HOST]


def _description(nodes: list[NodeSpec], a: ArmArguments, files: tuple[Path, ...]) -> list[NodeSpec]:
    """Of a real arm, if its driver publishes none: ours, with what the controller is told of the arm."""
    if a.description != "true" or any(node.executable == "sim_workcell" for node in nodes):
        return []
    told: dict[str, object] = {"robot_model": a.model}
    for file in files:
        section = _section(file, "/**/cartesian_controller", "")
        told |= {name: section[name] for name in DESCRIBED if name in section}
    return [NodeSpec("cell_description", parameters=told, parameter_files=files, required=False)]


def _page(a: CommonArguments, files: tuple[Path, ...]) -> list[NodeSpec]:
    """The operator's page, if it is wanted; the cell goes on without it."""
    values = {"page_port": a.page_port}
    return [NodeSpec("operator_page", parameters=values, parameter_files=files, required=False)] if a.page else []


def _check_words(cell: str, arguments: Mapping[str, object]) -> list[str]:
    """What `am-ros check` has to be told to look at this very cell."""
    texts = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in arguments.items()}
    return [cell, *(f"{name}:={text}" for name, text in texts.items() if name != "check")]


def driver_topics(files: tuple[Path, ...], namespace: str = "") -> dict[str, str]:
    """The driver's names of our topics, as the files say; of two, the later one counts.

    Those that come with the package are names of a driver alone in the root: beside a second cell it runs in the
    namespace of its own one. Names in a file of the user's stay as they are written.
    """
    found: dict[str, str] = {}
    for file in files:
        found |= _section(file, TOPICS, namespace)
    wrong = [name for name, topic in found.items() if name not in REMAPPED or not isinstance(topic, str) or not topic]
    if wrong:
        raise AmRosError(f"section {TOPICS}: {wrong[0]} is none of {', '.join(REMAPPED)}, or is given no name")
    return {name: topic for name, topic in found.items() if name != topic}


def _driver_names(files: tuple[Path, ...], namespace: str) -> dict[str, str]:
    """What else of a driver is named in the root by our own files, and lies in the cell's namespace."""
    found: dict[str, str] = {}
    for file in files if namespace.strip("/") else ():
        section = _section(file, "/**/cartesian_controller", namespace)
        found |= {name: section[name] for name in ("servo_node", "moveit_namespace") if name in section}
    return found


def _section(file: Path, pattern: str, namespace: str) -> dict[str, Any]:
    """A section of a parameter file; in those of the package, names in the root become names in the namespace."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        values = dict((content or {}).get(pattern, {}).get("ros__parameters", {}))
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise AmRosError(f"parameter file {file}: cannot be read ({reason})") from None
    space = namespace.strip("/")
    if not space or file.parent != share_directory() / "config":
        return values
    return {n: f"/{space}{v}" if isinstance(v, str) and v.startswith("/") else v for n, v in values.items()}


def _managed(nodes: list[NodeSpec], files: tuple[Path, ...], check: Mapping[str, object]) -> list[NodeSpec]:
    """The same with a bring-up, last so that it stops first, which takes the lifecycle nodes up in this order."""
    waiting = [
        dataclasses.replace(node, parameters={**node.parameters, "autostart": False}) if node.lifecycle else node
        for node in nodes
    ]
    names = [node.label for node in nodes if node.lifecycle]
    values = {"nodes": names, **check}
    bringup = NodeSpec(BRINGUP, parameters=values, parameter_files=files, stop_wait_s=BRINGUP_STOP_S)
    return [*waiting, bringup]


def stack_files(stack: str, params_file: Path | None = None) -> tuple[Path, ...]:
    """The parameter files of a cell with that stack; raises AmRosError naming one that is not there."""
    return _parameter_files(CommonArguments(params_file=str(params_file or "")), "workcell", stack)


def _parameter_files(a: CommonArguments, *names: str) -> tuple[Path, ...]:
    driver = getattr(a, "driver", IDEAL)
    names += (f"driver_{driver}",) if driver != IDEAL else ()
    files = [share_directory() / "config" / f"{name}.yaml" for name in names]
    if a.params_file:
        files.append(Path(_path(a.params_file)))
    for file in files:
        if not file.is_file():
            raise AmRosError(f"parameter file {file}: not found")
    return tuple(files)


def _path(text: str) -> str:
    """An absolute path, so that nodes started elsewhere mean the same; empty stays empty."""
    return str(Path(text).expanduser().absolute()) if text else ""


def _in_namespace(nodes: list[NodeSpec], a: CommonArguments) -> list[NodeSpec]:
    """The nodes in the cell's namespace, each with an enclave of its own if the cell is to be secured."""
    keys = {node.label: enclave(a.namespace, node.label) if a.security else "" for node in nodes}
    return [dataclasses.replace(node, namespace=a.namespace, enclave=keys[node.label]) for node in nodes]


def _yaml(value: object) -> str:
    """A parameter value as ROS reads it on a command line: JSON is YAML, and keeps "5" a string and 5.0 a double."""
    if isinstance(value, Path):
        value = str(value)
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)

"""The one description of the nodes: launch files and `am-ros up` both start what these lists say."""

import dataclasses
import json
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from am_ros import topics
from am_ros.configuration import from_dict, parameter
from am_ros.environment import share_directory
from am_ros.errors import AmRosError
from am_ros.pretrained import find_checkpoint
from am_ros.security import enclave


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


@dataclass(frozen=True)
class CellArguments:
    """What the simulated and the real workcell have in common."""

    namespace: str = parameter("", "ROS namespace of all nodes; empty: the root")
    goals: str = parameter("~/.ros/am_ros/goals", "folder of the goal library")
    bags: str = parameter("~/.ros/am_ros/bags", "folder that recorded episodes go to")
    checkpoint: str = parameter("", "checkpoint that the policy serves; empty: wait for policy_server/load_checkpoint")
    device: str = parameter("cpu", "where the policy's network runs", choices=("cpu", "cuda"))
    samples: int = parameter(0, "CEM: candidates per iteration; 0: as the checkpoint says", range=(0, 4096))
    iterations: int = parameter(0, "CEM: refits of the distribution; 0: as the checkpoint says", range=(0, 20))
    robot_model: str = parameter("iiwa14", "arm", choices=("iiwa14", "iiwa7"))
    params_file: str = parameter("", "ROS parameter file that overrides those of am_ros")
    checkpoints: str = parameter(
        "", "folder that policy_server/load_checkpoint may load from; empty: the one that the served checkpoint lies in"
    )
    security: str = parameter("", "SROS2 keystore with an enclave for every node; empty: no DDS-Security")


@dataclass(frozen=True)
class SimArguments(CellArguments):
    """The simulated workcell."""

    image_size: int = parameter(64, "height and width of the camera's image [px]", range=(16, 2048))
    real_time_factor: float = parameter(1.0, "speed of the simulation; 1: as a real cell", range=(0.1, 10.0))
    variety: float = parameter(
        1.0, "how far light, colours and camera pose differ from scene to scene: 0 not at all", range=(0, 1)
    )
    expert: bool = parameter(False, "start scripted_expert too, which demonstrates the tasks")


@dataclass(frozen=True)
class WorkcellArguments(CellArguments):
    """The real workcell: what the arm's own stack calls things, and where the camera is."""

    stack: str = parameter("lbr_fri", "whose driver moves the arm", choices=("lbr_fri", "kuka_drivers"))
    camera: str = parameter("0", "device index or path, RTSP or HTTP URL, video file, or folder of images")
    image_size: int = parameter(64, "height and width that the camera's image is brought to [px]", range=(16, 2048))


BRINGUP = "bringup"
# Two nodes that are both hung are given up after 3 s on the way down; twice that, and the others stop without it.
BRINGUP_STOP_S = 6.0

# What the drivers call the two topics of the arm. Names of joints and frames are parameters: config/<stack>.yaml.
STACK_TOPICS = {
    "lbr_fri": {
        topics.JOINT_STATES: "/lbr/joint_states",
        topics.JOINT_TRAJECTORY: "/lbr/joint_trajectory_controller/joint_trajectory",
    },
    "kuka_drivers": {
        topics.JOINT_STATES: "/joint_states",
        topics.JOINT_TRAJECTORY: "/joint_trajectory_controller/joint_trajectory",
    },
}


def sim_nodes(**arguments) -> list[NodeSpec]:
    """The nodes of the simulated workcell; `arguments` are the fields of SimArguments."""
    a = from_dict(SimArguments, arguments)
    files = _parameter_files("sim", a)
    sim = {"model": a.robot_model, "image_size": a.image_size, "real_time_factor": a.real_time_factor}
    sim["variety"] = a.variety
    nodes = [NodeSpec("sim_workcell", parameters=sim, parameter_files=files)]
    nodes += _common_nodes(a, files)
    if a.expert:
        nodes.append(NodeSpec("scripted_expert", parameter_files=files))
    return _in_namespace(_managed(nodes, files), a)


def workcell_nodes(**arguments) -> list[NodeSpec]:
    """The nodes of the real workcell beside the arm's own driver; `arguments` are the fields of WorkcellArguments."""
    a = from_dict(WorkcellArguments, arguments)
    files = _parameter_files("workcell", a, a.stack)
    camera = {"source": a.camera, "width": a.image_size, "height": a.image_size}
    nodes = _managed([NodeSpec("camera", parameters=camera, parameter_files=files), *_common_nodes(a, files)], files)
    nodes = [dataclasses.replace(node, remappings=STACK_TOPICS[a.stack]) for node in nodes]
    return _in_namespace(nodes, a)


GRAPHS: dict[str, tuple[type[CellArguments], Callable[..., list[NodeSpec]]]] = {
    "sim": (SimArguments, sim_nodes),
    "workcell": (WorkcellArguments, workcell_nodes),
}


def arguments_from_text(cls: type, texts: Mapping[str, str]) -> dict:
    """Values of `key:=value` arguments, each as the type of the field of `cls`; raises AmRosError naming the key."""
    hints = typing.get_type_hints(cls)
    values = {}
    for name, text in texts.items():
        kind = hints.get(name)
        if kind is None:
            raise AmRosError(f"argument {name}: unknown; there are {', '.join(hints)}")
        try:
            values[name] = {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
        except (KeyError, ValueError):
            wanted = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
            raise AmRosError(f"argument {name}: {text!r} is not {wanted}") from None
    return values


def _common_nodes(a: CellArguments, files: tuple[Path, ...]) -> list[NodeSpec]:
    policy = {
        "checkpoint": _path(str(find_checkpoint(a.checkpoint))) if a.checkpoint else "",
        "checkpoint_folder": _path(a.checkpoints),
        "device": a.device,
        "samples": a.samples,
        "iterations": a.iterations,
    }
    controller = {"robot_model": a.robot_model}
    return [
        NodeSpec("cartesian_controller", parameters=controller, parameter_files=files, lifecycle=True),
        NodeSpec("goal_registry", parameters={"folder": _path(a.goals)}, parameter_files=files),
        NodeSpec("episode_logger", parameters={"folder": _path(a.bags)}, parameter_files=files),
        NodeSpec("policy_server", parameters=policy, parameter_files=files, lifecycle=True),
    ]


def _managed(nodes: list[NodeSpec], files: tuple[Path, ...]) -> list[NodeSpec]:
    """The same with a bring-up, last so that it stops first, which takes the lifecycle nodes up in this order."""
    waiting = [
        dataclasses.replace(node, parameters={**node.parameters, "autostart": False}) if node.lifecycle else node
        for node in nodes
    ]
    names = [node.label for node in nodes if node.lifecycle]
    bringup = NodeSpec(BRINGUP, parameters={"nodes": names}, parameter_files=files, stop_wait_s=BRINGUP_STOP_S)
    return [*waiting, bringup]


def _parameter_files(kind: str, a: CellArguments, stack: str = "") -> tuple[Path, ...]:
    config = share_directory() / "config"
    files = [config / f"{name}.yaml" for name in (kind, stack) if name]
    if a.params_file:
        files.append(Path(_path(a.params_file)))
    for file in files:
        if not file.is_file():
            raise AmRosError(f"parameter file {file}: not found")
    return tuple(files)


def _path(text: str) -> str:
    """An absolute path, so that nodes started elsewhere mean the same; empty stays empty."""
    return str(Path(text).expanduser().absolute()) if text else ""


def _in_namespace(nodes: list[NodeSpec], a: CellArguments) -> list[NodeSpec]:
    """The nodes in the cell's namespace, each with an enclave of its own if the cell is to be secured."""
    keys = {node.label: enclave(a.namespace, node.label) if a.security else "" for node in nodes}
    return [dataclasses.replace(node, namespace=a.namespace, enclave=keys[node.label]) for node in nodes]


def _yaml(value) -> str:
    """A parameter value as ROS reads it on a command line: JSON is YAML, and keeps "5" a string and 5.0 a double."""
    if isinstance(value, Path):
        value = str(value)
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)

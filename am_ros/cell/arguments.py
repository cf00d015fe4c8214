"""What can be said of a cell where it is started: the arguments of the launch files and of `am-ros up` alike."""

import difflib
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from am_ros.configuration import parameter
from am_ros.errors import AmRosError

BACKENDS = ("trajectory", "moveit", "servo")
STACKS = ("lbr_fri", "kuka_drivers", "sim")
IDEAL = "ideal"
DRIVERS = (IDEAL, "lbr_fri", "kuka_drivers")  # of the simulated arm


@dataclass(frozen=True)
class CommonArguments:
    """Of every list of nodes."""

    namespace: str = parameter("", "ROS namespace of all nodes; empty: the root")
    params_file: str = parameter("", "ROS parameter file that overrides those of am_ros")
    page: bool = parameter(False, "start operator_page too: the cell in a browser, at the address that it prints")
    page_port: int = parameter(8472, "TCP port of the page on this host; 0: a free one", range=(0, 65_535))
    security: str = parameter("", "SROS2 keystore with an enclave for every node; empty: no DDS-Security")


@dataclass(frozen=True)
class ArmArguments(CommonArguments):
    """Of every cell with an arm."""

    goals: str = parameter(
        "", "folder of the goal library; empty: ~/.ros/am_ros/goals, in a folder of their own sim, and each namespace"
    )
    bags: str = parameter(
        "", "folder that recorded episodes go to; empty: ~/.ros/am_ros/bags, in a folder of its own each namespace"
    )
    model: str = parameter("iiwa14", "arm", choices=("iiwa14", "iiwa7"))
    backend: str = parameter("trajectory", "what plans a step and moves the arm", choices=BACKENDS)
    image_size: int = parameter(64, "height and width of the camera's image [px]", range=(16, 2048))
    description: str = parameter(
        "auto", "publish robot_description and the camera's frame; auto: of a simulated arm, a real one's driver does",
        choices=("auto", "true", "false"),
    )  # fmt: skip
    check: bool = parameter(False, "configure nothing before `am-ros check` has found nothing wrong")


WHOLE, ARM_HOST, POLICY_HOST = PARTS = ("all", "arm", "policy")


@dataclass(frozen=True)
class PolicyArguments:
    """Of cells that a policy acts in."""

    part: str = parameter(
        WHOLE, "of a cell on two hosts, the nodes of this one: policy has policy_server, arm all others", choices=PARTS
    )
    policy: str = parameter("", "checkpoint that is served; empty: wait for policy_server/load_checkpoint")
    checkpoints: str = parameter(
        "", "folder that policy_server/load_checkpoint may load from; empty: the one that the served checkpoint lies in"
    )
    device: str = parameter("cpu", "where the policy's network runs", choices=("cpu", "cuda"))
    samples: int = parameter(0, "CEM: candidates per iteration; 0: as the checkpoint says", range=(0, 4096))
    iterations: int = parameter(0, "CEM: refits of the distribution; 0: as the checkpoint says", range=(0, 20))


@dataclass(frozen=True)
class StackArguments:
    """Of cells whose arm is real, or the simulator in its place."""

    stack: str = parameter(
        "lbr_fri", "whose driver moves the arm; sim: the simulator stands for driver and camera", choices=STACKS
    )
    camera: str = parameter("0", "device index or path, RTSP or HTTP URL, video file, or folder of images")


@dataclass(frozen=True)
class SimulatorArguments:
    """Of cells that may be simulated; a real one has no use for them."""

    real_time_factor: float = parameter(1.0, "speed of the simulation; 1: as a real cell", range=(0.1, 10.0))
    variety: float = parameter(
        1.0,
        "simulation: how far light, colours and camera pose differ from scene to scene: 0 not at all",
        range=(0, 1),
    )
    driver: str = parameter(
        IDEAL, "simulation: whose driver the arm lags, sags and is refused like; ideal: none of it",
        choices=DRIVERS,
    )  # fmt: skip


@dataclass(frozen=True)
class SimArguments(SimulatorArguments, PolicyArguments, ArmArguments):
    """The simulated workcell."""

    expert: bool = parameter(False, "start scripted_expert too, which demonstrates the tasks")


@dataclass(frozen=True)
class WorkcellArguments(SimulatorArguments, PolicyArguments, StackArguments, ArmArguments):
    """The real workcell, or with stack sim a simulated one in its place."""


@dataclass(frozen=True)
class RecordArguments(SimulatorArguments, StackArguments, ArmArguments):
    """A cell in which an operator moves the arm and everything is logged."""

    teleop: str = parameter(
        "keyboard",
        "keyboard: no node, run `am-ros teleop` in a terminal of your own; joy: the node teleop hears the topic joy",
        choices=("keyboard", "joy"),
    )
    task: str = parameter("", "name of the task, written into the episodes")


@dataclass(frozen=True)
class TrainArguments(CommonArguments):
    """The trainer alone."""

    bags: str = parameter(
        "", "folder of bags to learn from, new ones are taken as they come; empty: where this namespace's cell records"
    )
    out: str = parameter("runs/training", "folder for the replay store, checkpoints and metrics")
    recipe: str = parameter("default", "where the learner's parameters start from")
    min_episodes: int = parameter(1, "begin to train once there are so many episodes", range=(1, 10_000_000))


def arguments_from_text(cls: type, texts: Mapping[str, str]) -> dict[str, Any]:
    """Values of `key:=value` arguments, each as the type of the field of `cls`; raises AmRosError naming the key."""
    hints = typing.get_type_hints(cls)
    values = {}
    for name, text in texts.items():
        kind = hints.get(name)
        if kind is None:
            near = difflib.get_close_matches(name, hints, n=1)
            hint = f"is {near[0]} meant? " if near else ""
            raise AmRosError(f"argument {name}: unknown; {hint}there are {', '.join(hints)}")
        try:
            values[name] = {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
        except (KeyError, ValueError):
            wanted = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
            raise AmRosError(f"argument {name}: {text!r} is not {wanted}") from None
    return values

"""What the nodes of a cell expect, read from the node list and its parameter files before any of them runs."""

import dataclasses
import re
import typing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import yaml

from am_ros import configuration, topics
from am_ros.cell.graph import NodeSpec
from am_ros.configuration import parameter
from am_ros.control.controller import ControllerConfig
from am_ros.errors import AmRosError

CHECK = "check"  # the name under which parameter files speak to the check itself
CONTROLLER, CAMERA, SIM, POLICY = "cartesian_controller", "camera", "sim_workcell", "policy_server"
GOALS, LOGGER = "goal_registry", "episode_logger"


@dataclass(frozen=True)
class CheckConfig:
    """Parameters of the check; in a parameter file they stand under `/**/check`."""

    joint_state_rate_hz: float = parameter(
        50.0, "joint states per second that the driver is expected to give [Hz]", range=(1.0, 2000.0)
    )
    image_rate_hz: float = parameter(
        0.0, "images per second that are expected [Hz]; 0: rate_hz of the camera, else 10", range=(0.0, 240.0)
    )
    rate_warning: float = parameter(0.8, "a share of the expected rate below which it warns", range=(0.0, 1.0))
    rate_wrong: float = parameter(0.5, "a share of the expected rate below which it is wrong", range=(0.0, 1.0))
    max_age_s: float = parameter(0.3, "an image older than this on arrival is warned of [s]", range=(0.01, 10.0))
    clock_tolerance_s: float = parameter(
        0.02, "a stamp so far in the future is warned of: the clocks differ [s]", range=(0.001, 1.0)
    )
    free_disk_gb: float = parameter(10.0, "less free disk space for bags is warned of [GB]", range=(0.0, 1e5))


@dataclass(frozen=True)
class Cell:
    """The node list of a cell with everything that its parameter files add to it."""

    specs: tuple[NodeSpec, ...]

    def spec(self, label: str) -> NodeSpec | None:
        """The node of that name, if the cell has it."""
        return next((s for s in self.specs if s.label == label), None)

    def parameters(self, label: str) -> dict:
        """Parameters that are given to a node: those of its files, the last one counts, then those of the list."""
        spec = self.spec(label)
        # The check is no node of the list: it reads the files that the others read.
        source = spec or self.specs[0]
        values = {}
        for file in source.parameter_files:
            for pattern, content in read_parameter_file(file).items():
                if matches(pattern, f"{self.namespace}/{label}"):
                    values.update(content)
        return values | (dict(spec.parameters) if spec else {})

    @property
    def namespace(self) -> str:
        """Of all nodes, "/cell" or empty."""
        name = self.specs[0].namespace.strip("/")
        return f"/{name}" if name else ""

    def topic(self, name: str, label: str = "") -> str:
        """The full name of a topic, as the node (default: the first of the list) sees it."""
        spec = self.spec(label) or self.specs[0]
        name = spec.remappings.get(name, name)
        return name if name.startswith("/") else f"{self.namespace}/{name}"

    @cached_property
    def check(self) -> CheckConfig:
        """Parameters of the check."""
        return configured(CheckConfig, self.parameters(CHECK))

    @cached_property
    def controller(self) -> ControllerConfig:
        """Parameters of the controller."""
        return configured(ControllerConfig, self.parameters(CONTROLLER))

    @property
    def image_size(self) -> tuple[int, int] | None:
        """(height, width) that the camera is told to publish; None: as the source has it."""
        camera, sim = self.parameters(CAMERA), self.parameters(SIM)
        if self.spec(SIM):
            return (int(sim.get("image_size", 64)),) * 2
        size = int(camera.get("height", 0)), int(camera.get("width", 0))
        return size if all(size) else None

    @property
    def image_rate_hz(self) -> float:
        """Images per second that are expected."""
        if self.check.image_rate_hz:
            return self.check.image_rate_hz
        name, label = ("image_rate_hz", SIM) if self.spec(SIM) else ("rate_hz", CAMERA)
        return float(self.parameters(label).get(name, 0.0)) or (20.0 if self.spec(SIM) else 10.0)

    @property
    def simulated_time(self) -> tuple[str, ...]:
        """The nodes that take their time from /clock."""
        return tuple(s.label for s in self.specs if self.parameters(s.label).get("use_sim_time") is True)

    @property
    def image_topic(self) -> str:
        return self.topic(topics.IMAGE)


def configured(cls, values: dict):
    """A configuration of several nested dataclasses, as a node declares it: flat names, all others at their defaults.

    Raises AmRosError naming the parameter if a value has the wrong type or is out of range.
    """
    hints, kept = typing.get_type_hints(cls), {}
    for f in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[f.name]):
            kept[f.name] = configured(hints[f.name], values)
        elif f.name in values:
            kept[f.name] = values[f.name]
    return configuration.from_dict(cls, kept)


def read_parameter_file(path: Path) -> dict[str, dict]:
    """Parameters by node pattern, nested names joined by dots; raises AmRosError naming what is not as ROS reads it."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise AmRosError(f"parameter file {path}: cannot be read ({reason})") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise AmRosError(f"parameter file {path}: expected node names at its top level")
    found = {}
    for pattern, node in content.items():
        if not isinstance(node, dict) or not isinstance(node.get("ros__parameters"), dict):
            raise AmRosError(f"parameter file {path}: {pattern} holds no ros__parameters")
        found[str(pattern)] = _flat(node["ros__parameters"])
    return found


def matches(pattern: str, node: str) -> bool:
    """Whether a node pattern of a parameter file (`/**/camera`, `/*/camera`, `/cell/camera`) means this node."""
    parts = re.split(r"(/\*\*/|/\*\*$|\*)", "/" + pattern.lstrip("/"))
    regex = "".join(_WILD.get(part, re.escape(part)) for part in parts)
    return re.fullmatch(regex, node) is not None


_WILD = {"/**/": "/(?:.*/)?", "/**": "/.*", "*": "[^/]+"}


def _flat(values: dict, prefix: str = "") -> dict:
    flat: dict[str, object] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat

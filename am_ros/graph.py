"""The one description of the nodes: launch files and `am-ros up` both start what these lists say."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class NodeSpec:
    """One node: a process of its own.

    `executable` names the module in am_ros/nodes and the console script alike. `required`: when it dies, the rest
    of the cell stops. `lifecycle`: somebody has to configure and activate it (see `autostart` in policy_server).
    """

    executable: str
    name: str = ""
    namespace: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict)
    parameter_files: tuple[Path, ...] = ()
    remappings: Mapping[str, str] = field(default_factory=dict)
    lifecycle: bool = False
    required: bool = True

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
            command += ["-r", f"__ns:={self.namespace}"]
        for source, target in self.remappings.items():
            command += ["-r", f"{source}:={target}"]
        for file in self.parameter_files:
            command += ["--params-file", str(file)]
        for name, value in self.parameters.items():
            command += ["-p", f"{name}:={_yaml(value)}"]
        return command


def _yaml(value) -> str:
    """A parameter value as ROS reads it on a command line: JSON is YAML, and keeps "5" a string and 5.0 a double."""
    if isinstance(value, Path):
        value = str(value)
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)

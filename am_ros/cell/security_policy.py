"""Who may speak of what: the SROS2 policy of a cell, from the one of the nodes in config/security/policy.xml.

That file is written as for nodes in the root namespace whose topics have our own names. Here it becomes the policy of a
node list, with its namespace, its names and the topics of its arm's driver.
"""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from am_ros import topics
from am_ros.cell.environment import share_directory
from am_ros.cell.graph import NodeSpec
from am_ros.cell.security import enclave
from am_ros.errors import AmRosError

# What is granted: list and right in the file, and the field of Interfaces that it fills.
_RIGHTS = {
    ("topics", "publish"): "publishes",
    ("topics", "subscribe"): "subscribes",
    ("services", "reply"): "replies",
    ("services", "request"): "requests",
    ("actions", "execute"): "executes",
    ("actions", "call"): "calls",
}
OPERATOR = "operator"  # the enclave of programs that a person starts: tests, `am-ros check`, one's own


@dataclass
class Interfaces:
    """What a node publishes, hears, offers and calls, by name: absolute, ~/of its own, or within its namespace."""

    publishes: set[str] = field(default_factory=set)
    subscribes: set[str] = field(default_factory=set)
    replies: set[str] = field(default_factory=set)
    requests: set[str] = field(default_factory=set)
    executes: set[str] = field(default_factory=set)
    calls: set[str] = field(default_factory=set)

    def beyond(self, allowed: "Interfaces") -> list[str]:
        """What is here and not allowed, one "publishes /x" each."""
        found = []
        for name in _RIGHTS.values():
            found += [f"{name} {expression}" for expression in sorted(getattr(self, name) - getattr(allowed, name))]
        return found


def policy_file() -> Path:
    """The policy of our own nodes."""
    return share_directory() / "config" / "security" / "policy.xml"


def read_policy(file: Path) -> dict[str, Interfaces]:
    """What each node may do, by its name; raises AmRosError if the file is none of SROS2's."""
    try:
        root = ElementTree.parse(file).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise AmRosError(f"{file}: cannot be read ({error})") from None
    found: dict[str, Interfaces] = {}
    for profile in root.iter("profile"):
        interfaces = found.setdefault(profile.get("node", ""), Interfaces())
        for (kind, right), name in _RIGHTS.items():
            for listed in profile.iter(kind):
                if listed.get(right) == "ALLOW":
                    getattr(interfaces, name).update(str(e.text).strip() for e in listed)
    return found


def cell_policy(specs: Iterable[NodeSpec]) -> str:
    """The policy of a cell: an enclave for each of its nodes, and one for the operator's programs."""
    known, specs = read_policy(policy_file()), list(specs)
    entries = {}
    for spec in specs:
        if spec.executable not in known:
            raise AmRosError(f"{policy_file()}: says nothing of the node {spec.executable}")
        space = f"/{spec.namespace.strip('/')}"
        entries[enclave(spec.namespace, spec.label)] = space, spec.label, _remapped(known[spec.executable], spec)
    space = f"/{specs[0].namespace.strip('/')}" if specs else "/"
    entries[enclave(space, OPERATOR)] = space, OPERATOR, _remapped(known[OPERATOR], specs[0])
    return policy_text(entries)


def policy_text(entries: dict[str, tuple[str, str, Interfaces]]) -> str:
    """A policy as SROS2 reads it; `entries` maps enclaves to namespace, node name and rights."""
    root = ElementTree.Element("policy", version="0.2.0")
    enclaves = ElementTree.SubElement(root, "enclaves")
    for path, (namespace, node, interfaces) in sorted(entries.items()):
        profiles = ElementTree.SubElement(ElementTree.SubElement(enclaves, "enclave", path=path), "profiles")
        profile = ElementTree.SubElement(profiles, "profile", ns=namespace, node=node)
        for (kind, right), name in _RIGHTS.items():
            expressions = sorted(getattr(interfaces, name))
            if expressions:
                listed = ElementTree.SubElement(profile, kind, {right: "ALLOW"})
                for expression in expressions:
                    ElementTree.SubElement(listed, kind[:-1]).text = expression
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _remapped(interfaces: Interfaces, spec: NodeSpec) -> Interfaces:
    names, controller = dict(spec.remappings), spec.remappings.get(topics.JOINT_TRAJECTORY)
    if controller:  # its action lies beside its topic
        names[topics.TRAJECTORY_ACTION_STATUS] = f"{controller.rpartition('/')[0]}/{topics.TRAJECTORY_ACTION_STATUS}"
    return Interfaces(**{name: {names.get(e, e) for e in getattr(interfaces, name)} for name in _RIGHTS.values()})

"""Who publishes what the nodes read: two sources of one topic are two arms, or two cameras, in one stream."""

from am_ros.preflight.cell import Cell
from am_ros.preflight.findings import Finding, ok, warning, wrong
from am_ros.preflight.observed import Observed, TopicSeen
from am_ros.preflight.streams import Stream, streams

TAKES_TURNS = 4  # such jumps: one may be a simulation that was reset


def check_publishers(cell: Cell, observed: Observed) -> list[Finding]:
    """How many nodes publish each topic that the nodes live on."""
    findings = []
    for stream in streams(cell):
        seen = observed.topic(stream.name)
        if seen.publishers:
            findings += _publishers(stream, seen, observed)
    return findings


def _publishers(stream: Stream, seen: TopicSeen, observed: Observed) -> list[Finding]:
    name = f"{stream.what}_twice"
    nodes = [p.node for p in seen.publishers]
    one = len(set(nodes)) == 1
    who = f"{nodes[0]}{f' ({len(nodes)} times)' if len(nodes) > 1 else ''}" if one else " and ".join(sorted(set(nodes)))
    mend = "stop all but one, or remap the others: what they say would be mixed"
    joints = observed.joints.watch if stream.what == "joint_states" and observed.joints else None
    if joints is not None and joints.jumps >= TAKES_TURNS:
        what = f"two sources of {seen.name} contradict each other: {joints.farthest}"
        return [wrong(name, f"{what}; {who} publish{'es' if one else ''} it", mend)]
    if len(nodes) == 1:
        return []
    if joints is not None and len(joints.parts) > 1 and not joints.overlap:
        return [ok(name, f"{who} publish {seen.name}, each the joints of its own")]
    if stream.what != "joint_states" and len(seen.frames) > 1:
        return [wrong(name, f"{who} publish {seen.name}, in frames {', '.join(sorted(seen.frames))}", mend)]
    return [warning(name, f"{len(nodes)} publishers of {seen.name}: {who}", mend)]

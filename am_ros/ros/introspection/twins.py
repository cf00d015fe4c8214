"""Is a cell of these nodes up already? Two of them would answer each other's callers, and both would move the arm."""

import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from am_ros.errors import AmRosError
from am_ros.ros.introspection.client import RosClient
from am_ros.ros.introspection.names import full_name
from am_ros.ros.node.service import Greeting

# Nodes on this host are found within half a second; on a busy one they take longer.
DISCOVERY_S = 2.0
ANSWER_S = 2.0
POLL_S = 0.05


def check_alone(names: Iterable[str]) -> None:
    """Raise AmRosError "node_twice: ..." if nodes with these full names run, in this domain."""
    with RosClient("am_ros_alone", args=[]) as client:
        twins = living(client, set(names))
    if twins:
        domain = os.environ.get("ROS_DOMAIN_ID") or "0"
        run = "runs" if len(twins) == 1 else "run"
        raise AmRosError(
            f"node_twice: {', '.join(twins)} {run} already: another cell is up in domain {domain}; nothing was "
            "started, that cell is left alone. Stop it, or give this one a namespace:= or another ROS_DOMAIN_ID"
        )


def living(client: RosClient, names: set[str]) -> list[str]:
    """Those of the nodes that are in the graph and answer; what was killed stays in the graph for 20 s, but is mute."""
    node, deadline_s = client.node, time.monotonic() + DISCOVERY_S
    greetings: dict[str, Greeting] = {}
    while time.monotonic() < deadline_s:
        found = {full_name(name, space) for name, space in node.get_node_names_and_namespaces()}
        for name in (names & found) - greetings.keys():
            greetings[name] = Greeting(node, f"{name}/")
            deadline_s = time.monotonic() + DISCOVERY_S  # others of that cell are about to be found, too
        time.sleep(POLL_S)
    if not greetings:
        return []
    until_s = time.monotonic() + ANSWER_S
    with ThreadPoolExecutor(len(greetings)) as side_by_side:
        answers = side_by_side.map(lambda greeting: greeting.wait(until_s), greetings.values())
        return sorted(name for name, answered in zip(greetings, answers, strict=True) if answered)

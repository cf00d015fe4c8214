"""Brings lifecycle nodes up in order, watches that they stay active, and takes them down in reverse."""

import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from am_ros.cell.processes import die_with_parent
from am_ros.configuration import parameter
from am_ros.errors import AmRosError

UP = "up: "  # begins the one line that says that all nodes are active; the supervisor waits for it

# The simulator needs some seconds to start, a driver may need more.
CHECK_WAIT_S = 30.0

# What a transition starts from, where it leads, and what a node that has done it is called.
TRANSITIONS = {
    "configure": ("unconfigured", "inactive", "configured"),
    "activate": ("inactive", "active", "active"),
    "deactivate": ("active", "inactive", "deactivated"),
    "cleanup": ("inactive", "unconfigured", "cleaned up"),
}


@dataclass(frozen=True)
class BringupConfig:
    """Which nodes, and how long each may take."""

    nodes: tuple[str, ...] = parameter(
        ("cartesian_controller", "policy_server"), "lifecycle nodes in the order in which they come up"
    )
    timeout_s: float = parameter(60.0, "for a node to appear, and for each transition up [s]", range=(0.1, 600.0))
    down_timeout_s: float = parameter(1.5, "for each answer on the way down [s]", range=(0.1, 60.0))
    # A node that was killed stays in the graph for 20 s.
    twice_wait_s: float = parameter(25.0, "for a node's namesake of a former cell to vanish [s]", range=(0.0, 120.0))
    discovery_s: float = parameter(
        0.5, "from the first node's first answer until nodes are counted: a namesake may be seen later [s]",
        range=(0.0, 10.0),
    )  # fmt: skip
    clock_wait_s: float = parameter(10.0, "for /clock to run, with use_sim_time [s]", range=(0.1, 600.0))
    check: bool = parameter(False, "configure nothing before `am-ros check` has found nothing wrong")
    check_arguments: tuple[str, ...] = parameter(("workcell",), "arguments of `am-ros check`")
    period_s: float = parameter(0.5, "between two looks at the state of the active nodes [s]", range=(0.05, 10.0))
    # Longer than the policy server is busy with a checkpoint that is loaded while it serves.
    silent_after_s: float = parameter(10.0, "an active node without answer for so long is lost [s]", range=(0.5, 60.0))


def check_first(arguments: Sequence[str], stopped: Callable[[], bool]) -> None:
    """Run `am-ros check`, which says what it finds; raises AmRosError "preflight_failed: ..." if something is wrong.

    In a process of its own, as a person would: it has a node of its own, and may be killed when it is not wanted.
    """
    command = [sys.executable, "-m", "am_ros.cli", "check", "--running", "--wait", f"{CHECK_WAIT_S:g}", *arguments]
    process = subprocess.Popen(command, preexec_fn=functools.partial(die_with_parent, os.getpid()))
    while process.poll() is None and not stopped():
        time.sleep(0.05)
    if process.poll() is None:
        process.kill()
        process.wait()
    elif process.returncode:
        raise AmRosError("preflight_failed: am-ros check has found something wrong, see above; nothing was configured")


class NodeLost(AmRosError):
    """A node that was active is not any more."""


class Remote(Protocol):
    """The nodes as the bring-up sees them."""

    def state(self, node: str, timeout_s: float) -> str:
        """What the node answers: "unconfigured", "inactive", "active", ...; empty: no answer in time."""

    def change(self, node: str, transition: str, timeout_s: float, stopped: Callable[[], bool]) -> bool | None:
        """Whether the transition was done; None: no answer in time, or before `stopped`."""

    def count(self, node: str) -> int:
        """How many nodes have that name."""

    def reason(self, node: str) -> str:
        """The last error that the node has logged, or empty."""


class Bringup:
    """Configures each node in order, then activates each in order; on the way down the reverse, step by step.

    `say` gets a line for each transition. `stopped` ends whatever is waited for. `states` holds the last known ones,
    `phase` and `fault` what it is at and what went wrong.
    """

    def __init__(self, config: BringupConfig, remote: Remote, say: Callable[[str], None], stopped: Callable[[], bool]):
        self.config = config
        self.states = dict.fromkeys(config.nodes, "")
        self.phase, self.fault = "coming up", ""
        self._twins: set[str] = set()
        self._remote, self._say, self._stopped = remote, say, stopped

    def run(self) -> None:
        """Up, watch until stopped, down; raises AmRosError if they do not come up, NodeLost if one does not stay up.

        All nodes are down, as far as they answer, when it returns or raises.
        """
        try:
            self.up()
            self.watch()
        except AmRosError as error:
            self.fault = str(error)
            raise
        finally:
            self.phase = "going down"
            self.down()
            self.phase = "down"

    def up(self) -> None:
        """Configure all, then activate all; nothing moves before all have checked what they need."""
        if self.config.nodes:
            self._wait_for_state(self.config.nodes[0])
            self._pause(self.config.discovery_s)
        for transition in ("configure", "activate"):
            for node in self.config.nodes:
                if not self._stopped():
                    self._take_up(node, transition)
        if not self._stopped():
            count = len(self.config.nodes)
            self.phase = f"{count} node{'s' * (count != 1)} active"
            self._say(f"{UP}{self.phase}")

    def watch(self) -> None:
        """Return when stopped; raise NodeLost as soon as a node leaves `active`, or is silent for too long."""
        heard_s = dict.fromkeys(self.config.nodes, time.monotonic())
        while not self._stopped():
            for node in self.config.nodes:
                state = self._state(node, min(1.0, self.config.silent_after_s))
                if state == "active":
                    heard_s[node] = time.monotonic()
                elif self._stopped():
                    return
                elif state and self._remote.count(node) > 1:
                    self._leave_alone(node)  # it may be the other one that answered
                    heard_s[node] = time.monotonic()
                elif state:
                    raise NodeLost(f"node_not_active: {node} is {state}, though nobody took it down here")
                elif time.monotonic() - heard_s[node] >= self.config.silent_after_s:
                    raise NodeLost(f"node_lost: {node} has not answered for {self.config.silent_after_s:g} s")
            self._pause(self.config.period_s)

    def _leave_alone(self, node: str) -> None:
        """Somebody started a second node of that name: that is no reason to stop an arm that is well."""
        if node not in self._twins:
            self._twins.add(node)
            self._say(f"node_twice: a second {node} was started; it is left alone")

    def down(self) -> None:
        """Deactivate all, then clean up all, the last of the list first; who does not answer is passed over."""
        timeout_s = self.config.down_timeout_s
        silent = set()
        for transition in ("deactivate", "cleanup"):
            start, _goal, done = TRANSITIONS[transition]
            for node in reversed(self.config.nodes):
                if node in silent or not self.states[node]:  # never seen: nothing to take down
                    continue
                state = self._state(node, timeout_s)
                if state == start and self._change(node, transition, timeout_s, lambda: False):
                    self._say(f"{node}: {done}")
                elif not state or state == start:
                    silent.add(node)
                    self._say(f"{node}: could not be taken down ({self._why(node) if state else 'no answer'})")

    def _take_up(self, node: str, transition: str) -> None:
        start, goal, done = TRANSITIONS[transition]
        timeout_s = self.config.timeout_s
        state = self._wait_for_state(node)
        if transition == "configure":
            self._wait_for_namesakes(node)
        if self._stopped():
            return
        if state in ("active", goal):
            self._say(f"{node}: is {state} already")
            return
        if state != start:
            raise AmRosError(f"transition_failed: {node} cannot {transition} while it is {state}")
        changed = self._change(node, transition, timeout_s, self._stopped)
        if changed:
            self._say(f"{node}: {done}")
        elif changed is not None:
            raise AmRosError(f"transition_failed: {node} could not {transition}: {self._why(node)}")
        elif not self._stopped():
            raise AmRosError(f"transition_timeout: {node} did not {transition} within {timeout_s:g} s")

    def _wait_for_state(self, node: str) -> str:
        deadline_s = time.monotonic() + self.config.timeout_s
        while not self._stopped():
            state = self._state(node, min(1.0, self.config.timeout_s))
            if state in ("unconfigured", "inactive", "active", "finalized"):  # not in between
                return state
            if time.monotonic() > deadline_s:
                raise AmRosError(f"node_missing: no lifecycle node {node} answered within {self.config.timeout_s:g} s")
            self._pause(0.1)
        return ""

    def _wait_for_namesakes(self, node: str) -> None:
        """Two cells in one domain would take each other's nodes up and down, and both would move the arm."""
        deadline_s = time.monotonic() + self.config.twice_wait_s
        while not self._stopped() and (count := self._remote.count(node)) > 1:
            if time.monotonic() > deadline_s:
                self.states[node] = ""  # whose it is cannot be told: it is left as it is
                raise AmRosError(
                    f"node_twice: {count} nodes are called {node}: another cell is up in this domain and namespace"
                )
            self._pause(0.1)

    def _state(self, node: str, timeout_s: float) -> str:
        state = self._remote.state(node, timeout_s)
        self.states[node] = state or (self.states[node] and "silent")
        return state

    def _change(self, node: str, transition: str, timeout_s: float, stopped: Callable[[], bool]) -> bool | None:
        changed = self._remote.change(node, transition, timeout_s, stopped)
        if changed:
            self.states[node] = TRANSITIONS[transition][1]
        return changed

    def _why(self, node: str) -> str:
        return self._remote.reason(node) or "its log says why"

    def _pause(self, seconds: float) -> None:
        deadline_s = time.monotonic() + seconds
        while not self._stopped() and (left := deadline_s - time.monotonic()) > 0:
            time.sleep(min(left, 0.05))

"""Bring-up: configures and activates the lifecycle nodes in order, watches them, and takes them down in reverse."""

import sys
import time
from collections.abc import Callable

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Log

from am_ros.cell.bringup import TRANSITIONS, Bringup, BringupConfig, NodeLost, check_first
from am_ros.errors import AmRosError
from am_ros.ros.introspection.client import RosClient
from am_ros.ros.introspection.log import CellLog
from am_ros.ros.node.clocks import StampClock, steady_timer
from am_ros.ros.node.common import StopOnSignal, declare
from am_ros.ros.node.diagnostics import ERROR, OK, WARN, Diagnostics
from am_ros.ros.node.service import RemoteService, wait_for
from am_ros.ros.services import CheckServices

TRANSITION_IDS = {name: getattr(Transition, f"TRANSITION_{name.upper()}") for name in TRANSITIONS}
ASK_AGAIN_S = 1.0


class LifecycleServices:
    """The nodes through their lifecycle services, and the last error that each has put into the log of the cell."""

    def __init__(self, client: RosClient):
        self._client, self._node = client, client.node
        self._services: dict[str, RemoteService] = {}
        self._log = CellLog(self._node, Log.ERROR)
        self._changed_ns: dict[str, int] = {}  # when the last transition of a node was asked for

    def state(self, node: str, timeout_s: float) -> str:
        """The label of the node's state; empty: no answer in time."""
        future = self._ask(node, "get_state", GetState, GetState.Request(), timeout_s)
        done = future and wait_for(future, timeout_s)
        return future.result().current_state.label if done else ""

    def change(self, node: str, transition: str, timeout_s: float, stopped: Callable[[], bool]) -> bool | None:
        """Whether the transition was done; None: no answer in time, or before `stopped`."""
        self._changed_ns[node] = time.time_ns()
        deadline_s = time.monotonic() + timeout_s
        request = ChangeState.Request(transition=Transition(id=TRANSITION_IDS[transition]))
        future = self._ask(node, "change_state", ChangeState, request, timeout_s, stopped)
        while future and (left_s := deadline_s - time.monotonic()) > 0 and not stopped():
            if wait_for(future, min(left_s, ASK_AGAIN_S), stopped):
                return future.result().success
            # An answer may be lost on the way; that the node is where it should be says the same.
            if self.state(node, min(left_s, ASK_AGAIN_S)) == TRANSITIONS[transition][1]:
                return True
        return None

    def count(self, node: str) -> int:
        """How many nodes of the graph have that name."""
        wanted = self._node.resolve_service_name(node)
        found = self._node.get_node_names_and_namespaces()
        return sum(f"{namespace.rstrip('/')}/{name}" == wanted for name, namespace in found)

    def reason(self, node: str) -> str:
        """The last error that the node has logged since its last transition began, or empty."""
        return self._log.said(node, since_ns=self._changed_ns.get(node, 0))

    def _ask(self, node: str, service: str, service_type, request, timeout_s: float, stopped=lambda: False):
        """The future of the answer; None if nobody offers the service, or answers anything."""
        if not self._client.spinning:
            raise RuntimeError("bringup: the thread that takes the answers has died, see above")
        name = f"{node}/{service}"
        if name not in self._services:
            self._services[name] = RemoteService(self._node, service_type, name)
        try:
            return self._services[name].ask(request, timeout_s, stopped)
        except AmRosError:
            return None


def report(bringup: Bringup, diagnostics: Diagnostics) -> None:
    """What the bring-up is at, on /diagnostics."""
    states = dict(bringup.states)
    level = OK if all(state == "active" for state in states.values()) else ERROR if bringup.fault else WARN
    values = {node: state or "not seen" for node, state in states.items()}
    diagnostics.publish("lifecycle", level, bringup.fault or bringup.phase, values)


def main() -> int:
    """Entry point of the executable: 0 after a requested stop, 1 if a node was lost, 2 if they did not come up."""
    stop = StopOnSignal()
    try:
        with RosClient("bringup") as client:
            log = client.node.get_logger()
            config = declare(client.node, BringupConfig)
            bringup = Bringup(config, LifecycleServices(client), log.info, lambda: stop.requested)
            diagnostics = Diagnostics(client.node)
            steady_timer(client.node, 1.0, lambda: report(bringup, diagnostics))
            check = CheckServices(client.node, config.check_arguments)
            try:
                StampClock(client.node).wait(config.clock_wait_s, lambda: stop.requested)
                if config.check:
                    check_first(config.check_arguments, lambda: stop.requested)
                if not stop.requested:
                    bringup.run()
            finally:
                check.close()
                report(bringup, diagnostics)
    except AmRosError as error:
        print(f"bringup: {error}", file=sys.stderr, flush=True)
        return 1 if isinstance(error, NodeLost) else 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

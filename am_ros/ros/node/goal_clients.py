"""Whose wish a goal is, and whether they are still there: a client that has died can take nothing back."""

import time

from am_msgs.msg import Heartbeat
from rclpy.task import Future

from am_ros import topics
from am_ros.ros.node.clocks import steady_timer
from am_ros.ros.node.common import RELIABLE_QOS

HEARTBEAT_S = 0.1
# Ten heartbeats; with the brake of the arm, an episode has ended within two seconds of its client's death.
TIMEOUT_S = 1.0
LOOK_S = 0.1
# Two heartbeats: of a client that was not heard for longer, nothing new is begun until it is.
FRESH_S = 0.2


def goal_name(goal_id) -> str:
    """A goal's id (unique_identifier_msgs/UUID) as heartbeats name it."""
    return bytes(goal_id.uuid).hex()


class GoalBeats:
    """The client's side: heartbeats for each goal under way. `send` belongs into the executor's thread."""

    def __init__(self, node):
        self._publisher = node.create_publisher(Heartbeat, topics.GOAL_HEARTBEAT, RELIABLE_QOS)
        self._names: dict[str, Future] = {}  # of goals under way, with the futures of their results
        steady_timer(node, HEARTBEAT_S, self._beat)

    def add(self, name: str, result) -> None:
        """Speak for this goal until its result has come."""
        self._names[name] = result
        self._publisher.publish(Heartbeat(name=name))

    def clear(self) -> None:
        """Speak for none of them any more."""
        self._names = {}

    def _beat(self) -> None:
        for name, result in list(self._names.items()):
            if result.done():
                self._names.pop(name, None)
            else:
                self._publisher.publish(Heartbeat(name=name))


class GoalClients:
    """The server's side: is the client of the goal under way still there?

    Clients of this package send heartbeats. Of one that never did, the graph tells: as long as any node has a client of
    the action, it may be the one.
    """

    def __init__(self, node, action: str, timeout_s: float = TIMEOUT_S):
        self._node, self._timeout_s = node, timeout_s
        self._service = f"{node.resolve_service_name(action)}/_action/send_goal"
        self._name = ""  # of the goal under way
        self._heard_s = 0.0  # since when it was not heard; at first, since it was accepted
        self._beats = False  # whether it ever was
        self._looked_s = 0.0
        node.create_subscription(Heartbeat, topics.GOAL_HEARTBEAT, self._on_heartbeat, RELIABLE_QOS)

    def begin(self, goal) -> None:
        """A goal was accepted (rclpy's ServerGoalHandle)."""
        self._name, self._beats = goal_name(goal.goal_id), False
        self._heard_s = self._looked_s = time.monotonic()

    def end(self) -> None:
        """It is over."""
        self._name = ""

    def fault(self) -> str:
        """ "client_gone: ..." if nobody wants the goal any more, or empty. To be asked in the executor, often."""
        now_s = time.monotonic()
        if now_s - self._looked_s > self._timeout_s / 2:  # the executor was busy: heartbeats may still wait
            self._heard_s = now_s
        self._looked_s = now_s
        if not self._name:
            return ""
        if not self._beats and self._node.count_clients(self._service):
            self._heard_s = now_s
        silent_s = now_s - self._heard_s
        if silent_s <= self._timeout_s:
            return ""
        if self._beats:
            return f"client_gone: who sent the goal was not heard for {silent_s:.1f} s"
        return f"client_gone: no node is left that could have sent the goal (looked for {silent_s:.1f} s)"

    def heard(self) -> bool:
        """Whether the client was heard just now, so that something new may be begun for it; from any thread."""
        return not self._beats or time.monotonic() - self._heard_s <= FRESH_S

    def _on_heartbeat(self, heartbeat: Heartbeat) -> None:
        if self._name and heartbeat.name == self._name:
            self._heard_s, self._beats = time.monotonic(), True

"""Does anybody else move the arm: on a topic of which one node should be the only publisher, or through an action?"""

from collections.abc import Iterable

from action_msgs.msg import GoalStatus, GoalStatusArray

from am_ros import topics
from am_ros.ros.introspection.names import full_name
from am_ros.ros.node.common import LATCHED_QOS

LOOK_EVERY_S = 0.2  # a look at the graph takes 0.2 ms
MOVING = (GoalStatus.STATUS_ACCEPTED, GoalStatus.STATUS_EXECUTING, GoalStatus.STATUS_CANCELING)


class PublisherWatch:
    """Looks at the ROS graph, at most every 0.2 s."""

    def __init__(self, node, topic: str, owner: str = ""):
        """`owner`: full name of the node that may publish; empty: `node` itself."""
        self._node, self._topic = node, node.resolve_topic_name(topic)
        self._own = owner or full_name(node.get_name(), node.get_namespace())
        self._looked_s, self._fault = float("-inf"), ""

    def fault(self, now_s: float) -> str:
        """ "second_publisher: ..." or empty."""
        if now_s - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = now_s
            infos = self._node.get_publishers_info_by_topic(self._topic)
            names = [full_name(info.node_name, info.node_namespace) for info in infos]
            others = foreign(self._own, names)
            self._fault = f"second_publisher: {', '.join(others)} publishes {self._topic} too" if others else ""
        return self._fault


class ActionWatch:
    """Listens to the status of the action by which a trajectory controller takes goals beside its topic."""

    def __init__(self, node, topic: str):
        """`topic`: where the controller takes trajectories; its action lies beside it."""
        beside = node.resolve_topic_name(topic).rpartition("/")[0]
        self._action = f"{beside}/{topics.TRAJECTORY_ACTION}"
        self._moving, self.used = False, False  # `used`: since it was set to false
        status = f"{beside}/{topics.TRAJECTORY_ACTION_STATUS}"
        node.create_subscription(GoalStatusArray, status, self._on_status, LATCHED_QOS)

    def fault(self) -> str:
        """ "foreign_motion: ..." while a goal is under way, or empty."""
        if not self._moving:
            return ""
        return f"foreign_motion: another program moves the arm through the action {self._action}"

    def _on_status(self, message: GoalStatusArray) -> None:
        self._moving = any(status.status in MOVING for status in message.status_list)
        self.used = self.used or self._moving


class OthersWatch:
    """Both, for the topic by which the arm is moved."""

    def __init__(self, node, topic: str, owner: str = ""):
        """As PublisherWatch."""
        self._publishers, self._action = PublisherWatch(node, topic, owner), ActionWatch(node, topic)

    def fault(self, now_s: float) -> str:
        """ "second_publisher: ..." or "foreign_motion: ...", or empty."""
        return self._action.fault() or self._publishers.fault(now_s)

    def was_used(self) -> str:
        """Why the command is no longer ours, once: "another program moved the arm ..."; or empty."""
        used, self._action.used = self._action.used, False
        return "another program moved the arm through its trajectory controller's action" if used else ""


def foreign(own: str, publishers: Iterable[str]) -> list[str]:
    """The publishers' nodes that are not this one; another node of the same name counts as "another NAME"."""
    names = sorted(publishers)
    twins = max(0, names.count(own) - 1)
    return [name for name in names if name != own] + [f"another {own}"] * min(twins, 1)

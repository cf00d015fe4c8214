"""Does anybody else publish on a topic of which one node should be the only publisher?"""

from collections.abc import Iterable

from am_ros.ros.introspection.names import full_name

LOOK_EVERY_S = 0.2  # a look at the graph takes 0.2 ms


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


def foreign(own: str, publishers: Iterable[str]) -> list[str]:
    """The publishers' nodes that are not this one; another node of the same name counts as "another NAME"."""
    names = sorted(publishers)
    twins = max(0, names.count(own) - 1)
    return [name for name in names if name != own] + [f"another {own}"] * min(twins, 1)

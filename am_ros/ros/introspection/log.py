"""What the nodes of a cell put into its log: reasons that answers have no room for, warnings that nobody else tells."""

import time
from collections import deque

from rcl_interfaces.msg import Log
from rclpy.qos import DurabilityPolicy, QoSProfile

from am_ros.ros.node.common import to_ns

WAIT_S = 0.5  # the log and the answer of a service come by different ways
KEPT = 100
# What a step's result says as well, to whoever sent it.
_ANSWERED = ("move_cartesian", "protective stop: ")


class CellLog:
    """Hears /rosout from `level` on, and what was said up to 10 s before it was made (ROS keeps that long)."""

    def __init__(self, node, level: int):
        self._node, self._level = node, level
        self._lines: deque[Log] = deque(maxlen=KEPT)
        self._news: deque[Log] = deque(maxlen=KEPT)
        self._since_ns = time.time_ns()
        kept = QoSProfile(depth=KEPT, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        node.create_subscription(Log, "/rosout", self._hear, kept)

    def said(self, node: str, marker: str = "", since_ns: int = 0) -> str:
        """The last line that a node has said since that time, or what of it follows `marker`; empty: nothing came.

        Waits for it, and so belongs into a thread that is not the executor's.
        """
        name, deadline_s = self._logger_name(node), time.monotonic() + WAIT_S
        while True:
            for line in reversed(self._lines.copy()):
                if line.name == name and to_ns(line.stamp) >= since_ns and marker in line.msg:
                    return _last(line).partition(marker)[2] if marker else _last(line)
            if time.monotonic() > deadline_s:
                return ""
            time.sleep(0.02)

    def news(self, *but: str) -> list[str]:
        """What other nodes than `but` have said since the last call, with their names."""
        silent = {self._logger_name(node) for node in (*but, self._node.get_name())}
        found = []
        while self._news:
            line = self._news.popleft()
            if line.name not in silent and not line.msg.startswith(_ANSWERED):
                found.append(f"{line.name.replace('.', '/')}: {_last(line)}")
        return found

    def _logger_name(self, node: str) -> str:
        return self._node.resolve_service_name(node).strip("/").replace("/", ".")

    def _hear(self, line: Log) -> None:
        if line.level >= self._level and line.msg.strip():
            self._lines.append(line)
            if to_ns(line.stamp) >= self._since_ns:
                self._news.append(line)


def _last(line: Log) -> str:
    return line.msg.strip().splitlines()[-1]

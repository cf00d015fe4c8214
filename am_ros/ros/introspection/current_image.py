"""The newest image of the camera, and the wait for one that is new enough while the node's executor goes on."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from rclpy.task import Future
from sensor_msgs.msg import Image

from am_ros import topics
from am_ros.camera.watchdog import stamp_fault
from am_ros.errors import AmRosError
from am_ros.ros.node.clocks import steady_timer
from am_ros.ros.node.common import SENSOR_QOS, to_ns

ANY_TIME = -1  # before every stamp


@dataclass(frozen=True)
class Received:
    """A message and the time.monotonic() of its arrival."""

    message: Any
    arrived_s: float

    @property
    def age_s(self) -> float:
        """Seconds since it arrived."""
        return time.monotonic() - self.arrived_s


class CurrentImage:
    """Hears the topic image_raw for a node. An image older than `max_age_s` is stale.

    `lacks_more()` tells whether something else is worth waiting for; call `wake` when that may have changed.
    """

    def __init__(self, node: Node, timeout_s: float, max_age_s: float, lacks_more: Callable[[], bool]):
        self._node, self._timeout_s, self._max_age_s, self._lacks_more = node, timeout_s, max_age_s, lacks_more
        self._image: Received | None = None
        self._waiting: list[Future] = []
        node.create_subscription(Image, topics.IMAGE, self._on_image, SENSOR_QOS)
        steady_timer(node, 0.1, self.wake)  # so that whoever waits gives up when no image comes at all

    async def after(self, after_ns: int = ANY_TIME) -> Image:
        """One captured after `after_ns` that is not stale; what else is needed of the cell has been heard then.

        Raises AmRosError that names the topic.
        """
        await self._hear(after_ns)
        topic, limit_s, last = self._node.resolve_topic_name(topics.IMAGE), self._max_age_s, self._image
        if last is None or self._lacks(after_ns):
            raise AmRosError(f"topic {topic}: {self._no_fresh_image(last, after_ns)}")
        age_s = last.age_s
        if age_s > limit_s:
            raise AmRosError(f"topic {topic}: stale image: the newest came {age_s:.1f} s ago, more than {limit_s:g} s")
        now_ns = self._node.get_clock().now().nanoseconds
        fault = stamp_fault(to_ns(last.message.header.stamp), now_ns, limit_s, limit_s)
        if fault:
            raise AmRosError(f"topic {topic}: {fault.sentence}")
        return last.message

    def wake(self) -> None:
        """Let those that wait look again: something came, or time passed."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            future.set_result(None)

    def _on_image(self, message: Image) -> None:
        self._image = Received(message, time.monotonic())
        self.wake()

    async def _hear(self, after_ns: int) -> None:
        """Wait for an image captured after `after_ns` and for what else is needed, but not for long.

        Whoever asks right after the start would be refused otherwise: DDS takes a while to find the publishers.
        """
        deadline_s = time.monotonic() + self._timeout_s
        while self._lacks(after_ns) or self._lacks_more():
            if time.monotonic() >= deadline_s:
                break
            self._waiting.append(Future())
            await self._waiting[-1]

    def _lacks(self, after_ns: int) -> bool:
        return self._image is None or to_ns(self._image.message.header.stamp) <= after_ns

    def _no_fresh_image(self, last: Received | None, after_ns: int) -> str:
        if last is None:
            return f"no image came yet (waited {self._timeout_s:g} s)"
        if last.age_s > self._timeout_s:
            return f"stale image: the newest came {last.age_s:.1f} s ago"
        behind_s = (after_ns - to_ns(last.message.header.stamp)) / 1e9
        return (
            f"stale image: the newest is stamped {behind_s:.2f} s before the request, "
            "though images come (a slow camera, or a clock that differs)"
        )

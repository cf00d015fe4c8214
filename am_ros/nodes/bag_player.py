"""Publish recorded episodes as topics: at their own pace, at another, or as fast as they are taken."""

import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import rclpy
from rclpy.duration import Duration
from rclpy.node import Node

from am_ros import topics
from am_ros.bags.finder import find_bags
from am_ros.bags.reader import BagReader
from am_ros.configuration import parameter
from am_ros.errors import AmRosError
from am_ros.ros.messages.types import message_class
from am_ros.ros.node.clocks import steady_timer
from am_ros.ros.node.common import KEEP_ALL_QOS, declare, run

# Messages on the way before the player waits for all subscribers. Large enough that the wait, one heartbeat (20 ms,
# config/fastdds.xml), does not limit the speed; small enough for a subscriber that keeps the last 200 of a topic.
WINDOW = 200
EPISODE_TOPICS = (topics.IMAGE_COMPRESSED, topics.STEP, topics.EPISODE_EVENT)


@dataclass(frozen=True)
class PlayerConfig:
    """Parameters of the bag player."""

    bags: tuple[str, ...] = parameter(("",), "bags or folders of bags, played in this order")
    rate: float = parameter(1.0, "times the original speed; 0: as fast as the subscribers take it", range=(0.0, 1000.0))
    subscribers: int = parameter(1, "before the start, wait until each topic has so many subscribers", range=(0, 100))
    subscriber_timeout_s: float = parameter(30.0, "how long they are waited for [s]", range=(0.1, 3600.0))
    all_topics: bool = parameter(False, "publish all recorded topics, not only those an episode consists of")
    ack_timeout_s: float = parameter(30.0, "how long a subscriber may take to receive a bag [s]", range=(0.1, 3600.0))


class BagPlayer(Node):
    """Plays in a thread of its own, then ends the process; damaged bags are named and left out."""

    def __init__(self):
        super().__init__("bag_player")
        self.config = declare(self, PlayerConfig)
        self._bags = [bag for path in self.config.bags for bag in _bags_at(path)]
        names = topics.RECORDED if self.config.all_topics else EPISODE_TOPICS
        self._topic_publishers = {
            name: self.create_publisher(message_class(topics.RECORDED[name]), name, KEEP_ALL_QOS) for name in names
        }
        self._stop = threading.Event()
        self._unacknowledged = 0
        self._error: BaseException | None = None
        self._refused: list[str] = []
        self._thread = threading.Thread(target=self._run, name="player", daemon=True)
        steady_timer(self, 0.05, self._check)
        self._thread.start()

    def close(self) -> None:
        """Stop playing."""
        self._stop.set()
        self._thread.join()

    def _check(self) -> None:
        if self._thread.is_alive():
            return
        if self._error is not None:
            raise self._error
        if self._refused:
            raise AmRosError(f"{len(self._refused)} of {len(self._bags)} bags were not played: {self._refused[0]}")
        rclpy.try_shutdown()

    def _run(self) -> None:
        try:
            self._wait_for_subscribers()
            began, messages, size = time.monotonic(), 0, 0
            for number, bag in enumerate(self._bags, 1):
                try:
                    count, length = self._play(bag)
                except AmRosError as error:
                    self._refused.append(str(error))
                    self.get_logger().warning(f"not played: {error}")
                    continue
                messages, size = messages + count, size + length
                self.get_logger().info(f"played {number}/{len(self._bags)}: {bag}", throttle_duration_sec=1.0)
                if self._stop.is_set():
                    return
            self._wait_for_acknowledgement()
            seconds = max(time.monotonic() - began, 1e-9)
            played = len(self._bags) - len(self._refused)
            self.get_logger().info(
                f"done: {played} bags, {messages} messages in {seconds:.2f} s, "
                f"{played / seconds:.1f} bags/s, {messages / seconds:.0f} messages/s, {size / seconds / 1e6:.1f} MB/s"
            )
        except BaseException as error:  # handed to the executor's thread, which raises it
            self._error = error

    def _play(self, path: Path) -> tuple[int, int]:
        """Publish one bag; return the number of messages and bytes."""
        for _ in BagReader(path).messages():  # all checksums and counts, before the first message goes out
            pass
        first_ns, began, count, size = None, time.monotonic(), 0, 0
        for message in BagReader(path).messages():
            publisher = self._publisher_of(message)
            if publisher is None:
                continue
            first_ns = message.log_time_ns if first_ns is None else first_ns
            if self.config.rate > 0:
                due = began + (message.log_time_ns - first_ns) / 1e9 / self.config.rate
                self._stop.wait(max(0.0, due - time.monotonic()))
            if self._stop.is_set():
                break
            publisher.publish(message.raw)
            count, size = count + 1, size + len(message.raw)
            self._unacknowledged += 1
            if self._unacknowledged >= WINDOW:
                self._wait_for_acknowledgement()
        if count == 0 and not self._stop.is_set():
            raise AmRosError(f"bag {path}: has none of the topics {', '.join(self._topic_publishers)}")
        return count, size

    def _publisher_of(self, message):
        for name, publisher in self._topic_publishers.items():
            if message.name == name or message.name.endswith("/" + name):
                return publisher if message.type_name == topics.RECORDED[name] else None
        return None

    def _wait_for_subscribers(self) -> None:
        deadline = time.monotonic() + self.config.subscriber_timeout_s
        for name, publisher in self._topic_publishers.items():
            while publisher.get_subscription_count() < self.config.subscribers:
                if self._stop.wait(0.02):
                    return
                if time.monotonic() > deadline:
                    raise AmRosError(
                        f"topic {name}: fewer than {self.config.subscribers} subscribers "
                        f"after {self.config.subscriber_timeout_s:g} s"
                    )

    def _wait_for_acknowledgement(self) -> None:
        """Flow control: go on when every reliable subscriber has received everything."""
        self._unacknowledged = 0
        deadline = time.monotonic() + self.config.ack_timeout_s
        for name, publisher in self._topic_publishers.items():
            while not publisher.wait_for_all_acked(Duration(seconds=0.2)):
                if self._stop.is_set():
                    return
                if time.monotonic() > deadline:
                    raise AmRosError(
                        f"topic {name}: a subscriber did not receive everything within {self.config.ack_timeout_s:g} s"
                    )


def _bags_at(path: str) -> list[Path]:
    if not path:
        raise AmRosError("parameter bags: names no bag")
    bags = [Path(path)] if Path(path).is_file() else find_bags(path)
    if not bags:
        raise AmRosError(f"parameter bags: {path} holds no bag")
    return bags


def main(args=None) -> int:
    return run(BagPlayer, "bag_player", args)


if __name__ == "__main__":
    sys.exit(main())

"""Episodes over topics, as a workcell publishes them: for a logger that is to be killed, starved or misled."""

import shutil
import time
from array import array
from pathlib import Path

import numpy as np
from am_msgs.srv import StartEpisode, StopEpisode
from sensor_msgs.msg import CompressedImage

from am_ros import topics
from am_ros.action import ActionSpace
from am_ros.bags.episodes import write_episode
from am_ros.bags.reader import BagReader
from am_ros.bags.salvage import whole_messages
from am_ros.errors import AmRosError
from am_ros.faults.bench import Bench, wait_until
from am_ros.faults.synthetic import make_episode
from am_ros.images import encode_jpeg
from am_ros.ros.messages.types import message_class
from am_ros.ros.node.common import RELIABLE_QOS, SENSOR_QOS

SPACE = ActionSpace()


class EpisodeStream:
    """Publishes synthetic episodes to the logger of a bench: images best effort, the rest reliable."""

    def __init__(self, bench: Bench):
        self._bench = bench
        grey = encode_jpeg(np.full((64, 64, 3), 128, np.uint8), 95)
        self._first_image = CompressedImage(format="jpeg", data=array("B", grey))
        self._publishers = {
            topic: bench.client.publisher(
                message_class(topics.RECORDED[topic]), topic,
                SENSOR_QOS if topic == topics.IMAGE_COMPRESSED else RELIABLE_QOS, timeout_s=20.0,
            )
            for topic in (topics.EPISODE_EVENT, topics.IMAGE_COMPRESSED, topics.STEP)
        }  # fmt: skip

    def wait_until_heard(self) -> None:
        """Best effort: what is published before a new logger has found the publisher is lost."""
        wait_until(lambda: all(p.get_subscription_count() for p in self._publishers.values()), 20, "a logger")
        wait_until(self._an_image_arrives, 25, "an image in a bag")

    def _an_image_arrives(self) -> bool:
        client = self._bench.client
        try:
            client.call(StartEpisode, "episode_logger/start", timeout_s=3.0)
        except AmRosError:  # the service of a logger that was killed looks ready for a while, and swallows requests
            return False
        self._publishers[topics.IMAGE_COMPRESSED].publish(self._first_image)
        time.sleep(0.1)
        stopped = client.call(StopEpisode, "episode_logger/stop")
        shutil.rmtree(stopped.path)
        return stopped.messages > 0

    def messages(self, name: str, steps: int, seed: int, size: int = 64) -> list[tuple[str, bytes]]:
        """The messages of an episode in order: topic and bytes."""
        source = write_episode(make_episode(name, steps, size, seed), self._bench.folder / "source", SPACE)
        return [(m.topic.removeprefix("/"), m.raw) for m in BagReader(source).messages()]

    def publish(self, messages, pause_s: float) -> None:
        """One message after the other."""
        for topic, raw in messages:
            self._publishers[topic].publish(raw)
            time.sleep(pause_s)


def newest_message_ns(bag: Path) -> int:
    """Time of reception of the last message that is whole in an unfinished bag; 0 if there is none."""
    return max((m.log_time_ns for file in sorted(bag.glob("*.mcap")) for m in whole_messages(file)), default=0)

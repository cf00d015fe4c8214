"""Listens to a cell for a few seconds for the pre-flight check: it subscribes, and never publishes or calls."""

import time
from functools import partial

import numpy as np
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState
from std_msgs.msg import String

from am_ros import topics
from am_ros.bags.marks import SequenceGaps
from am_ros.errors import AmRosError
from am_ros.images import array_from_image
from am_ros.preflight.cell import CONTROLLER, Cell
from am_ros.preflight.commands import commands
from am_ros.preflight.observed import Endpoint, ImageSeen, JointsSeen, JointWatch, Observed, TopicSeen
from am_ros.ros.introspection.client import RosClient
from am_ros.ros.introspection.names import full_name
from am_ros.ros.node.common import IMAGES_QOS, LATCHED_QOS, SENSOR_QOS, to_ns

POLL_S = 0.05
# After the last endpoint has been found, others of the same node may still be on their way.
SETTLE_S = 0.3
MAX_URDF = 5_000_000  # characters; meshes are named in it, not held


class Prober:
    """Subscribed to what the nodes of a cell live on from the moment it is made."""

    def __init__(self, client: RosClient, cell: Cell):
        self._client, self._cell, self._node = client, cell, client.node
        self._topics: dict[str, TopicSeen] = {}
        self._gaps: dict[str, SequenceGaps] = {}
        self._positions: dict[str, float] = {}
        self._velocities: dict[str, float] = {}
        self._watch = JointWatch()
        self._malformed, self._description = "", ""
        self._image: ImageSeen | None = None
        self._info: tuple[int, int] | None = None  # height and width in camera_info
        self._streams = [
            self._listen(Image, topics.IMAGE, self._on_image, IMAGES_QOS),
            self._listen(CompressedImage, topics.IMAGE_COMPRESSED, lambda _: None, IMAGES_QOS),
            self._listen(CameraInfo, topics.CAMERA_INFO, self._on_info, SENSOR_QOS),
            self._listen(JointState, topics.JOINT_STATES, self._on_joints, SENSOR_QOS),
        ]
        self._listen(JointState, topics.GRIPPER_STATES, self._on_joints, SENSOR_QOS)  # not every cell has it
        # A driver publishes its description beside its joint states.
        description = cell.topic(topics.JOINT_STATES, CONTROLLER).rpartition("/")[0] + "/robot_description"
        self._node.create_subscription(String, description, self._on_description, LATCHED_QOS)
        if cell.simulated_time:
            self._topics[topics.CLOCK] = TopicSeen(topics.CLOCK)
            self._node.create_subscription(Clock, topics.CLOCK, self._on_clock, SENSOR_QOS)
        self._topics |= {command.topic: TopicSeen(command.topic) for command in commands(cell)}

    def wait(self, timeout_s: float, publishers_of: tuple[str, ...] = ()) -> bool:
        """Wait until every topic that the cell lives on (or those named) is published; returns whether it is."""
        deadline_s = time.monotonic() + timeout_s
        names = publishers_of or (*self._streams,)
        while not all(self._node.count_publishers(name) for name in names):
            if time.monotonic() > deadline_s:
                return False
            time.sleep(POLL_S)
        time.sleep(SETTLE_S)
        return True

    def observe(self, seconds: float) -> Observed:
        """Listen for so long; what came before is forgotten."""
        for seen in self._topics.values():
            seen.arrived_s, seen.stamps_ns, seen.ages_s, seen.lost = [], [], [], 0
        self._watch = JointWatch()
        began_s = time.monotonic()
        time.sleep(seconds)
        if not self._client.spinning:
            raise RuntimeError("the thread that receives has died, see above")
        listened_s = time.monotonic() - began_s
        for seen in self._topics.values():
            seen.listened_s = listened_s
            seen.publishers = self._endpoints(self._node.get_publishers_info_by_topic(seen.name))
            seen.subscribers = self._endpoints(self._node.get_subscriptions_info_by_topic(seen.name))
        joints = None
        if self._positions:
            joints = JointsSeen(self._positions, self._velocities, self._malformed, self._watch)
        return Observed(dict(self._topics), joints, self._image, self._info, self._description, self._nodes())

    def _listen(self, message_type, name: str, take, qos: QoSProfile) -> str:
        topic = self._cell.topic(name, CONTROLLER if message_type is JointState else "")
        self._topics[topic], self._gaps[topic] = TopicSeen(topic), SequenceGaps()
        self._node.create_subscription(message_type, topic, partial(self._on_message, topic, take), qos)
        return topic

    def _on_message(self, topic: str, take, message, info: dict) -> None:
        seen, stamp_ns = self._topics[topic], to_ns(message.header.stamp)
        seen.arrived_s.append(time.monotonic())
        seen.stamps_ns.append(stamp_ns)
        seen.ages_s.append((self._node.get_clock().now().nanoseconds - stamp_ns) / 1e9)
        seen.frames.add(message.header.frame_id)
        seen.lost += self._gaps[topic].lost_before(info.get("publication_sequence_number") or 0)
        take(message)

    def _on_clock(self, message: Clock) -> None:
        self._topics[topics.CLOCK].stamps_ns.append(to_ns(message.clock))

    def _on_image(self, message: Image) -> None:
        try:
            self._image = ImageSeen(array_from_image(message, f"topic {self._cell.image_topic}"))
        except AmRosError as error:
            self._image = ImageSeen(None, str(error))

    def _on_info(self, message: CameraInfo) -> None:
        self._info = message.height, message.width

    def _on_joints(self, message: JointState) -> None:
        names, positions, velocities = message.name, message.position, message.velocity
        if len(names) != len(positions) or (velocities and len(velocities) != len(names)):
            counts = f"{len(positions)} positions and {len(velocities)} velocities"
            self._malformed = f"{len(names)} names, but {counts}"
        elif not np.isfinite(positions).all():
            self._malformed = "a position is not finite"
        self._watch.add(to_ns(message.header.stamp) / 1e9, time.monotonic(), names, positions, velocities)
        self._positions |= dict(zip(names, positions, strict=False))
        self._velocities |= dict(zip(names, velocities, strict=False))

    def _on_description(self, message: String) -> None:
        if len(message.data) <= MAX_URDF:
            self._description = message.data

    def _endpoints(self, infos) -> tuple[Endpoint, ...]:
        """Those of others."""
        return tuple(
            Endpoint(
                full_name(info.node_name, info.node_namespace),
                info.topic_type,
                info.qos_profile.reliability != ReliabilityPolicy.BEST_EFFORT,
                info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL,
            )
            for info in infos
            if info.node_name != self._node.get_name()
        )

    def _nodes(self) -> tuple[str, ...]:
        return tuple(full_name(name, space) for name, space in self._node.get_node_names_and_namespaces())

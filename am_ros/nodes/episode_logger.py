"""Record one bag per episode: on episode events, or by the services ~/start, ~/stop and ~/discard;
~/label says afterwards what it is worth; ~/list, ~/get, ~/verify and ~/salvage look into what is there."""

import sys
from functools import partial

from am_msgs.srv import LabelEpisode, StartEpisode, StopEpisode
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from std_srvs.srv import Trigger

from am_ros import topics
from am_ros.bags import types
from am_ros.bags.recorder import EpisodeRecorder, Received, RecorderConfig
from am_ros.episode import EpisodeInfo, Outcome
from am_ros.errors import AmRosError
from am_ros.ros.introspection.names import full_name
from am_ros.ros.messages.types import message_class
from am_ros.ros.node.clocks import steady_timer
from am_ros.ros.node.common import completed, declare, run
from am_ros.ros.node.diagnostics import OK, WARN, Diagnostics
from am_ros.ros.services import EpisodeServices

# Best effort hears reliable and best-effort publishers alike. 100 deep: three seconds of images.
BEST_EFFORT_QOS = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT, history=HistoryPolicy.KEEP_LAST)
# What the program itself publishes reliably: each one counts.
RELIABLE_QOS = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_LAST)
RELIABLE = (topics.EPISODE_EVENT, topics.STEP, topics.JOINT_TRAJECTORY, topics.GRIPPER_COMMAND)


class EpisodeLogger(Node):
    """Passes raw bytes to the EpisodeRecorder; nothing but episode events and steps is deserialised."""

    def __init__(self):
        super().__init__("episode_logger")
        config = declare(self, RecorderConfig)
        self._diagnostics, self._trouble = Diagnostics(self), ""
        recorded = dict(topics.RECORDED)
        if config.image_source == "raw":
            del recorded[topics.IMAGE_COMPRESSED]
            recorded[topics.IMAGE] = "sensor_msgs/msg/Image"
        self._types = {self.resolve_topic_name(topic): type_name for topic, type_name in recorded.items()}
        self._recorder = EpisodeRecorder(config, self._report, self._renamed(recorded))
        # Ready subscriptions are served in the order of their creation: the start of an episode comes first.
        for topic in sorted(recorded, key=lambda t: t != topics.EPISODE_EVENT):
            type_name, name = recorded[topic], self.resolve_topic_name(topic)
            receive = partial(self._receive, name, type_name)
            qos = RELIABLE_QOS if topic in RELIABLE else BEST_EFFORT_QOS
            self.create_subscription(message_class(type_name), topic, receive, qos, raw=True)
        # The services wait for the recorder's thread as coroutines. In a group of their own they hold up each other,
        # but no subscription.
        apart = MutuallyExclusiveCallbackGroup()
        self.create_service(StartEpisode, "~/start", self._start, callback_group=apart)
        self.create_service(StopEpisode, "~/stop", self._stop, callback_group=apart)
        self.create_service(Trigger, "~/discard", self._discard, callback_group=apart)
        self.create_service(LabelEpisode, "~/label", self._label, callback_group=apart)
        self._episodes = EpisodeServices(self, self._recorder.folder)
        steady_timer(self, 1.0, self._recorder.check)
        steady_timer(self, 0.5, self._watch_types)
        steady_timer(self, 1.0, self._diagnose)
        self.get_logger().info(f"ready: recording to {self._recorder.folder.resolve()}")

    def unfinished(self) -> bool:
        """A signal to all nodes at once: whoever plays an episode is about to end it."""
        return self._recorder.awaits_end() and self.count_publishers(topics.EPISODE_EVENT) > 0

    def close(self):
        """Close the bags that are open."""
        self._episodes.close()
        self._recorder.close()

    def _renamed(self, recorded) -> dict[str, str]:
        """What we call the topics that are remapped, by the names that they have here."""
        pairs = [(self.resolve_topic_name(t), f"{self.get_namespace().rstrip('/')}/{t}") for t in recorded]
        if topics.IMAGE in recorded:  # they are recorded compressed
            pairs += [(f"{a}/compressed", f"{b}/compressed") for a, b in pairs if b.endswith(topics.IMAGE)]
        return {name: ours for name, ours in pairs if name != ours}

    def _receive(self, topic: str, type_name: str, raw: bytes, info: dict) -> None:
        number = info.get("publication_sequence_number") or 0
        self._recorder.receive(Received(topic, type_name, raw, self.get_clock().now().nanoseconds, number))

    def _watch_types(self) -> None:
        """DDS connects no publisher of another type, so only the graph shows that there is one."""
        for topic, type_name in self._types.items():
            foreign = []
            for publisher in self.get_publishers_info_by_topic(topic):
                type_hash = str(publisher.topic_type_hash)
                node = full_name(publisher.node_name, publisher.node_namespace)
                if publisher.topic_type != type_name:
                    foreign.append(f"{publisher.topic_type} of node {node}")
                elif type_hash.startswith("RIHS01_") and type_hash != types.type_hash(type_name):
                    foreign.append(f"another definition of {type_name} of node {node}")
            self._recorder.watch_type(topic, ", ".join(sorted(foreign)))

    def _report(self, problem: bool, text: str) -> None:
        self._trouble = text if problem else ""
        # Two lines: rclpy allows one severity per line of code.
        if problem:
            self.get_logger().warning(text)
        else:
            self.get_logger().info(text)

    def _diagnose(self) -> None:
        """The last trouble, until something is recorded or discarded without."""
        folder, trouble = self._recorder.folder, self._trouble
        self._diagnostics.publish("recording", WARN if trouble else OK, trouble or f"ready to record to {folder}", {})

    async def _start(self, request, response):
        try:
            info = EpisodeInfo(request.episode_id, request.task, request.goal_id, request.source or "operator")
            path = await _result(self._recorder.start(info, self.get_clock().now().nanoseconds))
            response.success, response.episode_id, response.path = True, path.name, str(path)
        except AmRosError as error:
            response.message = str(error)
        return response

    async def _stop(self, request, response):
        try:
            outcome = Outcome(request.outcome)
            closed = await _result(self._recorder.stop(outcome, request.reason or "stopped"))
            response.success, response.path, response.messages = True, str(closed.path), closed.messages
        except AmRosError as error:
            response.message = str(error)
        except ValueError:
            response.message = f"outcome {request.outcome} is not one of EpisodeEvent's OUTCOME_*"
        return response

    async def _discard(self, _request, response):
        try:
            response.message = f"discarded {await _result(self._recorder.discard())}"
            response.success = True
        except AmRosError as error:
            response.message = str(error)
        return response

    async def _label(self, request, response):
        try:
            response.path = str(await _result(self._recorder.label(request.episode_id, request.label)))
            response.success = True
            self._episodes.noticed()
            self.get_logger().info(f"{response.path}: {request.label}")
        except AmRosError as error:
            response.message = str(error)
        return response


async def _result(future):
    await completed(future)
    return future.result()


def main(args=None) -> int:
    return run(EpisodeLogger, "episode_logger", args)


if __name__ == "__main__":
    sys.exit(main())

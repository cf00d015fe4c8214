"""What the nodes of a cell say, kept as the page shows it. Without a browser hardly anything is listened to."""

import math
import time
from collections import deque

from am_msgs.msg import ControllerStatus
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, JointState

from am_ros import topics
from am_ros.episode import gripper_opening, yaw_of_quaternion
from am_ros.page.frames import Frames
from am_ros.page.source import CAMERA, ERROR, OK, STALE, VIEW, WARN, CellState, Light, NodeState
from am_ros.ros.introspection.names import full_name
from am_ros.ros.messages.acting import ActingConfig
from am_ros.ros.node.clocks import steady_timer
from am_ros.ros.node.common import LATCHED_QOS, SENSOR_QOS, UNWAITED_JOINTS_QOS
from am_ros.ros.node.unwaited import Unwaited, take_all

# The newest one counts: a page that is late wants no others.
NEWEST_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT, history=HistoryPolicy.KEEP_LAST)
ADAPT_S = 0.25  # from the first look of a browser to the first message
STALE_S = 5.0  # a node reports once a second
STATUS_STALE_S = 1.0  # the controller does ten times a second
GRAPH_S = 2.0  # between two looks at the graph, while a browser is open
LEFT_S = 10.0  # a page that is loaded anew is gone for a second: what it wants is not given up at once
NO_VIEW_S = 12.0  # without a larger view for so long there is none: the slowest camera gives one in ten seconds
MAX_IMAGE = 8_000_000  # bytes
MAX_LIGHTS = 200
LEVELS = {DiagnosticStatus.OK: OK, DiagnosticStatus.WARN: WARN, DiagnosticStatus.ERROR: ERROR}
STATES = {
    ControllerStatus.INACTIVE: "inactive", ControllerStatus.IDLE: "idle", ControllerStatus.MOVING: "moving",
    ControllerStatus.PROTECTIVE_STOP: "protective stop",
}  # fmt: skip


class CellListener:
    """Subscriptions of a node that come and go with the browsers; `state` at any time, from any thread."""

    def __init__(self, node, frames: Frames, acting: ActingConfig):
        self._node, self._frames = node, frames
        self._fingers = acting.finger_names, acting.finger_open, acting.finger_closed
        self.watched, self._watched_s = False, -math.inf
        self.lookers: dict[str, bool] = {CAMERA: False, VIEW: False}
        # What comes up to a hundred times a second is looked at four times a second.
        self._polled: dict[str, tuple] = {
            topics.EE_POSE: (PoseStamped, self._on_pose, NEWEST_QOS),
            topics.JOINT_STATES: (JointState, self._on_joints, UNWAITED_JOINTS_QOS),
            topics.GRIPPER_STATES: (JointState, self._on_joints, UNWAITED_JOINTS_QOS),
        }
        self._unwaited = Unwaited()
        self._subscriptions: dict[str, Subscription] = {}
        self._status: tuple[ControllerStatus, float] | None = None
        self._pose: PoseStamped | None = None
        self._opening: float | None = None
        self._lights: dict[str, tuple[DiagnosticStatus, float]] = {}
        self._listening_s = -math.inf  # since when, to diagnostics
        self._arrivals: deque[float] = deque(maxlen=40)
        self._view_s = -math.inf  # when the last larger view came
        self._nodes: tuple[NodeState, ...] = ()
        self._graph_s = -math.inf
        steady_timer(node, ADAPT_S, self._adapt)

    def look(self, camera: str, whether: bool) -> None:
        """A browser begins or ends to look at a camera."""
        self.lookers[camera] = whether

    def state(self) -> CellState:
        """Everything that is known now."""
        now_s, status = time.monotonic(), self._status
        fresh = status is not None and now_s - status[1] < STATUS_STALE_S
        said = status[0] if status is not None and fresh else None
        pose = self._pose if fresh else None
        arrivals = list(self._arrivals)
        span_s = arrivals[-1] - arrivals[0] if len(arrivals) > 1 else 0.0
        p, q = (pose.pose.position, pose.pose.orientation) if pose else (None, None)
        return CellState(
            arm=STATES.get(said.state, "unknown") if said else "",
            reason=said.reason if said else "",
            commander=said.commander if said else "",
            reduced=bool(said and said.reduced),
            position_m=(p.x, p.y, p.z) if p else None,
            yaw_rad=yaw_of_quaternion(q.x, q.y, q.z, q.w) if q else math.nan,
            gripper_opening=self._opening if fresh else None,
            image_age_s=now_s - arrivals[-1] if arrivals else None,
            image_hz=(len(arrivals) - 1) / span_s if span_s else 0.0,
            nodes=self._nodes,
            lights=tuple(self._light(name, *self._lights[name], now_s) for name in sorted(self._lights)),
        )

    def heard_s(self, node: str) -> float:
        """Seconds since the node reported on /diagnostics, or since that is listened to; infinite: it is not."""
        lights = list(self._lights.items())
        heard = [at for name, (_, at) in lights if name.partition(":")[0].rpartition("/")[2] == node]
        return time.monotonic() - max(heard, default=self._listening_s)

    def _light(self, name: str, status: DiagnosticStatus, at_s: float, now_s: float) -> Light:
        age_s = now_s - at_s
        level = STALE if age_s > STALE_S else LEVELS.get(status.level, ERROR)
        values = tuple((pair.key, pair.value) for pair in status.values)
        return Light(name, level, status.message, values, age_s)

    # -- in the executor

    def _adapt(self) -> None:
        """Have just the subscriptions that somebody wants; they may be made and destroyed in this thread alone."""
        now_s = time.monotonic()
        if self.watched:
            self._watched_s = now_s
        wanted = {}
        if now_s - self._watched_s < LEFT_S:
            wanted = {
                topics.DIAGNOSTICS: (DiagnosticArray, self._on_diagnostics, 10),
                topics.CONTROLLER_STATUS: (ControllerStatus, self._on_status, LATCHED_QOS),
                **self._polled,
            }
            if self.lookers[CAMERA] or self.lookers[VIEW]:
                wanted[topics.IMAGE_COMPRESSED] = CompressedImage, self._on_image, SENSOR_QOS
            if self.lookers[VIEW]:
                wanted[topics.IMAGE_VIEW] = CompressedImage, self._on_view, NEWEST_QOS
        for name in self._subscriptions.keys() - wanted.keys():
            self._node.destroy_subscription(self._subscriptions.pop(name))
            self._forget(name)
        for name in wanted.keys() - self._subscriptions.keys():
            message_type, take, qos = wanted[name]
            group = self._unwaited if name in self._polled else None
            self._subscriptions[name] = self._node.create_subscription(
                message_type, name, take, qos, callback_group=group
            )
            if name == topics.DIAGNOSTICS:
                self._listening_s = now_s
        take_all(self._subscriptions[name] for name in self._polled.keys() & self._subscriptions.keys())
        if wanted and now_s - self._graph_s > GRAPH_S:
            self._graph_s = now_s
            self._nodes = self._look_at_graph()

    def _forget(self, name: str) -> None:
        """What is not listened to is not known."""
        if name == topics.IMAGE_COMPRESSED:
            self._arrivals.clear()
        elif name == topics.DIAGNOSTICS:
            self._lights.clear()
            self._listening_s = -math.inf
        elif name == topics.CONTROLLER_STATUS:
            self._status = self._pose = None

    def _look_at_graph(self) -> tuple[NodeState, ...]:
        states = {}
        for status, _ in self._lights.values():
            if status.name.endswith("bringup: lifecycle"):
                states = {pair.key: pair.value for pair in status.values}
        names = sorted(full_name(name, space) for name, space in self._node.get_node_names_and_namespaces())
        return tuple(NodeState(name, states.get(name.rpartition("/")[2], "")) for name in dict.fromkeys(names))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        now_s = time.monotonic()
        for status in message.status:
            if status.name in self._lights or len(self._lights) < MAX_LIGHTS:
                self._lights[status.name] = status, now_s

    def _on_status(self, message: ControllerStatus) -> None:
        self._status = message, time.monotonic()

    def _on_pose(self, message: PoseStamped) -> None:
        self._pose = message

    def _on_joints(self, message: JointState) -> None:
        opening = gripper_opening(message.name, message.position, *self._fingers)
        if opening is not None:  # arm and gripper may publish their joints apart
            self._opening = opening

    def _on_image(self, message: CompressedImage) -> None:
        data = bytes(message.data)
        if len(data) > MAX_IMAGE:
            return
        self._arrivals.append(time.monotonic())
        self._frames.put(CAMERA, data)
        # A camera that gives no larger view shows all there is already; its topic may be there, and nothing on it.
        if self.lookers[VIEW] and time.monotonic() - self._view_s > NO_VIEW_S:
            self._frames.put(VIEW, data)

    def _on_view(self, message: CompressedImage) -> None:
        data = bytes(message.data)
        if len(data) <= MAX_IMAGE:
            self._view_s = time.monotonic()
            self._frames.put(VIEW, data)

"""What the Cartesian controller says: its status, diagnostics, the tool's pose, results."""

import time

from am_msgs.action import MoveCartesian
from am_msgs.msg import ControllerStatus
from geometry_msgs.msg import Pose, PoseStamped

from am_ros import topics
from am_ros.control.controller import ControllerConfig
from am_ros.control.kinematics import Kinematics
from am_ros.control.motion import End
from am_ros.control.supervision import Supervision
from am_ros.ros.node.common import LATCHED_QOS, RELIABLE_QOS, from_ns
from am_ros.ros.node.diagnostics import ERROR, OK, WARN, Diagnostics

INACTIVE = "inactive: activate the controller first"


class ControllerReport:
    """Publishes for the node, which says whether it is active and whether the arm moves."""

    def __init__(self, node, config: ControllerConfig, kinematics: Kinematics, safety: Supervision):
        self._node, self._config, self._kinematics, self._safety = node, config, kinematics, safety
        self._status = ControllerStatus(reduced=config.guard.reduced)
        self._last_pose_s = float("-inf")
        self._start = "commanded joint angles"
        self._noted: set[str] = set()
        self._pose_pub = node.create_publisher(PoseStamped, topics.EE_POSE, RELIABLE_QOS)
        self._status_pub = node.create_publisher(ControllerStatus, topics.CONTROLLER_STATUS, LATCHED_QOS)
        self._diagnostics = Diagnostics(node)

    def result(self, end: End, reason: str, duration_s: float = 0.0) -> MoveCartesian.Result:
        """The result of a step, which counts."""
        self._status.reason = reason
        self._status.steps_done += end == End.DONE
        self._status.steps_refused += end == End.REFUSED
        state = self._safety.state
        result = MoveCartesian.Result(end=int(end), reason=reason, duration=duration_s)
        result.stamp = from_ns(state.stamp_ns)
        result.gripper_opening = float("nan") if state.opening is None else state.opening
        if state.q is not None:
            result.ee_pose = self._pose()
        return result

    def measured(self) -> None:
        """A joint state was taken: publish the measured pose of the tool, unless that was done just now."""
        now_s, state = time.monotonic(), self._safety.state
        for note in state.notes():
            kind = note.partition(":")[0]
            if kind not in self._noted:  # each once
                self._noted.add(kind)
                self._node.get_logger().warning(note)
        if now_s - self._last_pose_s >= 0.9 / self._config.ee_pose_rate_hz:
            self._last_pose_s = now_s
            pose = PoseStamped(pose=self._pose())
            pose.header.stamp, pose.header.frame_id = from_ns(state.stamp_ns), self._config.base_frame
            self._pose_pub.publish(pose)

    def start(self, sentence: str) -> None:
        """Why a step does not begin where the arm was told to be."""
        self._start = sentence
        self._node.get_logger().info(sentence)

    def all_is_well(self) -> None:
        """What was wrong is over."""
        self._status.reason = ""

    def status(self, active: bool, moving: bool, note: str = "") -> None:
        """Publish the status; `note` is what there is to say of the motion under way."""
        status, safety, now_s = self._status, self._safety, time.monotonic()
        idle = safety.state.fault(now_s) if active else INACTIVE
        if safety.stop.cause:
            status.state, status.reason = ControllerStatus.PROTECTIVE_STOP, safety.stop.cause
        elif moving:
            status.state, status.reason = ControllerStatus.MOVING, note
        elif idle:
            status.state, status.reason = ControllerStatus.INACTIVE, idle
        else:
            if status.state == ControllerStatus.INACTIVE:
                status.reason = ""
            status.state = ControllerStatus.IDLE
        status.commander = safety.lease.holder(now_s)
        status.header.stamp = self._node.get_clock().now().to_msg()
        self._status_pub.publish(status)

    def diagnostics(self, active: bool) -> None:
        """Publish on /diagnostics: ERROR in a protective stop, WARN while no step would be taken."""
        safety, status, now_s = self._safety, self._status, time.monotonic()
        idle = safety.state.fault(now_s) if active else INACTIVE
        level, message = (WARN, idle) if idle else (OK, "ready")
        notes = "; ".join(safety.state.notes())
        if notes and not idle:
            level, message = WARN, notes
        if safety.stop.cause:
            level, message = ERROR, f"protective stop: {safety.stop.cause}"
        values = {
            "commander": safety.lease.holder(now_s),
            "reduced": status.reduced,
            "steps_done": status.steps_done,
            "steps_refused": status.steps_refused,
            "protective_stops": safety.stop.count,
            "stopped_for_s": f"{safety.stop.age_s(now_s):.1f}",
            "clock_jumps": safety.clock_jumps,
            "suspensions": safety.suspensions,
            "last_start": self._start,
        }
        self._diagnostics.publish("arm", level, message, values)

    def _pose(self) -> Pose:
        position, quaternion = self._kinematics.position_and_quaternion(self._safety.state.measured()[0])
        pose = Pose()
        pose.position.x, pose.position.y, pose.position.z = position
        pose.orientation.x, pose.orientation.y, pose.orientation.z, pose.orientation.w = quaternion
        return pose

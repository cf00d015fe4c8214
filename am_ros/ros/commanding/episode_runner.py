"""One episode through ROS: image -> decision -> Step -> MoveCartesian -> the next image, until it ends.

Shared by whoever acts (policy server, scripted expert). `run` blocks and belongs into a thread of its own; the node's
executor meanwhile delivers images, poses and answers.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from am_msgs.action import MoveCartesian
from am_msgs.msg import EpisodeEvent, Observation, Step
from geometry_msgs.msg import Pose, PoseStamped
from sensor_msgs.msg import Image, JointState

from am_ros import images, topics
from am_ros.action import CartesianAction
from am_ros.bags.marks import SequenceGaps
from am_ros.camera.watchdog import Fault, ImageWatch
from am_ros.clock import ClockWatch
from am_ros.control.limits import MotionLimits
from am_ros.diagnostics import LatencyWindow, StampLog
from am_ros.episode import Outcome, check_fingers, check_name, gripper_opening, state_vector, yaw_of_quaternion
from am_ros.errors import AmRosError
from am_ros.ros.commanding.commander import FINAL_REFUSALS, POLL_S, Commander
from am_ros.ros.messages.acting import ActingConfig, Choice, Ended, Label, Seen, action_message
from am_ros.ros.node.common import IMAGES_QOS, RELIABLE_QOS, SENSOR_QOS, from_ns, subscribe_joints, to_ns
from am_ros.ros.node.single_goal import Cancellation
from am_ros.ros.node.unwaited import Unwaited, take_all


@dataclass
class _Open:
    """An episode that is under way, as far as it has been published."""

    label: Label
    seen: Seen
    steps: int = 0


class EpisodeRunner:
    """Wiring between an actor and the workcell: subscribes images and joint states, commands the controller."""

    def __init__(self, node, config: ActingConfig):
        check_fingers(config.finger_open, config.finger_closed)
        self.node, self.config = node, config
        self.box = MotionLimits(config.workspace_x_m, config.workspace_y_m, config.workspace_z_m)
        self.image_stamps, self.images_missed = StampLog(), 0
        self.latency = LatencyWindow()  # from the stamp of an image to the command that it led to
        self._news = threading.Condition()
        self._image: tuple[Image, np.ndarray] | None = None  # the newest one that may be acted on
        self._opening: float | None = None
        self._pose: PoseStamped | None = None
        self._watch: ImageWatch | None = None  # while an episode runs
        self._watched_since_ns = 0
        self._clock = ClockWatch(config.clock_jump_s)
        self._jump = ""
        self._gaps = SequenceGaps()
        node.create_subscription(Image, topics.IMAGE, self._on_image, IMAGES_QOS)
        self._unwaited = subscribe_joints(node, self._on_joints, group := Unwaited())
        self._unwaited.append(
            node.create_subscription(PoseStamped, topics.EE_POSE, self._on_pose, SENSOR_QOS, callback_group=group)
        )
        self._steps = node.create_publisher(Step, topics.STEP, RELIABLE_QOS)
        self._events = node.create_publisher(EpisodeEvent, topics.EPISODE_EVENT, RELIABLE_QOS)
        self._commander = Commander(node, config)
        self._open: _Open | None = None  # the episode whose START is out, and whose END is not
        self._open_lock = threading.Lock()

    def run(
        self,
        label: Label,
        act: Callable[[Seen, int], Choice],
        max_steps: int,
        cancelled: Cancellation,
        judge: Callable[[], Outcome] = lambda: Outcome.UNKNOWN,
        on_step: Callable[[int, Choice], None] = lambda index, choice: None,
        image_size: tuple[int, int] | None = None,
    ) -> Ended:
        """Act until the actor terminates, `max_steps`, `cancelled`, or a fault; publish every Step and both events.

        `image_size` (height, width) is what images must have; None: as the first one. Raises AmRosError if the episode
        cannot begin (no image, no controller, a bad name).
        """
        check_name(label.episode_id, "episode id")
        with self._commander.commanding(cancelled), self._watching(image_size):
            seen = self._observe(self._now())
            self._begin(label, seen)
            steps, refusals, reason, fault, outcome = 0, 0, "step_limit", False, Outcome.UNKNOWN
            try:
                while steps < max_steps:
                    while not cancelled.wanted() and not cancelled.wait(POLL_S):
                        self._raise_fault()
                    if cancelled.is_set():
                        reason = cancelled.reason
                        break
                    choice = act(seen, steps)
                    action = self._inside(seen, choice.action)
                    self._publish_step(label, steps, seen, action, choice)
                    on_step(steps, choice)
                    steps += 1
                    if action.terminate:
                        reason = "terminated"
                        break
                    result = self._move(seen, action, cancelled)
                    refusals = refusals + 1 if result.end == MoveCartesian.Result.REFUSED else 0
                    stopped = result.end == MoveCartesian.Result.STOPPED and not cancelled.is_set()
                    final = refusals and result.reason.startswith(FINAL_REFUSALS)
                    if stopped or final or refusals >= self.config.max_refusals:
                        raise AmRosError(result.reason)
                    seen = self._observe(max(to_ns(result.stamp), to_ns(seen.message.image_stamp)))
                outcome = judge()
            except AmRosError as error:
                reason, fault = str(error), True
        self._finish(EpisodeEvent.END, reason, outcome, seen)
        return Ended(reason, fault, steps, seen)

    def close(self, reason: str) -> None:
        """End the episode of a thread that did not do so in time, when the node ends; else the bag stays open."""
        self._finish(EpisodeEvent.END, reason)

    @contextmanager
    def _watching(self, image_size) -> Iterator[None]:
        """Watch images and clock anew, for one episode."""
        with self._news:
            self._image, self._clock, self._jump = None, ClockWatch(self.config.clock_jump_s), ""
            self._watch = ImageWatch(self.config.images, time.monotonic(), image_size)
            self._watched_since_ns = self._now()
        try:
            yield
        finally:
            with self._news:
                self._watch = None

    def _fault(self) -> str | None:
        """What ends the episode now: the clock, the images, or the controller; None while all is well."""
        with self._news:
            take_all(self._unwaited)
            now_s = time.monotonic()
            # A process that got no processor for a while finds all silent at once: the first to be overdue is told.
            images_s = min(now_s, self._commander.overdue_s)
            images = self._watch.fault if self._watch else lambda _: None
            return self._clock_fault(now_s) or images(images_s) or self._commander.fault(now_s)

    def _raise_fault(self) -> None:
        fault = self._fault()
        if fault:
            raise AmRosError(fault)

    def _clock_fault(self, now_s: float) -> str:
        jump_s = self._clock.update(self._now(), now_s)
        if jump_s and not self._jump:
            self._jump = f"clock_jump: the clock of the stamps jumped by {jump_s:+.1f} s"
        return self._jump

    def _observe(self, after_ns: int) -> Seen:
        """The first observation whose image and pose were taken after `after_ns` on the node's clock."""
        timeout_s = self.config.images.image_timeout_s
        deadline_s = time.monotonic() + timeout_s
        with self._news:
            while (newest := self._newest(after_ns)) is None:
                self._raise_fault()
                if time.monotonic() > deadline_s:
                    raise AmRosError(self._unseen(timeout_s, after_ns))
                self._news.wait(POLL_S)
            self._raise_fault()
        image, rgb, pose, opening = newest
        p, q = pose.position, pose.orientation
        message = Observation(image_stamp=image.header.stamp, ee_pose=pose, gripper_opening=opening)
        state = state_vector((p.x, p.y, p.z), yaw_of_quaternion(q.x, q.y, q.z, q.w), opening)
        return Seen(rgb, state, (p.x, p.y, p.z), message)

    def _newest(self, after_ns: int) -> tuple[Image, np.ndarray, Pose, float] | None:
        """Image, pose and opening; None while one has not come, or image or pose is not later than that.

        They come by different ways: the image of a scene that was just reset may be here before the pose in it.
        """
        take_all(self._unwaited)
        if self._image is None or self._pose is None or self._opening is None:
            return None
        (image, rgb), pose = self._image, self._pose
        if min(to_ns(image.header.stamp), to_ns(pose.header.stamp)) <= after_ns:
            return None
        return image, rgb, pose.pose, self._opening

    def _unseen(self, timeout_s: float, after_ns: int) -> str:
        """What was waited for in vain."""
        for topic, value in ((topics.EE_POSE, self._pose), (topics.JOINT_STATES, self._opening)):
            if value is None:
                return f"nothing_came: topic {topic}: nothing came yet"
        late = f"is stamped later than the motion (waited {timeout_s:g} s): the clocks differ"
        if self._pose is not None and to_ns(self._pose.header.stamp) <= after_ns:
            return f"pose_stale: topic {topics.EE_POSE}: no pose {late}"
        return f"image_stale: topic {topics.IMAGE}: no image {late}"

    def _inside(self, seen: Seen, action: CartesianAction) -> CartesianAction:
        """The action as it is sent: within the box. What is not finite never leaves."""
        if not all(map(math.isfinite, (*action.translation_m, action.rotation_z_rad))):
            raise AmRosError(f"action_not_finite: the actor chose {action.translation_m}, {action.rotation_z_rad}")
        return self.box.keep_inside(seen.position_m, action)

    def _move(self, seen: Seen, action: CartesianAction, cancelled: threading.Event) -> MoveCartesian.Result:
        now_ns = self._now()
        self.latency.add((now_ns - to_ns(seen.message.image_stamp)) / 1e6)
        return self._commander.step(action, from_ns(now_ns), self._fault, cancelled)

    def _publish_step(self, label: Label, index: int, seen: Seen, action: CartesianAction, choice: Choice) -> None:
        step = Step(
            episode_id=label.episode_id,
            index=index,
            observation=seen.message,
            action=action_message(action),
            q_value=float(choice.q_value),
            decision_ms=float(choice.decision_ms),
            source=label.source,
        )
        self._stamp(step)
        self._steps.publish(step)
        if self._open is not None:  # close() may have ended it meanwhile
            self._open.seen, self._open.steps = seen, index + 1

    def _begin(self, label: Label, seen: Seen) -> None:
        self._publish_event(label, EpisodeEvent.START, seen)
        self._open = _Open(label, seen)

    def _finish(self, kind: int, reason: str, outcome=Outcome.UNKNOWN, seen: Seen | None = None) -> None:
        """Publish the event that ends the episode, unless that was done already; `seen`: None: at the last step."""
        with self._open_lock:
            ended, self._open = self._open, None
        if ended is not None:
            self._publish_event(ended.label, kind, seen or ended.seen, ended.steps, outcome, reason)

    def _publish_event(self, label, kind, seen, steps=0, outcome=Outcome.UNKNOWN, reason="") -> None:
        event = EpisodeEvent(
            type=kind,
            episode_id=label.episode_id,
            task=label.task,
            goal_id=label.goal_id,
            source=label.source,
            seed=label.seed,
            steps=steps,
            observation=seen.message,
            outcome=int(outcome),
            reason=reason,
        )
        self._stamp(event)
        self._events.publish(event)

    def _stamp(self, message) -> None:
        message.header.stamp = from_ns(self._now())
        message.header.frame_id = self.config.base_frame

    def _now(self) -> int:
        return self.node.get_clock().now().nanoseconds

    def _on_image(self, image: Image, info: dict) -> None:
        self.images_missed += self._gaps.lost_before(info.get("publication_sequence_number") or 0)
        with self._news:
            stamp_ns = to_ns(image.header.stamp)
            self.image_stamps.add(stamp_ns)
            if self._watch is None or self._clock_fault(time.monotonic()):
                return
            try:
                rgb = images.array_from_image(image)
            except AmRosError as error:
                self._watch.bad(Fault("image_malformed", str(error)))
                return
            if self._watch.image(rgb, stamp_ns, self._now(), time.monotonic()):
                self._image = image, rgb
            self._news.notify_all()

    def _on_joints(self, joints: JointState) -> None:
        fingers, opened, closed = self.config.finger_names, self.config.finger_open, self.config.finger_closed
        opening = gripper_opening(joints.name, joints.position, fingers, opened, closed)
        if opening is not None:  # arm and gripper may publish their joints apart
            self._opening = opening

    def _on_pose(self, pose: PoseStamped) -> None:
        with self._news:
            self._pose, stamp_ns = pose, to_ns(pose.header.stamp)
            # One from before a simulator was reset, which comes late, would look as if the arm moved and the image not.
            if self._watch is not None and stamp_ns > self._watched_since_ns:
                p = pose.pose.position
                self._watch.pose((p.x, p.y, p.z), stamp_ns)

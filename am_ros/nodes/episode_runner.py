"""One episode through ROS: image -> decision -> Step -> MoveCartesian -> the next image, until it ends.

Shared by whoever acts (policy server, scripted expert). `run` blocks and belongs into a thread of its own; the node's
executor meanwhile delivers images, poses and answers.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from am_msgs.action import MoveCartesian
from am_msgs.msg import EpisodeEvent, Observation, Step
from geometry_msgs.msg import PoseStamped
from rclpy.action import ActionClient
from sensor_msgs.msg import Image, JointState

from am_ros import images, topics
from am_ros.action import CartesianAction
from am_ros.configuration import parameter
from am_ros.control.limits import MotionLimits
from am_ros.diagnostics import StampLog
from am_ros.episode import Outcome, check_name, gripper_opening, state_vector, yaw_of_quaternion
from am_ros.errors import AmRosError
from am_ros.nodes.acting import Choice, Ended, Label, Seen, action_message
from am_ros.nodes.common import RELIABLE_QOS, SENSOR_QOS, from_ns, in_executor, to_ns


@dataclass(frozen=True)
class ActingConfig:
    """What acting needs to know of the workcell."""

    base_frame: str = parameter("base_link", "frame of actions and poses")
    workspace_x_m: tuple[float, float] = parameter(
        MotionLimits.workspace_x_m, "box the actor keeps its steps in, along x [m]", range=(-2, 2)
    )
    workspace_y_m: tuple[float, float] = parameter(MotionLimits.workspace_y_m, "box along y [m]", range=(-2, 2))
    workspace_z_m: tuple[float, float] = parameter(MotionLimits.workspace_z_m, "box along z [m]", range=(-2, 2))
    finger_names: tuple[str, ...] = parameter(
        ("finger_left_joint", "finger_right_joint"), "gripper joints in joint_states"
    )
    finger_stroke_m: float = parameter(0.045, "position of one finger joint when fully open [m]", range=(1e-3, 1.0))
    image_timeout_s: float = parameter(2.0, "wait so long for an image newer than the motion [s]", range=(0.05, 60.0))
    motion_timeout_s: float = parameter(15.0, "wait so long for the controller's answer [s]", range=(0.1, 300.0))
    max_refusals: int = parameter(5, "steps refused in a row before the episode ends with a fault", range=(1, 100))


class EpisodeRunner:
    """Wiring between an actor and the workcell: subscribes images and joint states, commands the controller."""

    def __init__(self, node, config: ActingConfig):
        self.node, self.config = node, config
        self.box = MotionLimits(config.workspace_x_m, config.workspace_y_m, config.workspace_z_m)
        self._news = threading.Condition()
        self._image: Image | None = None
        self._opening: float | None = None
        self._pose: PoseStamped | None = None
        self.image_stamps = StampLog()
        node.create_subscription(Image, topics.IMAGE, self._on_image, SENSOR_QOS)
        node.create_subscription(JointState, topics.JOINT_STATES, self._on_joints, SENSOR_QOS)
        node.create_subscription(PoseStamped, topics.EE_POSE, self._on_pose, SENSOR_QOS)
        self._steps = node.create_publisher(Step, topics.STEP, RELIABLE_QOS)
        self._events = node.create_publisher(EpisodeEvent, topics.EPISODE_EVENT, RELIABLE_QOS)
        self._mover = ActionClient(node, MoveCartesian, "cartesian_controller/move_cartesian")

    def run(
        self,
        label: Label,
        act: Callable[[Seen, int], Choice],
        max_steps: int,
        cancelled: threading.Event,
        judge: Callable[[], Outcome] = lambda: Outcome.UNKNOWN,
        on_step: Callable[[int, Choice], None] = lambda index, choice: None,
    ) -> Ended:
        """Act until the actor terminates, `max_steps`, `cancelled`, or a fault; publish every Step and both events.

        Raises AmRosError if the episode cannot begin (no image, no controller, a bad name).
        """
        check_name(label.episode_id, "episode id")
        if not self._mover.wait_for_server(timeout_sec=self.config.motion_timeout_s):
            raise AmRosError("action cartesian_controller/move_cartesian: no controller answers")
        seen = self._observe(self._now())
        self._publish_event(label, EpisodeEvent.START, seen)
        steps, refusals, reason, fault = 0, 0, "step_limit", False
        try:
            while steps < max_steps:
                if cancelled.is_set():
                    reason = "cancelled"
                    break
                choice = act(seen, steps)
                action = self.box.keep_inside(seen.position_m, choice.action)
                self._publish_step(label, steps, seen, action, choice)
                on_step(steps, choice)
                steps += 1
                if action.terminate:
                    reason = "terminated"
                    break
                result = self._move(action, cancelled)
                refusals = refusals + 1 if result.end == MoveCartesian.Result.REFUSED else 0
                stopped = result.end == MoveCartesian.Result.STOPPED and not cancelled.is_set()
                if stopped or refusals >= self.config.max_refusals:
                    raise AmRosError(f"cartesian_controller: {result.reason}")
                seen = self._observe(max(to_ns(result.stamp), to_ns(seen.message.image_stamp)))
        except AmRosError as error:
            reason, fault = str(error), True
        outcome = Outcome.UNKNOWN if fault else judge()
        self._publish_event(label, EpisodeEvent.END, seen, steps, outcome, reason)
        return Ended(reason, fault, steps, seen)

    def _observe(self, after_ns: int) -> Seen:
        """The first observation whose image was taken after `after_ns` on the node's clock."""
        deadline = time.monotonic() + self.config.image_timeout_s

        def ready():
            return self._image is not None and to_ns(self._image.header.stamp) > after_ns

        with self._news:
            if not self._news.wait_for(ready, deadline - time.monotonic()):
                age = "none came" if self._image is None else "the newest is older than the last motion"
                raise AmRosError(f"topic {topics.IMAGE}: no new image for {self.config.image_timeout_s} s ({age})")
            for topic, value in ((topics.EE_POSE, self._pose), (topics.JOINT_STATES, self._opening)):
                if value is None:
                    raise AmRosError(f"topic {topic}: nothing came yet")
            image, pose, opening = self._image, self._pose.pose, self._opening
        rgb = images.array_from_image(image)
        fault = images.fault_of(rgb)
        if fault:
            raise AmRosError(f"topic {topics.IMAGE}: {fault}")
        p, q = pose.position, pose.orientation
        message = Observation(image_stamp=image.header.stamp, ee_pose=pose, gripper_opening=opening)
        state = state_vector((p.x, p.y, p.z), yaw_of_quaternion(q.x, q.y, q.z, q.w), opening)
        return Seen(rgb, state, (p.x, p.y, p.z), message)

    def _move(self, action: CartesianAction, cancelled: threading.Event) -> MoveCartesian.Result:
        deadline = time.monotonic() + self.config.motion_timeout_s
        goal = MoveCartesian.Goal(action=action_message(action))
        handle = self._wait(self._in_executor(lambda: self._mover.send_goal_async(goal)), deadline)
        if not handle.accepted:
            raise AmRosError("cartesian_controller: rejected the step (busy or stopped)")
        future = self._in_executor(handle.get_result_async)
        cancel_sent = False
        while not future.done():
            if cancelled.is_set() and not cancel_sent:
                self._in_executor(handle.cancel_goal_async)
                cancel_sent = True
            self._wait(future, deadline, poll_s=0.05)
        return future.result().result

    def _in_executor(self, function):
        return in_executor(self.node.executor, function, self.config.motion_timeout_s)

    def _wait(self, future, deadline: float, poll_s: float | None = None):
        """Wait for a future that the node's executor completes; AmRosError after the deadline."""
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        left = deadline - time.monotonic()
        if not done.wait(max(0.0, left if poll_s is None else min(left, poll_s))) and time.monotonic() >= deadline:
            raise AmRosError(f"cartesian_controller: no answer within {self.config.motion_timeout_s} s")
        return future.result() if future.done() else None

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

    def _on_image(self, image: Image) -> None:
        with self._news:
            self._image = image
            self.image_stamps.add(to_ns(image.header.stamp))
            self._news.notify_all()

    def _on_joints(self, joints: JointState) -> None:
        fingers, stroke = self.config.finger_names, self.config.finger_stroke_m
        opening = gripper_opening(joints.name, joints.position, fingers, stroke)
        if opening is not None:  # arm and gripper may publish their joints apart
            self._opening = opening

    def _on_pose(self, pose: PoseStamped) -> None:
        self._pose = pose

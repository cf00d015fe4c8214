"""Goal registry: stores what the camera sees now as a goal image, hands goals out, compares them with today's.

Services ~/record, list, get, get_view, delete, check.
"""

import sys
import time
from dataclasses import dataclass

import numpy as np
from am_msgs.srv import DeleteGoal, GetGoal, ListGoals, RecordGoal
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState

from am_ros import topics
from am_ros.camera.watchdog import pixel_fault
from am_ros.configuration import parameter
from am_ros.episode import (
    FINGER_CLOSED,
    FINGER_OPEN,
    FINGER_RANGE,
    check_fingers,
    check_name,
    gripper_opening,
)
from am_ros.errors import AmRosError
from am_ros.goals import Goal, GoalLibrary
from am_ros.images import array_from_image, fill_image
from am_ros.ros.introspection.current_image import ANY_TIME, CurrentImage, Received
from am_ros.ros.introspection.goal_check import GoalCheck
from am_ros.ros.messages.goal import goal_message
from am_ros.ros.node.clocks import steady_timer
from am_ros.ros.node.common import declare, from_ns, run, subscribe_joints, to_ns
from am_ros.ros.node.unwaited import Unwaited, take_all

HEAR_S = 0.1  # how old a joint state may seem too young


@dataclass(frozen=True)
class GoalRegistryConfig:
    """Where goals are kept and what is refused."""

    folder: str = parameter("~/.ros/am_ros/goals", "folder of the goal library; made if it is not there")
    width: int = parameter(0, "width that images must have [px]; 0: any", range=(0, 4096))
    height: int = parameter(0, "height that images must have [px]; 0: any", range=(0, 4096))
    fresh: bool = parameter(True, "record an image captured after the request; false: the newest one will do")
    fresh_timeout_s: float = parameter(1.0, "wait so long for an image after the request [s]", range=(0.05, 30.0))
    max_age_s: float = parameter(2.0, "older images and joint states are stale [s]", range=(0.05, 60.0))
    require_joint_state: bool = parameter(False, "refuse to record without a current joint state")
    finger_names: tuple[str, ...] = parameter(
        ("finger_left_joint", "finger_right_joint"), "gripper joints in joint_states"
    )
    finger_open: float = parameter(0.045, FINGER_OPEN, range=FINGER_RANGE)
    finger_closed: float = parameter(0.0, FINGER_CLOSED, range=FINGER_RANGE)


class GoalRegistry(Node):
    """Wiring between the services and the GoalLibrary; every refusal is one sentence in `message`."""

    def __init__(self):
        super().__init__("goal_registry")
        self.config = declare(self, GoalRegistryConfig)
        check_fingers(self.config.finger_open, self.config.finger_closed)
        self._library = GoalLibrary(self.config.folder)
        self._joints: dict[tuple[str, ...], Received] = {}  # by their names
        self._image = CurrentImage(self, self.config.fresh_timeout_s, self.config.max_age_s, self._lacks_joints)
        self._unwaited = subscribe_joints(self, self._on_joints, Unwaited())
        steady_timer(self, HEAR_S, lambda: take_all(self._unwaited))
        # A group of its own: while a record waits for its image, the other callbacks go on and the next record waits.
        self.create_service(RecordGoal, "~/record", self._record, callback_group=MutuallyExclusiveCallbackGroup())
        self.create_service(ListGoals, "~/list", self._list)
        self.create_service(GetGoal, "~/get", self._get)
        self.create_service(GetGoal, "~/get_view", self._get_view)
        self.create_service(DeleteGoal, "~/delete", self._delete)
        self._check = GoalCheck(self, self._library, self._image.after, self._pixels, self.config.max_age_s)
        self._named: set[str] = set()
        self.get_logger().info(f"ready: {len(self._whole_goals())} goals in {self._library.folder.resolve()}")

    def close(self) -> None:
        """End the thread that compares."""
        self._check.close()

    def _on_joints(self, message: JointState) -> None:
        """Arm and gripper may publish their joints apart."""
        kept = {names: last for names, last in self._joints.items() if last.age_s <= self.config.max_age_s}
        self._joints = {**kept, tuple(message.name): Received(message, time.monotonic())}
        self._image.wake()

    async def _record(self, request, response):
        try:
            if request.goal_id:
                check_name(request.goal_id, "goal id")  # before waiting: a typing error is told at once
            image = await self._image.after(self._now_ns() if self.config.fresh else ANY_TIME)
            rgb, about = self._pixels(image), self._metadata(request, image)
            goal = self._library.record(request.goal_id, rgb, about, self._check.view())
            response.success, response.goal = True, goal_message(goal)
            response.message = f"recorded {goal.goal_id}: {goal.width}x{goal.height} px" + (
                "" if goal.joint_names else f", without joint state (none on topic {topics.JOINT_STATES})"
            )
            self.get_logger().info(response.message)
        except AmRosError as error:
            response.message = str(error)
            self.get_logger().warning(f"not recorded: {error}")
        return response

    def _lacks_joints(self) -> bool:
        expected = self.config.require_joint_state or self.count_publishers(topics.JOINT_STATES)
        return bool(expected and not self._joints)

    def _pixels(self, image: Image) -> np.ndarray:
        what = f"topic {self.resolve_topic_name(topics.IMAGE)}"
        rgb = array_from_image(image, what)
        height, width = rgb.shape[:2]
        fault = pixel_fault(rgb, (self.config.height or height, self.config.width or width))
        if fault:
            raise AmRosError(f"{what}: {fault.sentence}")
        return rgb

    def _metadata(self, request, image: Image) -> Goal:
        """What the library is to know; size, hash and a name that was left empty are the library's to fill in."""
        names, positions = self._current_joints()
        config = self.config
        return Goal(
            request.goal_id or "unnamed",
            request.note,
            to_ns(image.header.stamp),
            joint_names=names,
            joint_positions=positions,
            gripper_opening=gripper_opening(
                names, positions, config.finger_names, config.finger_open, config.finger_closed
            ),
            focal_px=self._check.focal_px(image.width),
        )

    def _current_joints(self) -> tuple[tuple[str, ...], tuple[float, ...]]:
        """Names and positions; both empty if there is no current joint state and none is required."""
        take_all(self._unwaited)
        topic, ages = self.resolve_topic_name(topics.JOINT_STATES), [last.age_s for last in self._joints.values()]
        current = [last.message for last in self._joints.values() if last.age_s <= self.config.max_age_s]
        if not current:
            if self.config.require_joint_state:
                age = f"the newest came {min(ages):.1f} s ago" if ages else "none came yet"
                raise AmRosError(f"topic {topic}: no current joint state ({age})")
            return (), ()
        names = tuple(name for message in current for name in message.name)
        positions = tuple(position for message in current for position in message.position)
        if len(names) != len(positions) or not np.isfinite(positions).all():
            raise AmRosError(
                f"topic {topic}: {len(names)} names and {len(positions)} positions, of which some are not "
                "finite or not there"
            )
        return names, positions

    def _whole_goals(self) -> list[Goal]:
        """All goals that are not damaged; those that are, are named in the log once."""
        goals, damaged = self._library.list()
        for sentence in damaged:
            if sentence not in self._named:
                self._named.add(sentence)
                self.get_logger().error(sentence)
        return goals

    def _list(self, _request, response):
        try:
            response.goals = [goal_message(goal) for goal in self._whole_goals()]
        except AmRosError as error:  # the folder itself is gone
            self.get_logger().error(str(error))
        return response

    def _get(self, request, response):
        return self._give(request, response, lambda goal, rgb: rgb)

    def _get_view(self, request, response):
        """The larger view, for people; the goal image where the camera gave none."""

        def larger(goal: Goal, rgb: np.ndarray) -> np.ndarray:
            view = self._library.view(goal)
            return rgb if view is None else view

        return self._give(request, response, larger)

    def _give(self, request, response, choose):
        try:
            goal, rgb = self._library.get(request.goal_id)
            rgb = choose(goal, rgb)
            fill_image(response.image, rgb)
            response.image.header.stamp = from_ns(goal.image_stamp_ns)
            response.success, response.goal = True, goal_message(goal)
        except AmRosError as error:
            response.message = str(error)
            self.get_logger().warning(str(error))
        return response

    def _delete(self, request, response):
        try:
            self._library.delete(request.goal_id)
            response.success, response.message = True, f"deleted {request.goal_id}"
            self.get_logger().info(response.message)
        except AmRosError as error:
            response.message = str(error)
        return response

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds


def main(args=None) -> int:
    """Entry point of the console script `goal_registry`."""
    return run(GoalRegistry, "goal_registry", args)


if __name__ == "__main__":
    sys.exit(main())

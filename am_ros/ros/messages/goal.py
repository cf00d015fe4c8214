"""A goal of the library as its message."""

import math

from am_msgs.msg import Goal as GoalMsg

from am_ros.goals import Goal
from am_ros.ros.node.common import from_ns


def goal_message(goal: Goal) -> GoalMsg:
    """A Goal of the library as its message; an unknown gripper opening is NaN."""
    message = GoalMsg(
        goal_id=goal.goal_id,
        note=goal.note,
        image_stamp=from_ns(goal.image_stamp_ns),
        width=goal.width,
        height=goal.height,
        sha256=goal.sha256,
    )
    message.joint_state.header.stamp = message.image_stamp
    message.joint_state.name, message.joint_state.position = list(goal.joint_names), list(goal.joint_positions)
    message.gripper_opening = math.nan if goal.gripper_opening is None else goal.gripper_opening
    return message

"""A gripper behind an action of control_msgs: `gripper_stand_in.py KIND`; topic gripper_mood says what it does.

Moods: well, reject, abort, holds (aborts, stalled, half closed), silent. Its joint is 0 open and 0.79 closed.
"""

import sys

import numpy as np
import rclpy
from control_msgs import action
from rclpy.action import ActionServer, GoalResponse
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.task import Future
from sensor_msgs.msg import JointState
from std_msgs.msg import String

CLOSED_RAD = 0.79


class Gripper(Node):
    """One joint that goes where it is told in a quarter of a second."""

    def __init__(self, kind: str):
        super().__init__("gripper_stand_in")
        self.position, self.target, self.mood, self._arrived = 0.0, 0.0, "well", Future()
        self._states = self.create_publisher(JointState, "gripper_states", 10)
        self.create_subscription(String, "gripper_mood", lambda m: setattr(self, "mood", m.data), 10)
        self.create_timer(0.02, self._tick)
        self._type = {"action": action.GripperCommand, "parallel": action.ParallelGripperCommand}[kind]
        self._server = ActionServer(
            self, self._type, "gripper_controller/gripper_cmd", self._execute, goal_callback=self._on_goal
        )

    def _on_goal(self, _goal):
        return GoalResponse.REJECT if self.mood == "reject" else GoalResponse.ACCEPT

    async def _execute(self, goal):
        command, result = goal.request.command, self._type.Result()
        wanted = command.position[0] if self._type is action.ParallelGripperCommand else command.position
        if self.mood == "abort":
            goal.abort()
            return result
        self.target, self._arrived = min(wanted, 0.5 * CLOSED_RAD) if self.mood == "holds" else wanted, Future()
        await self._arrived
        if self.mood == "holds":
            result.stalled = True
            goal.abort()
        else:
            result.reached_goal = True
            goal.succeed()
        return result

    def _tick(self):
        self.position += float(np.clip(self.target - self.position, -0.06, 0.06))
        if abs(self.target - self.position) < 1e-6 and not self._arrived.done() and self.mood != "silent":
            self._arrived.set_result(None)
        state = JointState(name=["knuckle"], position=[self.position])
        state.header.stamp = self.get_clock().now().to_msg()
        self._states.publish(state)


rclpy.init()
try:
    rclpy.spin(Gripper(sys.argv[1]))
except (KeyboardInterrupt, ExternalShutdownException):
    pass

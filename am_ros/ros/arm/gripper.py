"""The gripper's commands: our opening, and what the driver of a real one takes."""

import time

from builtin_interfaces.msg import Duration
from rclpy.action import ActionClient
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from am_ros import topics
from am_ros.control.gripper import AssumedOpening, GripperConfig
from am_ros.errors import AmRosError
from am_ros.ros.node.clocks import steady_timer
from am_ros.ros.node.common import RELIABLE_QOS, SENSOR_QOS

REPORT_S = 0.05
POSITIONS, TRAJECTORY, SWITCH = "gripper_positions", "gripper_trajectory", "gripper_switch"


class GripperOutput:
    """Sends each opening to gripper_command, and to the driver as parameter `gripper` says."""

    def __init__(self, node, config: GripperConfig, finger_names, finger_stroke_m: float):
        """Raises AmRosError naming the package if the driver's messages are not installed."""
        self._node, self._config, self._fingers = node, config, list(finger_names)
        self._stroke, self._assumed = finger_stroke_m, AssumedOpening(config.gripper_move_s)
        if not config.gripper_measured:
            self._states = node.create_publisher(JointState, topics.GRIPPER_STATES, SENSOR_QOS)
            steady_timer(node, REPORT_S, self._report)
        self._server = None
        self._openings = node.create_publisher(Float64MultiArray, topics.GRIPPER_COMMAND, RELIABLE_QOS)
        self._to_driver = {
            "opening": lambda _node: None,
            "positions": self._positions,
            "trajectory": self._trajectory,
            "action": self._action,
            "switch": self._switch,
        }[config.gripper](node)

    def set(self, opening: float) -> None:
        """0 closed ... 1 open."""
        self._openings.publish(Float64MultiArray(data=[opening]))
        self._assumed.command(opening, time.monotonic())
        if self._to_driver:
            self._to_driver(opening)

    def _report(self) -> None:
        """The fingers, as they were told to move, for everybody who needs to know."""
        position = self._assumed.at(time.monotonic()) * self._stroke
        state = JointState(name=self._fingers, position=[position] * len(self._fingers))
        state.header.stamp = self._node.get_clock().now().to_msg()
        self._states.publish(state)

    def fault(self) -> str:
        """ "gripper_gone: ..." if nobody takes the commands, as far as that can be known; or empty."""
        if self._server is None or self._server.server_is_ready():
            return ""
        return f"gripper_gone: no node offers the action {self._config.gripper_action}"

    def _positions(self, node):
        publisher = node.create_publisher(Float64MultiArray, POSITIONS, RELIABLE_QOS)
        count = len(self._fingers)
        return lambda opening: publisher.publish(Float64MultiArray(data=[self._config.position(opening)] * count))

    def _trajectory(self, node):
        publisher = node.create_publisher(JointTrajectory, TRAJECTORY, RELIABLE_QOS)
        seconds = self._config.gripper_move_s
        when = Duration(sec=int(seconds), nanosec=int(seconds % 1 * 1e9))

        def send(opening: float) -> None:
            positions = [self._config.position(opening)] * len(self._fingers)
            point = JointTrajectoryPoint(positions=positions, time_from_start=when)
            publisher.publish(JointTrajectory(joint_names=self._fingers, points=[point]))

        return send

    def _switch(self, node):
        publisher = node.create_publisher(Bool, SWITCH, RELIABLE_QOS)
        return lambda opening: publisher.publish(Bool(data=opening < 0.5))

    def _action(self, node):
        try:
            from control_msgs.action import GripperCommand
        except ImportError:
            raise AmRosError(
                "control_msgs is not installed: apt install ros-jazzy-control-msgs (gripper action)"
            ) from None
        self._server = client = ActionClient(node, GripperCommand, self._config.gripper_action)

        def send(opening: float) -> None:
            goal = GripperCommand.Goal()
            goal.command.position, goal.command.max_effort = self._config.position(opening), self._config.gripper_effort
            client.send_goal_async(goal)

        return send

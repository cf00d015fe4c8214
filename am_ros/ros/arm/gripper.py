"""The gripper's commands: our opening, and what the driver of a real one takes; and what came of them."""

import time

from rclpy.task import Future
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from am_ros import topics
from am_ros.control.controller import ControllerConfig
from am_ros.control.gripper import AssumedOpening, GripperWatch
from am_ros.control.joint_states import JointStateBuffer
from am_ros.ros.arm.gripper_action import GripperAction
from am_ros.ros.node.clocks import steady_timer
from am_ros.ros.node.common import RELIABLE_QOS, SENSOR_QOS, duration

REPORT_S = 0.05
LOOK_S = 0.02
POSITIONS, TRAJECTORY, SWITCH = "gripper_positions", "gripper_trajectory", "gripper_switch"


class GripperOutput:
    """Sends each opening to gripper_command, and to the driver as parameter `gripper` says."""

    def __init__(self, node, config: ControllerConfig, state: JointStateBuffer):
        """`state`: what is measured. Raises AmRosError naming the package if messages are not installed."""
        self._node, self._config, self._state = node, config.gripper, state
        self._fingers = list(config.finger_names)
        self._open_closed = config.finger_open, config.finger_closed
        self._assumed, self._watch = AssumedOpening(config.gripper.gripper_move_s), GripperWatch(config.gripper)
        self._verdict: str | None = ""  # of the last command; None while it cannot be told
        self._waiting: Future | None = None
        if not config.gripper.reported:
            self._states = node.create_publisher(JointState, topics.GRIPPER_STATES, SENSOR_QOS)
            steady_timer(node, REPORT_S, self._report)
        self._action: GripperAction | None = None
        self._openings = node.create_publisher(Float64MultiArray, topics.GRIPPER_COMMAND, RELIABLE_QOS)
        self._to_driver = {
            "opening": lambda _node: None,
            "positions": self._positions,
            "trajectory": self._trajectory,
            "action": self._by_action,
            "parallel": self._by_action,
            "switch": self._switch,
            "none": lambda _node: None,
        }[config.gripper.gripper](node)
        steady_timer(node, LOOK_S, self._look)

    def set(self, opening: float) -> None:
        """0 closed ... 1 open."""
        now_s = time.monotonic()
        self._watch.told(opening, self._state.opening, now_s)
        self._verdict = None
        self._openings.publish(Float64MultiArray(data=[opening]))
        self._assumed.command(opening, now_s)
        if self._to_driver:
            self._to_driver(opening)

    def fault(self) -> str:
        """Why it cannot be commanded: "gripper_gone: ..." if nobody takes the commands, as far as that can be known,
        "gripper_values: ..." if what is measured contradicts what it is said to be; or empty."""
        return self._state.gripper_fault or (self._action.fault() if self._action else "")

    def failure(self) -> str:
        """ "gripper_failed: ..." if that is known of the command of the step under way; or empty."""
        return self._verdict or self._watch.failure(self._state.opening)

    async def done(self, cancelled) -> str:
        """The end of a step: wait until it is known what came of its command: "gripper_failed: ..." or empty.

        "cancelled" if `cancelled()` meanwhile. A later step is not told again.
        """
        while self._verdict is None and not cancelled():
            self._waiting = Future()
            await self._waiting
        verdict, self._verdict = self._verdict, ""
        self._watch.over()
        return "cancelled" if verdict is None else verdict

    def _look(self) -> None:
        if self._verdict is None:
            now_s = time.monotonic()
            self._verdict = self._watch.verdict(self._state.opening, now_s)
            if self._verdict:
                self._assumed.stay(now_s)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _report(self) -> None:
        """The fingers, as they were told to move, for everybody who needs to know."""
        opened, closed = self._open_closed
        position = closed + self._assumed.at(time.monotonic()) * (opened - closed)
        state = JointState(name=self._fingers, position=[position] * len(self._fingers))
        state.header.stamp = self._node.get_clock().now().to_msg()
        self._states.publish(state)

    def _positions(self, node):
        publisher = node.create_publisher(Float64MultiArray, POSITIONS, RELIABLE_QOS)
        count = len(self._fingers)
        return lambda opening: publisher.publish(Float64MultiArray(data=[self._config.position(opening)] * count))

    def _trajectory(self, node):
        publisher = node.create_publisher(JointTrajectory, TRAJECTORY, RELIABLE_QOS)
        when = duration(self._config.gripper_move_s)

        def send(opening: float) -> None:
            positions = [self._config.position(opening)] * len(self._fingers)
            point = JointTrajectoryPoint(positions=positions, time_from_start=when)
            publisher.publish(JointTrajectory(joint_names=self._fingers, points=[point]))

        return send

    def _switch(self, node):
        publisher = node.create_publisher(Bool, SWITCH, RELIABLE_QOS)
        return lambda opening: publisher.publish(Bool(data=opening < 0.5))

    def _by_action(self, node):
        self._action = GripperAction(node, self._config, self._fingers[0], self._watch, self._state)
        return self._action.send

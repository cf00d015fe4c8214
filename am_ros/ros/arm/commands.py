"""What the Cartesian controller sends to the arm: the topic joint_trajectory."""

from rclpy.duration import Duration
from rclpy.publisher import Publisher
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMsg

from am_ros import topics
from am_ros.control.trajectory import JointTrajectory
from am_ros.ros.messages.controller import trajectory_message
from am_ros.ros.node.common import RELIABLE_QOS


class ArmCommands:
    """Publishes what the arm is to do. `publishes`: false where another node does, MoveIt Servo."""

    def __init__(self, node, joint_names, publishes: bool = True):
        self._joint_names = joint_names
        self._trajectories: Publisher | None = None
        if publishes:
            self._trajectories = node.create_publisher(JointTrajectoryMsg, topics.JOINT_TRAJECTORY, RELIABLE_QOS)

    def follow(self, trajectory: JointTrajectory) -> None:
        """From now on, in place of what was commanded before."""
        if self._trajectories is not None:
            self._trajectories.publish(trajectory_message(trajectory, self._joint_names))

    def wait_until_taken(self, timeout_s: float) -> None:
        """Until the driver has what was sent last."""
        if self._trajectories is not None:
            self._trajectories.wait_for_all_acked(Duration(seconds=timeout_s))

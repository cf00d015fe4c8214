"""Messages of the Cartesian controller, to and from what am_ros.control works with, and what it sends to the arm."""

from am_msgs.msg import CartesianAction as CartesianActionMsg
from builtin_interfaces.msg import Duration
from rclpy.duration import Duration as RclpyDuration
from rclpy.publisher import Publisher
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMsg
from trajectory_msgs.msg import JointTrajectoryPoint

from am_ros import topics
from am_ros.action import CartesianAction, Gripper
from am_ros.control.trajectory import JointTrajectory
from am_ros.errors import AmRosError
from am_ros.ros.node.common import RELIABLE_QOS, from_ns


def action_of(msg: CartesianActionMsg) -> CartesianAction:
    """am_msgs/CartesianAction -> CartesianAction; raises AmRosError if the gripper command is unknown."""
    if msg.gripper not in set(Gripper):
        raise AmRosError(f"gripper_unknown: {msg.gripper} is not one of GRIPPER_HOLD, GRIPPER_OPEN, GRIPPER_CLOSE")
    t = msg.translation
    return CartesianAction((t.x, t.y, t.z), msg.rotation_z, Gripper(msg.gripper), msg.terminate)


def trajectory_message(trajectory: JointTrajectory, joint_names) -> JointTrajectoryMsg:
    """A trajectory in its message; a header stamp of zero means: start now."""
    msg = JointTrajectoryMsg(joint_names=list(joint_names))
    if trajectory.stamp_s is not None:
        msg.header.stamp = from_ns(round(trajectory.stamp_s * 1e9))
    for seconds, q, qd in zip(trajectory.times_s, trajectory.positions, trajectory.velocities, strict=True):
        nanoseconds = round(seconds * 1e9)
        since_start = Duration(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)
        point = JointTrajectoryPoint(positions=q.tolist(), velocities=qd.tolist(), time_from_start=since_start)
        msg.points.append(point)
    return msg


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
            self._trajectories.wait_for_all_acked(RclpyDuration(seconds=timeout_s))

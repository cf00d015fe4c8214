"""Messages of the Cartesian controller, to and from what am_ros.control works with."""

from am_msgs.msg import CartesianAction as CartesianActionMsg
from builtin_interfaces.msg import Duration
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMsg
from trajectory_msgs.msg import JointTrajectoryPoint

from am_ros.action import CartesianAction, Gripper
from am_ros.control.trajectory import JointTrajectory
from am_ros.errors import AmRosError
from am_ros.ros.node.common import from_ns


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

"""The simulated driver's ROS side: what it sends to the arm, its emergency stop, its controller's state and action."""

from action_msgs.msg import GoalStatus, GoalStatusArray
from sensor_msgs.msg import JointState
from std_srvs.srv import SetBool
from trajectory_msgs.msg import JointTrajectory

from am_ros import topics
from am_ros.errors import AmRosError
from am_ros.ros.node.clocks import steady_timer
from am_ros.ros.node.common import LATCHED_QOS, RELIABLE_QOS, from_ns, to_ns
from am_ros.sim.driver import IDEAL, DriverConfig
from am_ros.sim.runtime import CellRuntime
from am_ros.sim.trajectory_controller import TrajectoryCommand

LOOK_S = 0.05
# Where ros2_control's trajectory controller says what its goals are at, beside its topic joint_trajectory.
ACTION_STATUS = "follow_joint_trajectory/_action/status"


class DriverModel:
    """Services ~/emergency_stop and ~/controller_active; with a driver that is not ideal also

    - ~/commanded: the angles that the arm is sent, once per period, stamped with the driver's own simulated time;
    - ~/action_trajectory: a trajectory as a goal of the controller's action brings it, with the action's status topic.
    """

    def __init__(self, node, config: DriverConfig, joint_names):
        self.ideal = config.driver == IDEAL
        self._node, self._names, self._config = node, list(joint_names), config
        self._runtime: CellRuntime  # since `serve`
        self._goals = 0
        self._goal: GoalStatus | None = None  # of the action, under way
        if self.ideal:
            return
        self._commanded = node.create_publisher(JointState, "~/commanded", RELIABLE_QOS)
        beside = node.resolve_topic_name(topics.JOINT_TRAJECTORY).rpartition("/")[0]
        self._status = node.create_publisher(GoalStatusArray, f"{beside}/{ACTION_STATUS}", LATCHED_QOS)

    def serve(self, runtime: CellRuntime) -> None:
        """From now on; before, the cell was not there."""
        self._runtime, node = runtime, self._node
        node.create_service(SetBool, "~/emergency_stop", lambda asked, answer: self._drive(
            answer, lambda driver: driver.set_emergency_stop(asked.data)))  # fmt: skip
        node.create_service(SetBool, "~/controller_active", lambda asked, answer: self._drive(
            answer, lambda driver: driver.set_active(asked.data)))  # fmt: skip
        if not self.ideal:
            node.create_subscription(JointTrajectory, "~/action_trajectory", self._on_goal, RELIABLE_QOS)
            steady_timer(node, LOOK_S, self._look)

    def preempted(self) -> None:
        """Another trajectory takes the place of a goal."""
        self._conclude(GoalStatus.STATUS_CANCELED)

    def publish_command(self, tick: int, angles) -> None:
        """In the runtime's thread."""
        message = JointState(name=self._names, position=angles.tolist())
        message.header.stamp = from_ns(round(tick * 1e9 / self._config.driver_rate_hz))
        self._commanded.publish(message)

    def _drive(self, answer: SetBool.Response, act) -> SetBool.Response:
        try:
            self._runtime.drive(act)
            answer.success = True
        except AmRosError as error:
            answer.message = str(error)
        return answer

    def _on_goal(self, msg: JointTrajectory) -> None:
        """A goal of somebody else: it takes the place of whatever the topic brought."""
        now_ns = self._node.get_clock().now().nanoseconds
        command = trajectory_command(msg)
        self._goals += 1
        status = GoalStatus(status=GoalStatus.STATUS_EXECUTING)
        status.goal_info.goal_id.uuid = list(self._goals.to_bytes(16, "big"))
        status.goal_info.stamp = from_ns(now_ns)
        try:
            self._runtime.accept(command)
        except AmRosError as error:
            self._node.get_logger().error(f"goal rejected: {error}")
            return
        self.preempted()  # the goal before
        self._goal = status
        self._status.publish(GoalStatusArray(status_list=[status]))

    def _look(self) -> None:
        """Has the goal arrived?"""
        left_s = []
        if self._goal is not None:
            self._runtime.drive(lambda driver: left_s.append(driver.motion_left_s))
        if left_s == [0.0]:
            self._conclude(GoalStatus.STATUS_SUCCEEDED)

    def _conclude(self, how: int) -> None:
        if not self.ideal and self._goal is not None:
            self._goal.status = how
            self._status.publish(GoalStatusArray(status_list=[self._goal]))
            self._goal = None


def trajectory_command(msg: JointTrajectory) -> TrajectoryCommand:
    """A trajectory as a driver reads it."""
    stamp_ns, points = to_ns(msg.header.stamp), msg.points
    return TrajectoryCommand(
        tuple(msg.joint_names),
        tuple(to_ns(point.time_from_start) * 1e-9 for point in points),
        tuple(point.positions for point in points),
        tuple(point.velocities for point in points),
        tuple(point.accelerations for point in points),
        stamp_ns * 1e-9 if stamp_ns else None,
        any(len(point.effort) for point in points),
    )

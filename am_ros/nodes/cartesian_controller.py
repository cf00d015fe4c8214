"""Executes Cartesian steps: action ~/move_cartesian -> joint_trajectory, gripper_command; watches joint_states."""

import time
from dataclasses import dataclass, field

import numpy as np
from am_msgs.action import MoveCartesian
from am_msgs.msg import ControllerStatus
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Pose, PoseStamped
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.node import Node
from rclpy.task import Future
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMsg
from trajectory_msgs.msg import JointTrajectoryPoint

from am_ros import topics
from am_ros.action import CartesianAction, Gripper
from am_ros.control.controller import ControllerConfig, make_stepper
from am_ros.control.motion import End, JointStateBuffer, MotionMonitor
from am_ros.control.trajectory import JointTrajectory
from am_ros.errors import AmRosError
from am_ros.nodes.common import LATCHED_QOS, RELIABLE_QOS, SENSOR_QOS, declare, from_ns, run, to_ns

OPENING = {Gripper.OPEN: 1.0, Gripper.CLOSE: 0.0}


@dataclass
class Motion:
    """The one motion under way."""

    trajectory: JointTrajectory
    monitor: MotionMonitor
    goal: object  # rclpy's ServerGoalHandle
    started_s: float
    ended: Future = field(default_factory=Future)  # of (End, reason)


class CartesianController(Node):
    """Plans on request, publishes, and watches: one motion at a time, protective stop when it goes blind."""

    def __init__(self):
        super().__init__("cartesian_controller")
        self.config = config = declare(self, ControllerConfig)
        self._stepper = make_stepper(config)
        self._state = JointStateBuffer(
            config.joint_names, config.finger_names, config.finger_stroke_m, config.joint_state_timeout_s
        )
        self._motion: Motion | None = None
        self._busy = False  # from the acceptance of a goal to its result
        self._protective_stop = ""  # why; latched until reset
        self._status = ControllerStatus()
        self._last_pose_s = -np.inf

        self._trajectory_pub = self.create_publisher(JointTrajectoryMsg, topics.JOINT_TRAJECTORY, RELIABLE_QOS)
        self._gripper_pub = self.create_publisher(Float64MultiArray, topics.GRIPPER_COMMAND, RELIABLE_QOS)
        self._pose_pub = self.create_publisher(PoseStamped, topics.EE_POSE, RELIABLE_QOS)
        self._status_pub = self.create_publisher(ControllerStatus, topics.CONTROLLER_STATUS, LATCHED_QOS)
        self.create_subscription(JointState, topics.JOINT_STATES, self._on_joint_state, SENSOR_QOS)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self._server = ActionServer(
            self,
            MoveCartesian,
            "~/move_cartesian",
            self._execute,
            goal_callback=self._on_goal,
            handle_accepted_callback=self._on_accepted,
            cancel_callback=lambda _goal: CancelResponse.ACCEPT,
        )
        self.create_timer(0.02, self._watch)
        self.create_timer(0.1, self._publish_status)

    def _on_goal(self, _request) -> GoalResponse:
        if self._busy:
            self.get_logger().warning("move_cartesian rejected: busy with another motion")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _on_accepted(self, goal) -> None:
        self._busy = True
        goal.execute()

    async def _execute(self, goal) -> MoveCartesian.Result:
        """Runs as a coroutine: while it waits for the motion's end, the executor serves everything else."""
        started_s = time.monotonic()
        try:
            self._start(goal, started_s)
            self._publish_status()
            end, reason = await self._motion.ended
        except AmRosError as error:
            end, reason = End.REFUSED, str(error)
        finally:
            self._motion, self._busy = None, False
        self._status.reason = reason
        if end == End.DONE:
            self._status.steps_done += 1
            goal.succeed()
        else:
            self._status.steps_refused += end == End.REFUSED
            self.get_logger().warning(f"move_cartesian: {reason}")
            if goal.is_cancel_requested:
                goal.canceled()
            else:
                goal.abort()
        self._publish_status()
        return self._result(end, reason, time.monotonic() - started_s)

    def _start(self, goal, now_s: float) -> None:
        """Plan and command the motion; raises AmRosError, and then nothing was commanded."""
        if self._protective_stop:
            raise AmRosError(f"protective_stop: call ~/reset first ({self._protective_stop})")
        action = _action(goal.request.action)
        self._state.check(now_s)
        state = self._state
        trajectory = self._stepper.plan(state.q, action)
        opening = None if action.terminate else OPENING.get(action.gripper)
        monitor = MotionMonitor(
            state.q,
            trajectory.positions[-1],
            trajectory.duration_s,
            opening,
            self.config.tolerance,
            self.config.joint_names,
        )
        self._motion = Motion(trajectory, monitor, goal, now_s)
        if action.terminate:
            self._motion.ended.set_result((End.DONE, ""))
            return
        self._command(trajectory)
        if opening is not None:
            self._gripper_pub.publish(Float64MultiArray(data=[opening]))

    def _on_joint_state(self, msg: JointState) -> None:
        now_s = time.monotonic()
        if not self._state.update(msg.name, msg.position, msg.velocity, to_ns(msg.header.stamp), now_s):
            return
        motion, state = self._motion, self._state
        if motion and not motion.ended.done() and state.opening is not None:
            end = motion.monitor.update(now_s - motion.started_s, state.q, state.qd, state.opening)
            if end:
                motion.ended.set_result(end)
                if end[0] == End.STALLED:
                    self._command(self._stepper.brake(state.q, state.qd))
        if now_s - self._last_pose_s >= 0.9 / self.config.ee_pose_rate_hz:
            self._last_pose_s = now_s
            pose = PoseStamped(pose=self._pose())
            pose.header.stamp, pose.header.frame_id = msg.header.stamp, self.config.base_frame
            self._pose_pub.publish(pose)

    def _watch(self) -> None:
        """Feedback, cancel requests and lost joint states of the motion under way."""
        motion = self._motion
        if motion is None or motion.ended.done():
            return
        fault = self._state.fault(time.monotonic())
        if fault:
            self._protective_stop = fault
            self.get_logger().error(f"protective stop: {fault}")
            # What was measured last is old by now: brake from where the arm was told to be.
            self._command(self._stepper.brake(*motion.trajectory.at(time.monotonic() - motion.started_s)))
            motion.ended.set_result((End.STOPPED, f"protective_stop: {fault}"))
        elif motion.goal.is_cancel_requested:
            self._command(self._stepper.brake(self._state.q, self._state.qd))
            motion.ended.set_result((End.STOPPED, "cancelled"))
        else:
            motion.goal.publish_feedback(MoveCartesian.Feedback(fraction=motion.monitor.fraction))

    def _on_reset(self, _request, response: Trigger.Response) -> Trigger.Response:
        """Leave the protective stop, if the reason for it is gone."""
        fault = self._state.fault(time.monotonic())
        response.success, response.message = not fault, fault or ""
        if not fault:
            self._protective_stop = self._status.reason = ""
            self._publish_status()
        return response

    def _command(self, trajectory: JointTrajectory) -> None:
        """Publish a trajectory; its header stamp stays zero, which means: start now."""
        msg = JointTrajectoryMsg(joint_names=list(self.config.joint_names))
        for seconds, q, qd in zip(trajectory.times_s, trajectory.positions, trajectory.velocities, strict=True):
            nanoseconds = round(seconds * 1e9)
            since_start = Duration(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)
            point = JointTrajectoryPoint(positions=q.tolist(), velocities=qd.tolist(), time_from_start=since_start)
            msg.points.append(point)
        self._trajectory_pub.publish(msg)

    def _pose(self) -> Pose:
        position, quaternion = self._stepper.kinematics.position_and_quaternion(self._state.q)
        pose = Pose()
        pose.position.x, pose.position.y, pose.position.z = position
        pose.orientation.x, pose.orientation.y, pose.orientation.z, pose.orientation.w = quaternion
        return pose

    def _result(self, end: End, reason: str, duration_s: float) -> MoveCartesian.Result:
        state = self._state
        result = MoveCartesian.Result(end=int(end), reason=reason, duration=duration_s)
        result.stamp = from_ns(state.stamp_ns)
        result.gripper_opening = float("nan") if state.opening is None else state.opening
        if state.q is not None:
            result.ee_pose = self._pose()
        return result

    def _publish_status(self) -> None:
        status = self._status
        fault = self._state.fault(time.monotonic())
        if self._protective_stop:
            status.state, status.reason = ControllerStatus.PROTECTIVE_STOP, self._protective_stop
        elif self._motion:
            status.state = ControllerStatus.MOVING
        elif fault:
            status.state, status.reason = ControllerStatus.INACTIVE, fault
        else:
            if status.state == ControllerStatus.INACTIVE:
                status.reason = ""
            status.state = ControllerStatus.IDLE
        status.header.stamp = self.get_clock().now().to_msg()
        self._status_pub.publish(status)


def _action(msg) -> CartesianAction:
    """am_msgs/CartesianAction -> CartesianAction; raises AmRosError if the gripper command is unknown."""
    if msg.gripper not in set(Gripper):
        raise AmRosError(f"gripper_unknown: {msg.gripper} is not one of GRIPPER_HOLD, GRIPPER_OPEN, GRIPPER_CLOSE")
    t = msg.translation
    return CartesianAction((t.x, t.y, t.z), msg.rotation_z, Gripper(msg.gripper), msg.terminate)


def main(args=None) -> int:
    """Console script."""
    return run(CartesianController, "cartesian_controller", args)


if __name__ == "__main__":
    raise SystemExit(main())

"""Executes Cartesian steps: action ~/move_cartesian -> joint_trajectory, gripper_command; watches joint_states."""

import time
from dataclasses import dataclass, field

from am_msgs.action import MoveCartesian
from am_msgs.msg import Heartbeat
from rclpy.task import Future
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from am_ros import topics
from am_ros.action import Gripper
from am_ros.control.command import commander_name
from am_ros.control.controller import ControllerConfig, make_guard, make_stepper
from am_ros.control.motion import End, MotionMonitor
from am_ros.control.supervision import Supervision
from am_ros.control.trajectory import JointTrajectory
from am_ros.errors import AmRosError
from am_ros.ros.arm.backends import make_backend
from am_ros.ros.arm.gripper import GripperOutput
from am_ros.ros.arm.report import INACTIVE, ControllerReport
from am_ros.ros.introspection.publisher_watch import PublisherWatch
from am_ros.ros.messages.controller import ArmCommands, action_of
from am_ros.ros.node.clocks import StampClock, steady_timer
from am_ros.ros.node.common import RELIABLE_QOS, SENSOR_QOS, completed, declare, run, to_ns
from am_ros.ros.node.lifecycle import ActingNode
from am_ros.ros.node.step_server import StepServer

OPENING = {Gripper.OPEN: 1.0, Gripper.CLOSE: 0.0}


@dataclass
class Motion:
    """The one motion under way."""

    trajectory: JointTrajectory
    monitor: MotionMonitor
    goal: object  # rclpy's ServerGoalHandle
    started_s: float
    ended: Future = field(default_factory=Future)  # of (End, reason)


class CartesianController(ActingNode):
    """Plans on request, publishes, and watches: one motion at a time, protective stop when something is wrong."""

    def __init__(self):
        super().__init__("cartesian_controller")
        self.config = declare(self, ControllerConfig)
        self._safety: Supervision | None = None  # before the node is configured
        self._motion: Motion | None = None
        self._stamp_clock = StampClock(self)
        if self.config.autostart:
            self.start_by_itself()

    def configure(self) -> None:
        """Check names, limits and shapes of the arm against its description; then listen."""
        if self._safety is not None:
            return
        config, stepper = self.config, make_stepper(self.config)
        safety = Supervision(config, stepper.kinematics)
        self._guard = make_guard(config, stepper)
        self._arm = ArmCommands(self, config.joint_names, publishes=config.backend.backend != "servo")
        self._gripper = GripperOutput(self, config.gripper, config.finger_names, config.finger_stroke_m)
        self._backend = make_backend(self, config, stepper, self._arm, safety.state)
        self._report = ControllerReport(self, config, stepper.kinematics, safety)
        self._others = PublisherWatch(self, topics.JOINT_TRAJECTORY, self._backend.publisher)
        self._safety = safety
        self.create_subscription(JointState, topics.JOINT_STATES, self._on_joint_state, SENSOR_QOS)
        self.create_subscription(Heartbeat, topics.COMMANDER_HEARTBEAT, self._on_heartbeat, RELIABLE_QOS)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self._server = StepServer(self, safety.lease, self._execute, lambda why: self._report.result(End.REFUSED, why))
        steady_timer(self, 0.02, self._watch)
        steady_timer(self, 0.1, self._publish_status)
        steady_timer(self, 1.0, lambda: self._report.diagnostics(self.active))

    def activate(self) -> None:
        """Accept steps from now on."""
        self._safety.watch_anew()

    def deactivate(self) -> None:
        """Brake, and refuse what comes."""
        self._stop_motion("inactive: deactivated in mid-motion")

    def close(self) -> None:
        """Brake; the arm does not go on when the node ends."""
        if self._motion and self._stop_motion("inactive: the controller ends"):
            self._arm.wait_until_taken(0.5)
        if self._safety is not None:
            self._backend.close()

    # -- one step ----------------------------------------------------------------------------------------------------

    async def _execute(self, goal) -> MoveCartesian.Result:
        started_s = time.monotonic()
        try:
            await self._start(goal)
            self._publish_status()
            end, reason = await self._motion.ended
            self._backend.end()
        except AmRosError as error:
            end, reason = End.REFUSED, str(error)
        finally:
            self._motion = None
            self._safety.end(time.monotonic())
        result = self._report.result(end, reason, time.monotonic() - started_s)
        if end == End.DONE:
            goal.succeed()
        else:
            self.get_logger().warning(f"move_cartesian: {reason}")
            if goal.is_cancel_requested:
                goal.canceled()
            else:
                goal.abort()
        self._publish_status()
        return result

    async def _start(self, goal) -> None:
        """Plan and command the motion; raises AmRosError, and then nothing was commanded."""
        request, safety = goal.request, self._safety
        commander = self._admit(request, to_ns(request.stamp))
        action = action_of(request.action)
        self._check_arm()
        planned = self._backend.plan(safety.state.q, action)
        if not planned.done():
            await completed(planned)
            self._admit(request)  # much may have happened meanwhile
            self._check_arm()
            if goal.is_cancel_requested:
                raise AmRosError("cancelled")
        now_s, q = time.monotonic(), safety.state.q
        trajectory = self._guard.check(planned.result(), q, safety.state.qd)
        opening = None if action.terminate else OPENING.get(action.gripper)
        self._motion = Motion(trajectory, self._backend.monitor(q, trajectory, opening), goal, now_s)
        safety.begin(commander, trajectory, now_s)
        if action.terminate:
            self._motion.ended.set_result((End.DONE, ""))
            return
        self._backend.begin(trajectory, now_s)
        if opening is not None:
            self._gripper.set(opening)

    def _admit(self, request, decided_ns: int = 0) -> str:
        """The commander's name; raises AmRosError if a step of theirs may not begin."""
        now_s = time.monotonic()
        self._look(now_s)
        if not self.active:
            raise AmRosError(INACTIVE)
        self._stamp_clock.check()
        commander = commander_name(request.commander)
        self._safety.admit(commander, decided_ns, now_s, self._now_ns())
        return commander

    def _check_arm(self) -> None:
        """Raise AmRosError if the arm cannot be moved now."""
        now_s, safety = time.monotonic(), self._safety
        safety.state.check(now_s)
        fault = safety.fault(now_s) or self._others.fault(now_s)
        if fault:
            self._protect(fault)
            raise AmRosError(f"protective_stop: {fault}")
        gone = self._backend.fault(now_s) or self._gripper.fault()
        if gone:
            raise AmRosError(gone)

    # -- what is watched ---------------------------------------------------------------------------------------------

    def _on_joint_state(self, msg: JointState) -> None:
        now_s, safety, state = time.monotonic(), self._safety, self._safety.state
        self._look(now_s)
        if not safety.take(msg.name, msg.position, msg.velocity, to_ns(msg.header.stamp), now_s):
            return
        if safety.hold_now(now_s):
            self._backend.brake(state.q, state.qd)
        fault = safety.fault(now_s)
        if fault and self.active and not fault.startswith("joint_states_stale"):
            self._protect(fault)
        motion = self._motion
        if motion and not motion.ended.done() and state.opening is not None:
            end = motion.monitor.update(now_s - motion.started_s, state.q, state.qd, state.opening)
            if end and end[0] == End.STALLED:
                self._stop_motion(end[1], end=End.STALLED)
            elif end:
                motion.ended.set_result(end)
        self._report.pose(msg.header.stamp)

    def _on_heartbeat(self, msg: Heartbeat) -> None:
        self._safety.heartbeats.beat(msg.name, time.monotonic())

    def _watch(self) -> None:
        """Everything that ends the motion under way but its arrival; and its feedback."""
        now_s, motion = time.monotonic(), self._motion
        self._look(now_s)
        if motion is None or motion.ended.done():
            return
        fault = self._safety.fault(now_s) or self._others.fault(now_s)
        gone = self._safety.commander_fault(now_s) or self._backend.fault(now_s)
        if fault:
            self._protect(fault)
        elif gone or motion.goal.is_cancel_requested:
            self._stop_motion(gone or "cancelled")
        else:
            motion.goal.publish_feedback(MoveCartesian.Feedback(fraction=motion.monitor.fraction))

    def _look(self, now_s: float) -> None:
        """Was this process suspended, or the clock set? Before anything else: what is measured is old by then."""
        for event in self._safety.look(now_s, self._now_ns()):
            self.get_logger().warning(event)
            if event.startswith("suspended") and self._motion and not self._motion.ended.done():
                self._protect(event)

    def _protect(self, cause: str) -> None:
        """Protective stop: latched and named; the motion under way ends."""
        if self._safety.stop.latch(cause, time.monotonic()):
            self.get_logger().error(f"protective stop: {cause}")
            self._report.diagnostics(self.active)
        self._stop_motion(cause, f"protective_stop: {cause}")

    def _stop_motion(self, cause: str, reason: str = "", end: End = End.STOPPED) -> bool:
        """Brake and end the motion under way; returns whether there was one."""
        motion = self._motion
        if motion is None or motion.ended.done():
            return False
        start = self._safety.brake_from(cause, motion.trajectory, time.monotonic() - motion.started_s)
        if start:
            self._backend.brake(*start)
        motion.ended.set_result((end, reason or cause))
        return True

    def _on_reset(self, _request, response: Trigger.Response) -> Trigger.Response:
        """Leave the protective stop, if the reason for it is gone."""
        now_s = time.monotonic()
        response.message = self._safety.stop.reset(self._safety.fault(now_s) or self._others.fault(now_s))
        response.success = not response.message
        if response.success:
            self._report.all_is_well()
            self._publish_status()
        return response

    def _now_ns(self) -> int:
        return self._stamp_clock.now_ns()

    def _publish_status(self) -> None:
        self._report.status(self.active, self._motion is not None)


def main(args=None) -> int:
    """Console script."""
    return run(CartesianController, "cartesian_controller", args)


if __name__ == "__main__":
    raise SystemExit(main())

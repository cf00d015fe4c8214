"""Executes Cartesian steps: action ~/move_cartesian -> joint_trajectory, gripper_command; watches joint_states."""

import time
from typing import Any

from am_msgs.action import MoveCartesian
from am_msgs.msg import Heartbeat
from rclpy.task import Future
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from am_ros import topics
from am_ros.action import Gripper
from am_ros.control.command import commander_name
from am_ros.control.controller import ControllerConfig, make_guard, make_stepper
from am_ros.control.execution import StepExecution
from am_ros.control.motion import End
from am_ros.control.supervision import Supervision
from am_ros.errors import AmRosError
from am_ros.ros.arm.backends import make_backend
from am_ros.ros.arm.commands import ArmCommands
from am_ros.ros.arm.gripper import GripperOutput
from am_ros.ros.arm.next_state import NextState
from am_ros.ros.arm.report import INACTIVE, ControllerReport
from am_ros.ros.introspection.publisher_watch import OthersWatch
from am_ros.ros.messages.controller import action_of
from am_ros.ros.node.clocks import StampClock, steady_timer
from am_ros.ros.node.common import RELIABLE_QOS, completed, declare, run, subscribe_joints, to_ns
from am_ros.ros.node.lifecycle import ActingNode
from am_ros.ros.node.step_server import StepServer

OPENING = {Gripper.OPEN: 1.0, Gripper.CLOSE: 0.0}


class CartesianController(ActingNode):
    """Plans on request, publishes, and watches: one motion at a time, protective stop when something is wrong."""

    def __init__(self):
        super().__init__("cartesian_controller")
        self.config = declare(self, ControllerConfig)
        self._configured = False
        self._goal: Any = None  # rclpy's ServerGoalHandle of the step under way
        self._stamp_clock = StampClock(self)
        if self.config.autostart:
            self.start_by_itself()

    def configure(self) -> None:
        """Check names, limits and shapes of the arm against its description; then listen."""
        if self._configured:
            return
        config, stepper = self.config, make_stepper(self.config)
        safety = Supervision(config, stepper.kinematics)
        guard = make_guard(config, stepper)
        self._next = NextState(safety.state)
        self._arm = ArmCommands(self, config.joint_names, publishes=config.backend.backend != "servo")
        self._gripper = GripperOutput(self, config, safety.state)
        self._backend = make_backend(self, config, stepper, self._arm, safety.state)
        self._report = ControllerReport(self, config, stepper.kinematics, safety)
        self._others = OthersWatch(self, topics.JOINT_TRAJECTORY, self._backend.publisher)
        self._steps = StepExecution(config, stepper, guard, self._backend, safety, self._report.start)
        self._safety, self._configured = safety, True
        subscribe_joints(self, self._on_joint_state)
        self.create_subscription(Heartbeat, topics.COMMANDER_HEARTBEAT, self._on_heartbeat, RELIABLE_QOS)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self._server = StepServer(self, safety.lease, self._execute, lambda why: self._report.result(End.REFUSED, why))
        steady_timer(self, 0.02, self._watch)
        steady_timer(self, 0.1, self._publish_status)
        steady_timer(self, 1.0, lambda: self._report.diagnostics(self.active))

    def activate(self) -> None:
        """Accept steps from now on."""
        self._safety.watch_anew()
        self._steps.forget("the controller was activated")

    def deactivate(self) -> None:
        """Brake, and refuse what comes."""
        self._steps.stop("inactive: deactivated in mid-motion")

    def close(self) -> None:
        """Brake; the arm does not go on when the node ends."""
        if self._configured:
            if self._steps.stop("inactive: the controller ends"):
                self._arm.wait_until_taken(0.5)
            self._backend.close()

    # -- one step ----------------------------------------------------------------------------------------------------

    async def _execute(self, goal) -> MoveCartesian.Result:
        started_s, self._goal = time.monotonic(), goal
        try:
            ended = await self._start(goal)
            self._publish_status()
            end, reason = await ended
            failed = await self._gripper.done(lambda: end != End.DONE or goal.is_cancel_requested)
            end, reason = (End.STOPPED, failed) if failed and end == End.DONE else (end, reason)
        except AmRosError as error:
            end, reason = End.REFUSED, str(error)
        finally:
            self._goal = None
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

    async def _start(self, goal) -> Future:
        """Plan and command the motion; the Future gets (End, reason). Raises AmRosError: then nothing was commanded."""
        request, ended = goal.request, Future()
        commander = self._admit(request, to_ns(request.stamp))
        action = action_of(request.action)
        self._check_arm()
        if action.terminate:
            self._safety.lease.take(commander)
            self._safety.lease.ended(time.monotonic())
            ended.set_result((End.DONE, ""))
            return ended
        planned = self._steps.plan(action)
        if not planned.done():
            await completed(planned)
        await self._next.fresh()
        await self._next.at_rest(self.config.guard.start_velocity_rad_s, lambda: goal.is_cancel_requested)
        self._admit(request)  # much may have happened meanwhile
        self._check_arm()
        if goal.is_cancel_requested:
            raise AmRosError("cancelled")
        opening = OPENING.get(action.gripper)
        self._steps.begin(commander, planned.result(), opening, lambda *end: ended.set_result(end))
        if opening is not None:
            self._gripper.set(opening)
        return ended

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
        fault = self._fault(now_s)
        if fault:
            self._protect(fault)
            raise AmRosError(f"protective_stop: {fault}")
        if gone := self._steps.strange_motion() or self._backend.fault(now_s) or self._gripper.fault():
            raise AmRosError(gone)

    # -- what is watched ---------------------------------------------------------------------------------------------

    def _on_joint_state(self, msg: JointState, info: dict) -> None:
        now_s, safety, nth = time.monotonic(), self._safety, info.get("publication_sequence_number") or 0
        self._look(now_s)
        if not safety.take(msg.name, msg.position, msg.velocity, to_ns(msg.header.stamp), now_s, self._now_ns(), nth):
            return
        fault = safety.fault(now_s)
        if fault and self.active and not fault.startswith("joint_states_stale"):
            self._protect(fault)
        self._next.came()
        unmoved = self._steps.on_state(now_s)
        if unmoved:
            self._protect(unmoved)
        self._report.measured()

    def _on_heartbeat(self, msg: Heartbeat) -> None:
        self._safety.heartbeats.beat(msg.name, time.monotonic())

    def _watch(self) -> None:
        """Everything that ends the motion under way but its arrival; and its feedback."""
        now_s, steps = time.monotonic(), self._steps
        self._look(now_s)
        if self._safety.state.fault(now_s):
            self._next.came()  # none comes
        steps.watch(now_s)
        if not steps.busy and (moved := self._others.was_used()):
            steps.forget(moved)
        if not steps.moving:
            return
        fault = self._fault(now_s)
        gone = self._safety.commander_fault(now_s) or self._backend.fault(now_s) or self._server.fault()
        gone = gone or self._gripper.failure()  # its driver has said so
        if fault:
            self._protect(fault)
        elif gone or self._goal.is_cancel_requested:
            steps.stop(gone or "cancelled")
        else:
            self._goal.publish_feedback(MoveCartesian.Feedback(fraction=steps.fraction))

    def _fault(self, now_s: float) -> str:
        """What calls for a protective stop now, or empty."""
        return self._safety.fault(now_s) or self._others.fault(now_s)

    def _look(self, now_s: float) -> None:
        """Was this process suspended, or the clock set? Before anything else: what is measured is old by then."""
        for event in self._safety.look(now_s, self._now_ns()):
            self.get_logger().warning(event)
            if event.startswith("suspended") and self._steps.moving:
                self._protect(event)

    def _protect(self, cause: str) -> None:
        """Protective stop: latched and named; the motion under way ends."""
        if self._safety.stop.latch(cause, time.monotonic()):
            self.get_logger().error(f"protective stop: {cause}")
            self._report.diagnostics(self.active)
        self._steps.stop(cause, f"protective_stop: {cause}")

    def _on_reset(self, _request, response: Trigger.Response) -> Trigger.Response:
        """Leave the protective stop, if the reason for it is gone."""
        cause = self._safety.stop.cause
        response.message = self._safety.stop.reset(self._fault(time.monotonic()))
        response.success = not response.message
        if response.success:
            self._steps.reset(cause)
            self._report.all_is_well()
            self._publish_status()
        return response

    def _now_ns(self) -> int:
        return self._stamp_clock.now_ns()

    def _publish_status(self) -> None:
        self._report.status(self.active, self._goal is not None, self._steps.note)


def main(args=None) -> int:
    """Console script."""
    return run(CartesianController, "cartesian_controller", args)


if __name__ == "__main__":
    raise SystemExit(main())

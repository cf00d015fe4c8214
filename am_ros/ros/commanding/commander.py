"""Whoever acts, towards the controller: heartbeats, steps one by one, and whether the controller is still there."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from am_msgs.action import MoveCartesian
from am_msgs.msg import ControllerStatus, Heartbeat
from rclpy.action import ActionClient

from am_ros import topics
from am_ros.action import CartesianAction
from am_ros.errors import AmRosError
from am_ros.ros.messages.acting import ActingConfig, action_message
from am_ros.ros.node.clocks import steady_timer
from am_ros.ros.node.common import LATCHED_QOS, RELIABLE_QOS, in_executor

ACTION = "cartesian_controller/move_cartesian"
HEARTBEAT_S = 0.1
POLL_S = 0.02
# How long a controller may take to end a motion that is cancelled; it brakes within a fraction of it.
CANCEL_TIMEOUT_S = 2.0
# Refusals that another step does not mend; the others (a place that cannot be reached) depend on the step.
FINAL_REFUSALS = (
    "not_commander", "commander_invalid", "protective_stop", "inactive", "backend_gone", "gripper_gone", "gripper_kind",
    "gripper_values", "servo_units", "servo_refused", "servo_settings", "clock_missing", "clock_stopped",
    "state_offset",
)  # fmt: skip


class Commander:
    """Sends steps to the controller. `step` blocks and belongs into a thread that is not the executor's."""

    def __init__(self, node, config: ActingConfig):
        self._node, self._config, self.name = node, config, node.get_name()
        self._commands = False
        self._heard_s = time.monotonic()  # when the controller said something last
        self._holder = ""  # who holds the arm
        self._mover = ActionClient(node, MoveCartesian, ACTION)
        self._heartbeats = node.create_publisher(Heartbeat, topics.COMMANDER_HEARTBEAT, RELIABLE_QOS)
        steady_timer(node, HEARTBEAT_S, self._beat)
        node.create_subscription(ControllerStatus, topics.CONTROLLER_STATUS, self._on_status, LATCHED_QOS)

    @contextmanager
    def commanding(self, cancelled: threading.Event) -> Iterator[None]:
        """While this lasts, heartbeats are sent. Waits for the end of another's lease, which outlasts its last step.

        Raises AmRosError if there is no controller.
        """
        if not self._mover.wait_for_server(timeout_sec=self._config.motion_timeout_s):
            raise AmRosError(f"controller_gone: no node offers the action {ACTION}")
        began_s = self._heard_s = time.monotonic()
        self._commands = True
        try:
            while self._holder not in ("", self.name) and time.monotonic() - began_s < self._config.lease_wait_s:
                if cancelled.wait(POLL_S):
                    break
            yield
        finally:
            self._commands = False

    @property
    def overdue_s(self) -> float:
        """From when on (time.monotonic()) a controller that says nothing more counts as gone."""
        return self._heard_s + self._config.controller_timeout_s

    def fault(self, now_s: float) -> str | None:
        """"controller_gone: ..." if the controller has fallen silent, or None.

        Its action server alone does not tell: that of a process that was killed stays in the graph for 20 s.
        """
        silent_s = now_s - self._heard_s
        if now_s > self.overdue_s:
            return f"controller_gone: nothing came on topic {topics.CONTROLLER_STATUS} for {silent_s:.1f} s"
        if not self._mover.server_is_ready():
            return f"controller_gone: no node offers the action {ACTION} any more"
        return None

    def step(
        self, action: CartesianAction, now, fault: Callable[[], str | None], cancelled: threading.Event
    ) -> MoveCartesian.Result:
        """Execute one step, decided at the stamp `now`; cancel it when `cancelled` is set, or when there is a fault.

        Raises AmRosError with the fault, or if the controller does not take the step or does not answer.
        """
        deadline = time.monotonic() + self._config.motion_timeout_s
        goal = MoveCartesian.Goal(action=action_message(action), commander=self.name, stamp=now)
        sent = self._in_executor(lambda: self._mover.send_goal_async(goal))
        found = self._wait(sent, deadline, fault)
        if found:
            # It may be accepted yet: then it must not be left to itself.
            sent.add_done_callback(lambda future: future.result().accepted and future.result().cancel_goal_async())
            raise AmRosError(found)
        handle = sent.result()
        if not handle.accepted:
            raise AmRosError("controller_busy: cartesian_controller rejected the step (another motion is under way)")
        result = self._in_executor(handle.get_result_async)
        found = self._wait(result, deadline, lambda: fault() or ("cancelled" if cancelled.is_set() else None))
        if found:
            self._in_executor(handle.cancel_goal_async)
            gone = self._wait(result, time.monotonic() + CANCEL_TIMEOUT_S, lambda: self.fault(time.monotonic()))
            if found != "cancelled":
                raise AmRosError(found)
            if gone:
                raise AmRosError(gone)
        return result.result().result

    def _wait(self, future, deadline: float, fault: Callable[[], str | None]) -> str | None:
        """Wait for a future that the node's executor completes; returns the fault that came before it, if one did."""
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        while not done.wait(POLL_S):
            found = fault()
            if found:
                return found
            if time.monotonic() >= deadline:
                return f"controller_silent: no answer of {ACTION} within {self._config.motion_timeout_s:g} s"
        return None

    def _in_executor(self, function):
        return in_executor(self._node.executor, function, self._config.motion_timeout_s)

    def _beat(self) -> None:
        if self._commands:
            heartbeat = Heartbeat(name=self.name)
            heartbeat.header.stamp = self._node.get_clock().now().to_msg()
            self._heartbeats.publish(heartbeat)

    def _on_status(self, status: ControllerStatus) -> None:
        self._heard_s, self._holder = time.monotonic(), status.commander

"""An action server that pursues one goal at a time in a thread, while the node's executor goes on answering."""

import queue
import threading
from array import array
from collections.abc import Callable
from typing import Any

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from sensor_msgs.msg import Image

from am_ros.errors import AmRosError
from am_ros.ros.node.clocks import steady_timer
from am_ros.ros.node.common import END_S, RESULT_KEPT_S, NodeThread, spin_until
from am_ros.ros.node.goal_clients import LOOK_S, GoalClients

# For the result of the last goal to be sent and to arrive: rclpy does not tell when it has.
RESULT_S = 0.3


class Cancellation(threading.Event):
    """That a goal is to end, and why; the first reason counts. `wanted()`: whether its client was heard just now."""

    def __init__(self, wanted: Callable[[], bool] = lambda: True):
        super().__init__()
        self.wanted, self.reason = wanted, ""

    def set(self, reason: str = "cancelled") -> None:
        self.reason = self.reason or reason
        super().set()

    def clear(self) -> None:
        super().clear()
        self.reason = ""


class SingleGoalServer:
    """`pursue(goal, result, cancelled)` runs in the thread and fills `result`; it returns whether the goal succeeded.

    `cancelled` is a Cancellation: set when the client cancels, when it has gone, or when the node stops. If `pursue`
    raises AmRosError, `describe(result, sentence)` notes why and the goal is aborted. `refuse()` returns why no
    goal can be taken now, or an empty string. A second goal is rejected while one is pursued.
    """

    def __init__(self, node, action_type, name: str, pursue: Callable, describe: Callable, refuse=lambda: ""):
        self._node, self._pursue, self._describe, self._refuse = node, pursue, describe, refuse
        self._action_type = action_type
        self._clients = GoalClients(node, name)
        self._cancelled = Cancellation(self._clients.heard)
        self._busy = threading.Lock()
        self._work: queue.SimpleQueue = queue.SimpleQueue()
        self._ended: tuple[Any, bool] | None = None  # result, and whether it succeeded
        self._server = ActionServer(
            node,
            action_type,
            name,
            execute_callback=self._conclude,
            goal_callback=self._on_goal,
            cancel_callback=self._on_cancel,
            handle_accepted_callback=self._on_accepted,
            result_timeout=RESULT_KEPT_S,
        )
        self._thread = NodeThread(node, self._worker, name)
        steady_timer(node, LOOK_S, self._look)

    def cancel(self, reason: str = "cancelled") -> None:
        """End the goal in progress, if there is one."""
        self._cancelled.set(reason)

    def close(self) -> None:
        """Stop what moves, answer who asked for it, end the thread; in the thread of the executor, which goes on."""
        self.cancel()
        self._work.put(None)
        pursued = self._busy.locked()
        spin_until(self._node, lambda: self._thread.ended and not self._busy.locked(), END_S)
        if pursued:
            spin_until(self._node, lambda: False, RESULT_S)

    def _on_goal(self, _request) -> GoalResponse:
        why = self._refuse()
        if not why and not self._busy.acquire(blocking=False):
            why = "another goal is being pursued"
        if why:
            self._node.get_logger().warning(f"goal rejected: {why}")
            return GoalResponse.REJECT
        self._cancelled.clear()
        return GoalResponse.ACCEPT

    def _on_accepted(self, goal) -> None:
        self._clients.begin(goal)
        self._work.put(goal)

    def _look(self) -> None:
        """Is anybody left who wants the goal?"""
        gone = self._clients.fault()
        if gone and not self._cancelled.is_set():
            self._node.get_logger().warning(gone)
            self.cancel(gone)

    def _on_cancel(self, _goal) -> CancelResponse:
        self._cancelled.set()
        return CancelResponse.ACCEPT

    def _worker(self) -> None:
        while (goal := self._work.get()) is not None:
            result, succeeded = self._action_type.Result(), False
            try:
                succeeded = self._pursue(goal, result, self._cancelled)
            except AmRosError as error:
                self._describe(result, str(error))
                self._node.get_logger().error(str(error))
            self._ended = result, succeeded
            goal.execute()  # the executor owns the goal's state, so it has to conclude

    def _conclude(self, goal):
        """In the executor: hand over the result of the goal that has ended."""
        result, succeeded = self._ended or (self._action_type.Result(), False)
        self._clients.end()
        if goal.is_cancel_requested:
            goal.canceled()
        elif succeeded and not self._cancelled.is_set():  # by the node itself, which ends or is deactivated
            goal.succeed()
        else:
            goal.abort()
        self._busy.release()
        _drop_pictures(goal.request)
        return result


def _drop_pictures(request) -> None:
    """rclpy keeps a goal that has ended for a while; its pictures are what takes memory."""
    for field in request.get_fields_and_field_types():
        value = getattr(request, field)
        if isinstance(value, Image):
            value.data = array("B")

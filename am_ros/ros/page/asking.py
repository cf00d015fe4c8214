"""Services and actions of other nodes, asked from the threads of the page."""

import time
from collections.abc import Callable

from action_msgs.srv import CancelGoal
from rcl_interfaces.msg import Log
from rclpy.action import ActionClient
from rclpy.task import Future

from am_ros.errors import AmRosError
from am_ros.ros.introspection.client import REJECTED
from am_ros.ros.introspection.log import CellLog
from am_ros.ros.node.common import in_executor
from am_ros.ros.node.goal_clients import GoalBeats, goal_name
from am_ros.ros.node.service import Greeting, RemoteService

TIMEOUT_S = 5.0
GOAL_S, AGAIN_S = 8.0, 3.0  # for a goal to be accepted, and before it is sent again
STOP_TIMEOUT_S = 1.0
REACH, EXPERT, MOVE = "policy_server/reach_goal", "scripted_expert/run_expert", "cartesian_controller/move_cartesian"
# Whoever decides first, so that the end of its motion is the cancellation that it knows of already.
STOPPED = {REACH: "the policy's goal", EXPERT: "the expert's episode", MOVE: "the motion"}


class Asking:
    """Clients are made when they are first needed: each costs the executor a little at every turn."""

    def __init__(self, node):
        self._node = node
        self._services: dict[str, RemoteService] = {}
        self._actions: dict[str, tuple[ActionClient, Greeting]] = {}
        self._log: CellLog | None = None  # from the first goal on, as are the heartbeats for it
        self._beats: GoalBeats | None = None
        self._cancels = {a: node.create_client(CancelGoal, f"{a}/_action/cancel_goal") for a in STOPPED}

    def ask(self, service_type, name: str, timeout_s: float = TIMEOUT_S, **fields):
        """The response; raises AmRosError with its message if it was refused, or that names the service."""
        if name not in self._services:
            self._services[name] = in_executor(
                self._node.executor, lambda: RemoteService(self._node, service_type, name)
            )
        answer = self._services[name].call(service_type.Request(**fields), timeout_s)
        if not getattr(answer, "success", True):
            raise AmRosError(answer.message or f"service {name}: refused")
        return answer

    def cancel_all(self) -> str:
        """Cancel every goal of whoever moves the arm, whoever sent it; the controller brakes.

        Raises AmRosError if nobody answers.
        """
        asked = {a: c.call_async(CancelGoal.Request()) for a, c in self._cancels.items() if c.service_is_ready()}
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        while not all(future.done() for future in asked.values()) and time.monotonic() < deadline_s:
            time.sleep(0.005)
        answers = {action: future.result() for action, future in asked.items() if future.done()}
        if MOVE not in answers:
            others = ", ".join(STOPPED[action] for action in answers if answers[action].goals_canceling)
            told = f" ({others} was cancelled)" if others else ""
            raise AmRosError(f"the controller does not answer{told}: use the emergency stop")
        stopped = [STOPPED[action] for action, answer in answers.items() if answer.goals_canceling]
        return f"stopped: {' and '.join(stopped)}" if stopped else "stopped: nothing was moving"

    def send_goal(self, action_type, name: str, goal, done: Callable, heard: Callable):
        """Send a goal; returns its handle once it is accepted. `done(status, result)` is called at its end,
        `heard(feedback)` meanwhile, both in the executor."""
        if name not in self._actions:
            self._actions[name] = in_executor(
                self._node.executor, lambda: (ActionClient(self._node, action_type, name), Greeting(self._node, name))
            )
        client, greeting = self._actions[name]
        if not client.wait_for_server(timeout_sec=TIMEOUT_S):
            raise AmRosError(f"action {name}: no node offers it (waited {TIMEOUT_S:g} s)")
        greeting.wait(time.monotonic() + TIMEOUT_S)
        if self._beats is None:
            self._log, self._beats = in_executor(
                self._node.executor, lambda: (CellLog(self._node, Log.WARN), GoalBeats(self._node))
            )
        handle = self._accepted(client, name, goal, heard)

        def end(future) -> None:
            done(future.result().status, future.result().result)

        result = in_executor(self._node.executor, handle.get_result_async)
        in_executor(self._node.executor, lambda: self._beats.add(goal_name(handle.goal_id), result))
        result.add_done_callback(end)
        return handle

    def forget_goals(self) -> None:
        """Speak for none of the goals that were sent: nobody pursues them any more."""
        if self._beats is not None:
            self._beats.clear()

    def _accepted(self, client: ActionClient, name: str, goal, heard: Callable):
        """The handle of the goal. Raises AmRosError if it is rejected, or nobody answers.

        A server that was killed stays in the graph for a while, and a goal that is sent meanwhile may reach nobody: it
        is sent again. Whatever is accepted too late is cancelled.
        """
        sent_ns, began_s = time.time_ns(), time.monotonic()
        sent: list[Future] = []
        handles, taken = [], None
        while (spent_s := time.monotonic() - began_s) < GOAL_S:
            if spent_s >= AGAIN_S * len(sent):
                sent.append(in_executor(self._node.executor, lambda: client.send_goal_async(goal, _heard(heard))))
            handles = [future.result() for future in sent if future.done()]
            taken = next((handle for handle in handles if handle.accepted), None)
            if taken is not None or len(handles) == len(sent):
                break
            time.sleep(0.005)
        for future in sent:
            future.add_done_callback(lambda future: _give_up(future.result(), taken))
        if taken is not None:
            return taken
        if not handles:
            raise AmRosError(f"action {name}: no answer within {GOAL_S:g} s")
        why = self._log.said(name.rpartition("/")[0], REJECTED, sent_ns) if self._log else ""
        raise AmRosError(f"action {name}: the goal was rejected" + (f": {why}" if why else ""))


def _heard(heard: Callable) -> Callable:
    return lambda message: heard(message.feedback)


def _give_up(handle, taken) -> None:
    if handle.accepted and handle is not taken:
        handle.cancel_goal_async()

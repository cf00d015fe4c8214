"""A client of the nodes for programs and tests: services, actions and topics with timeouts, from ordinary code.

The executor spins in a thread of its own, so that the caller may wait wherever it likes.
"""

import os
import threading
import time
from functools import partial
from typing import Any

import rclpy
from action_msgs.msg import GoalStatus
from rcl_interfaces.msg import Log
from rclpy.action import ActionClient
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

from am_ros.cell.start_check import DOMAIN, check_start
from am_ros.errors import AmRosError
from am_ros.ros.introspection.log import CellLog
from am_ros.ros.node.common import RELIABLE_QOS, SENSOR_QOS, deliver, in_executor
from am_ros.ros.node.errors import entering_ros
from am_ros.ros.node.goal_clients import GoalBeats, goal_name
from am_ros.ros.node.service import Greeting, RemoteService, wait_for

__all__ = ["GoalRun", "Received", "RosClient"]

STOP_S = 10.0  # for what the executor is doing when the client is closed; its callbacks only keep messages
REJECTED = "rejected: "  # in the log of an action's server, before the reason, for which the answer has no room


class RosClient:
    """A node of its own context; use it as a context manager. `args`: for ROS; default: those of the command line.

    Whatever does not come within its time raises AmRosError that names the topic, service or action; so do surroundings
    in which ROS does not start.
    """

    def __init__(self, name: str = "am_ros_client", namespace: str = "", domain_id: int | None = None, args=None):
        check_start(None if domain_id is None else {**os.environ, DOMAIN: str(domain_id)})
        self.context = rclpy.Context()
        with entering_ros():
            rclpy.init(args=args, context=self.context, domain_id=domain_id)
            self.node = rclpy.create_node(name, context=self.context, namespace=namespace)
        self._services: dict[str, RemoteService] = {}
        self._actions: dict[str, tuple[ActionClient, Greeting]] = {}
        self._log: CellLog | None = None
        self._closing = False
        self._beats: GoalBeats | None = None  # from the first goal on
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True, name=f"{name} executor")
        self._thread.start()

    def _spin(self) -> None:
        try:
            while not self._closing:
                self._executor.spin_once()
        except ExternalShutdownException:
            pass

    def __enter__(self) -> "RosClient":
        return self

    def __exit__(self, *_error) -> None:
        self.close()

    @property
    def spinning(self) -> bool:
        """Whether anything is still received: a callback that raises ends it."""
        return self._thread.is_alive()

    @property
    def log(self) -> CellLog:
        """Warnings and errors of the cell's nodes, heard since this was first asked for."""
        if self._log is None:
            self._log = CellLog(self.node, Log.WARN)
        return self._log

    def close(self) -> None:
        """Stop spinning, deliver what was published, and leave the graph.

        The thread ends first: rclpy's own shutdown of an executor takes away what a thread that still spins waits for.
        """
        self._closing = True
        self._executor.create_task(lambda: None)  # wakes it
        self._thread.join(STOP_S)
        if self._thread.is_alive():
            raise RuntimeError(f"{self.node.get_name()}: a callback did not end within {STOP_S:g} s")
        self._executor.shutdown()
        deliver(self.node)
        for client, _ in self._actions.values():  # the node destroys those of services alone
            client.destroy()
        self.node.destroy_node()
        self.context.try_shutdown()

    def call(self, service_type, name: str, timeout_s: float = 10.0, ready_s: float | None = None, **fields):
        """Call a service with a request of these fields; return the response.

        `ready_s`: how long to wait for a node that offers it, where that is less.
        """
        if name not in self._services:
            self._services[name] = RemoteService(self.node, service_type, name)
        return self._services[name].call(service_type.Request(**fields), timeout_s, ready_s)

    def send_goal(self, action_type, name: str, timeout_s: float = 10.0, **fields) -> "GoalRun":
        """Send a goal of these fields to an action; return once it is accepted. Raises AmRosError if it is rejected."""
        deadline = time.monotonic() + timeout_s
        log = self.log
        self._beats = self._beats or GoalBeats(self.node)
        if name not in self._actions:
            self._actions[name] = ActionClient(self.node, action_type, name), Greeting(self.node, name)
        client, greeting = self._actions[name]
        _until(client.server_is_ready, timeout_s, f"action {name}: no node offers it (waited {timeout_s:g} s)")
        if not greeting.wait(deadline):
            raise AmRosError(f"action {name}: no answer within {timeout_s:g} s")
        feedback = []
        goal = action_type.Goal(**fields)
        send = partial(client.send_goal_async, goal, lambda m: feedback.append(m.feedback))
        sent_ns = time.time_ns()
        sent = in_executor(self._executor, send, timeout_s)
        handle = _result(sent, deadline, f"action {name}")
        if not handle.accepted:
            why = log.said(name.rpartition("/")[0], REJECTED, sent_ns)
            raise AmRosError(f"action {name}: the goal was rejected" + (f": {why}" if why else ""))
        run = GoalRun(name, handle, feedback, self._executor)
        in_executor(self._executor, lambda: self._beats.add(goal_name(handle.goal_id), run.future), timeout_s)
        return run

    def receive(self, message_type, topic: str, qos=SENSOR_QOS) -> "Received":
        """Subscribe to a topic; the messages gather in what is returned."""
        received = Received(topic)
        received.subscription = self.node.create_subscription(message_type, topic, received.add, qos)
        return received

    def wait_for_message(self, message_type, topic: str, timeout_s: float = 10.0, qos=SENSOR_QOS):
        """The next message of a topic."""
        received = self.receive(message_type, topic, qos)
        try:
            return received.wait(1, timeout_s)[0]
        finally:
            # Not from here: the executor's thread dies if it waits for what is being destroyed.
            in_executor(self._executor, lambda: self.node.destroy_subscription(received.subscription), timeout_s)

    def publisher(self, message_type, topic: str, qos=RELIABLE_QOS, subscribers: int = 1, timeout_s: float = 10.0):
        """A publisher to which at least so many subscribers are connected, so that no message is lost."""
        publisher = self.node.create_publisher(message_type, topic, qos)
        message = f"topic {topic}: fewer than {subscribers} subscribers (waited {timeout_s} s)"
        _until(lambda: publisher.get_subscription_count() >= subscribers, timeout_s, message)
        return publisher

    def meet(self, node_name: str, timeout_s: float = 10.0) -> None:
        """Return when a node knows every subscription that was made here so far, so that it sends to each of them."""
        greeting = Greeting(self.node, f"{node_name}/")
        met = greeting.wait(time.monotonic() + timeout_s)
        in_executor(self._executor, greeting.destroy, timeout_s)
        if not met:
            raise AmRosError(f"node {node_name}: no answer within {timeout_s:g} s")


class GoalRun:
    """An accepted goal: `feedback` gathers as it comes."""

    def __init__(self, name: str, handle, feedback: list, executor):
        self.name, self.feedback = name, feedback
        self._handle, self._executor = handle, executor
        self.future = in_executor(executor, handle.get_result_async)  # of the result, with its status

    @property
    def done(self) -> bool:
        return self.future.done()

    def result(self, timeout_s: float = 60.0):
        """Wait for the end; return the result message."""
        return self._end(timeout_s).result

    def status(self, timeout_s: float = 60.0) -> str:
        """Wait for the end; return "succeeded", "aborted" or "canceled"."""
        names = {
            GoalStatus.STATUS_SUCCEEDED: "succeeded",
            GoalStatus.STATUS_ABORTED: "aborted",
            GoalStatus.STATUS_CANCELED: "canceled",
        }
        return names.get(self._end(timeout_s).status, "unknown")

    def cancel(self, timeout_s: float = 10.0) -> None:
        """Ask for cancellation and wait until the server has answered."""
        deadline = time.monotonic() + timeout_s
        _result(in_executor(self._executor, self._handle.cancel_goal_async), deadline, f"action {self.name} (cancel)")

    def _end(self, timeout_s: float):
        return _result(self.future, time.monotonic() + timeout_s, f"action {self.name}")


class Received(list):
    """The messages of a topic in the order in which they came."""

    def __init__(self, topic: str):
        super().__init__()
        self.topic = topic
        self.subscription: Any = None
        self._news = threading.Condition()

    def add(self, message) -> None:
        """Called by the subscription."""
        with self._news:
            self.append(message)
            self._news.notify_all()

    def wait(self, count: int, timeout_s: float = 10.0) -> list:
        """Wait until `count` messages are there; return all."""
        with self._news:
            if not self._news.wait_for(lambda: len(self) >= count, timeout_s):
                raise AmRosError(f"topic {self.topic}: {len(self)} of {count} messages came within {timeout_s} s")
            return list(self)


def _until(condition, timeout_s: float, message: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AmRosError(message)
        time.sleep(0.01)


def _result(future, deadline: float, what: str):
    if not wait_for(future, deadline - time.monotonic()):
        raise AmRosError(f"{what}: no answer in time")
    return future.result()

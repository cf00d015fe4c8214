"""What every node shares: parameters from dataclasses, quality of service, start and stop, stamps."""

import dataclasses
import os
import sys
import threading
import time
import typing
from collections.abc import Callable

import rclpy
from builtin_interfaces.msg import Duration as DurationMsg
from builtin_interfaces.msg import Time
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.callback_groups import CallbackGroup
from rclpy.duration import Duration
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from rclpy.task import Future
from sensor_msgs.msg import JointState

from am_ros import configuration, topics
from am_ros.cell.start_check import check_start
from am_ros.errors import AmRosError
from am_ros.ros.node.clocks import steady_timer
from am_ros.ros.node.errors import check_words, entering_ros
from am_ros.signals import on_stop

# Images and joint states: a late one is worthless, so nothing is sent twice. Ten are kept because a
# single-threaded executor that is busy for 100 ms must not lose what came meanwhile.
SENSOR_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT, history=HistoryPolicy.KEEP_LAST)
# Joint states that are read now and then: a tenth of a second of an arm at 1 kHz, so that those of a gripper that come
# in between by the same topic are among them.
UNWAITED_JOINTS_QOS = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT, history=HistoryPolicy.KEEP_LAST)
# Images where each one is looked at: a second of them, for a process that has to wait that long for a processor.
IMAGES_QOS = QoSProfile(depth=30, reliability=ReliabilityPolicy.BEST_EFFORT, history=HistoryPolicy.KEEP_LAST)
# Steps, events and commands: each one counts.
RELIABLE_QOS = QoSProfile(depth=200, reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_LAST)
# Replayed bags: the player waits for whoever is slow, and nothing is overwritten.
KEEP_ALL_QOS = QoSProfile(history=HistoryPolicy.KEEP_ALL, reliability=ReliabilityPolicy.RELIABLE)
# An action server keeps a goal, its image and its result for this long after its end; rclpy's default is 15 minutes.
RESULT_KEPT_S = 30
# State that a late joiner needs at once.
LATCHED_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
# For what was under way when a signal came: the last motion is braked, the last END published and recorded.
END_S = 4.0
# Ctrl-C in a terminal and `ros2 launch` reach all processes at once: so long a node waits for bringup to take it down
# in its turn before it stops by itself. Bringup takes 0.1 s while all nodes answer.
MANAGED_STOP_S = 1.0
# A publisher that is destroyed takes along what its subscribers do not have yet, be it the end of an episode. So long
# they are waited for; one that was killed acknowledges nothing until DDS has noticed.
DELIVER_S = 1.0


def declare(node, cls, base=None, skip: tuple[str, ...] = (), changeable: tuple[str, ...] = ()):
    """Declare one ROS parameter per field of the dataclass `cls` and return the configuration the user asked for.

    The defaults are those of the class, or of its instance `base`; the fields in `skip` stay as they are there. Those
    in `changeable` may be set while the node runs, which then looks at the parameter.
    Raises AmRosError naming the parameter if a value has the wrong type or is out of range.
    """
    hints = typing.get_type_hints(cls)
    base = cls() if base is None else base
    values = {}
    for f in dataclasses.fields(cls):
        default = getattr(base, f.name)
        if f.name in skip:
            values[f.name] = default
            continue
        if dataclasses.is_dataclass(hints[f.name]):
            values[f.name] = declare(node, hints[f.name], default)
            continue
        default = list(default) if isinstance(default, tuple) else default
        try:
            values[f.name] = node.declare_parameter(f.name, default, _describe(f, f.name in changeable)).value
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            raise AmRosError(f"parameter {f.name}: {error}") from None
    return configuration.from_dict(cls, values)


def _describe(f, changeable: bool) -> ParameterDescriptor:
    help_text, bounds, choices = (f.metadata.get(key) for key in ("help", "range", "choices"))
    descriptor = ParameterDescriptor(description=help_text or "", read_only=not changeable)
    if choices:
        descriptor.additional_constraints = "one of " + ", ".join(map(str, choices))
    # The range of an array is checked by configuration.check: ROS knows ranges of single numbers only.
    if bounds and isinstance(f.default, float):
        descriptor.floating_point_range = [FloatingPointRange(from_value=float(bounds[0]), to_value=float(bounds[1]))]
    elif bounds and isinstance(f.default, int):
        descriptor.integer_range = [IntegerRange(from_value=int(bounds[0]), to_value=int(bounds[1]))]
    return descriptor


def run(make_node, name: str, args=None) -> int:
    """Run a node until SIGINT, SIGTERM or SIGHUP; return the exit code.

    0 after a requested stop, 2 after an AmRosError (its sentence goes to stderr), 1 never: a programming error
    raises as it is. `make_node()` builds the node; if it has a `close()` method, that is called at the end.
    A node with a method `unfinished()` goes on for as long as that is true, END_S at most.
    """
    stop = StopOnSignal()
    node = executor = None
    try:
        check_start()
        with entering_ros():
            check_words(args)
            rclpy.init(args=args, signal_handler_options=rclpy.signals.SignalHandlerOptions.NO)
            node = make_node()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while not stop.requested and rclpy.ok():
            executor.spin_once(timeout_sec=0.1)
        deadline_s = time.monotonic() + MANAGED_STOP_S
        while _is_managed(node) and rclpy.ok() and time.monotonic() < deadline_s:
            executor.spin_once(timeout_sec=0.05)
        if rclpy.ok() and hasattr(node, "unfinished"):
            spin_until(node, lambda: not node.unfinished(), END_S)
        return 0
    except AmRosError as error:
        print(f"{name}: {error}", file=sys.stderr, flush=True)
        return 2
    except ExternalShutdownException:
        return 0
    finally:
        if node is not None:
            if hasattr(node, "close"):
                node.close()
            deliver(node)
            if executor is not None:  # what it waits with belongs to the node, and would complain once that is gone
                executor.shutdown(timeout_sec=0)
            node.destroy_node()
        rclpy.try_shutdown()


def deliver(node, timeout_s: float = DELIVER_S) -> None:
    """Wait until the subscribers have what was published reliably, or the time is up."""
    deadline_s, at_once = time.monotonic() + timeout_s, Duration(seconds=0)
    waiting = list(node.publishers)
    # Polled: rclpy holds the interpreter's lock while it waits, so that no other thread would do anything.
    while node.context.ok() and (waiting := [p for p in waiting if not p.wait_for_all_acked(at_once)]):
        if time.monotonic() > deadline_s:
            return
        time.sleep(0.01)


def _is_managed(node) -> bool:
    """Whether a lifecycle node that does not start by itself has somebody who takes it down."""
    if not isinstance(node, LifecycleNode) or not node.has_parameter("autostart"):
        return False
    by_itself = node.get_parameter("autostart").value
    return not by_itself and node.count_clients(f"{node.get_fully_qualified_name()}/change_state") > 0


def in_executor(executor, function, timeout_s: float = 10.0):
    """Run `function` in the executor's thread and return its result; AmRosError if the executor does not get to it.

    An rclpy ActionClient sends a request before it notes that it waits for the answer: called from another thread
    than the executor's, it loses an answer that is quicker.
    """
    done = threading.Event()
    task = executor.create_task(function)
    task.add_done_callback(lambda _: done.set())
    if not done.wait(timeout_s):
        raise AmRosError(f"the node is too busy: nothing was done for {timeout_s} s")
    return task.result()


async def completed(future) -> None:
    """Wait in a coroutine of the executor for a concurrent.futures.Future that another thread completes."""
    done = Future()
    future.add_done_callback(lambda _: done.set_result(None))
    await done


def spin_until(node, done: Callable[[], bool], timeout_s: float) -> bool:
    """From `close`: go on answering until `done()`; returns whether it is. What is under way ends by messages."""
    deadline_s = time.monotonic() + timeout_s
    while not done() and time.monotonic() < deadline_s and node.executor is not None and node.context.ok():
        node.executor.spin_once(timeout_sec=0.02)
    return done()


class NodeThread:
    """A thread of a node whose death is not silent: what kills it is raised in the executor and ends the node."""

    def __init__(self, node, target, name: str):
        self._target = target
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name=name)
        steady_timer(node, 0.2, self._check)
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for the end."""
        self._thread.join(timeout_s)

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._target()
        except BaseException as error:
            self._error = error

    def _check(self) -> None:
        if self._error is not None:
            raise self._error


# To be done even if a second signal ends the process at once: a terminal without echo is a nuisance.
LAST_ACTS: list[Callable[[], None]] = []


class StopOnSignal:
    """Remembers that SIGINT, SIGTERM or SIGHUP came; a second one ends the process at once."""

    def __init__(self):
        self.requested = False
        on_stop(self._handle)

    def _handle(self, number, _frame):
        if self.requested:
            for act in LAST_ACTS:
                act()
            os._exit(128 + number)
        self.requested = True


def subscribe_joints(node, callback, group: CallbackGroup | None = None) -> list[Subscription]:
    """Hear the joints of the arm and those of the gripper, which may come by a topic of their own.

    `group`: an Unwaited one for a node that reads them when it looks.
    """
    qos = UNWAITED_JOINTS_QOS if group else SENSOR_QOS
    return [
        node.create_subscription(JointState, topic, callback, qos, callback_group=group)
        for topic in (topics.JOINT_STATES, topics.GRIPPER_STATES)
    ]


def to_ns(stamp) -> int:
    """builtin_interfaces/Time -> nanoseconds."""
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def duration(seconds: float) -> DurationMsg:
    """Seconds -> builtin_interfaces/Duration."""
    return DurationMsg(sec=int(seconds), nanosec=int(seconds % 1 * 1e9))


def from_ns(nanoseconds: int) -> Time:
    """Nanoseconds -> builtin_interfaces/Time."""
    return Time(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)

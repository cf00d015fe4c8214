"""Bring-up: in order up, in reverse down, and who stands in the way is named. Logic first, then the real node."""

import re
import signal
import threading
import time

import pytest
from conftest import wait_until
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn

from am_ros.cell.bringup import TRANSITIONS, Bringup, BringupConfig, NodeLost
from am_ros.configuration import from_dict
from am_ros.errors import AmRosError

UP = ["configure a", "configure b", "configure c", "activate a", "activate b", "activate c"]
DOWN = ["deactivate c", "deactivate b", "deactivate a", "cleanup c", "cleanup b", "cleanup a"]


class Cell:
    """Three lifecycle nodes in memory, which may fail, hang or change by themselves."""

    def __init__(self, refuses="", hangs="", counts=(), **states):
        self.counts = list(counts)
        self.states = {"a": "unconfigured", "b": "unconfigured", "c": "unconfigured", **states}
        self.refuses, self.hangs = refuses, hangs
        self.log, self.said, self.looks = [], [], 0
        self.events, self.at_change = {}, {}  # at which look of the watch, or at which change, what happens

    def state(self, node, timeout_s):
        if "up: 3 nodes active" in self.said:
            self.looks += 1
            self.events.get(self.looks, lambda: None)()
        return self.states[node]

    def change(self, node, transition, timeout_s, stopped):
        self.log.append(f"{transition} {node}")
        self.at_change.get(self.log[-1], lambda: None)()
        if self.log[-1] == self.hangs:
            self.states[node] = ""
            return None
        start, goal, _ = TRANSITIONS[transition]
        assert self.states[node] == start, "rclpy's node dies of a transition that its state does not have"
        if self.log[-1] == self.refuses:
            return False
        self.states[node] = goal
        return True

    def count(self, node):
        return self.counts.pop() if node == "b" and self.counts else 1

    def reason(self, node):
        return f"{node} is out of order"

    def bringup(self, **config):
        self.stop = threading.Event()
        fast = {"timeout_s": 0.1, "period_s": 0.05, "discovery_s": 0.0}
        config = from_dict(BringupConfig, {"nodes": ("a", "b", "c"), **fast, **config})
        return Bringup(config, self, self.said.append, self.stop.is_set)


def test_all_are_configured_before_any_is_activated_and_taken_down_in_reverse():
    cell = Cell()
    bringup = cell.bringup()
    cell.events[1] = lambda: cell.said.append("watching")
    cell.events[10] = cell.stop.set
    bringup.run()
    assert cell.log == UP + DOWN
    assert cell.said[5:8] == ["c: active", "up: 3 nodes active", "watching"]
    assert bringup.phase == "down" and not bringup.fault
    assert set(bringup.states.values()) == {"unconfigured"}


@pytest.mark.parametrize(
    ("cell", "sentence", "log"),
    [
        (Cell(refuses="configure b"), "transition_failed: b could not configure: b is out of order",
         ["configure a", "configure b", "cleanup a"]),
        (Cell(hangs="configure b"), "transition_timeout: b did not configure within 0.1 s",
         ["configure a", "configure b", "cleanup a"]),
        (Cell(refuses="activate b"), "transition_failed: b could not activate: b is out of order",
         [*UP[:5], "deactivate a", "cleanup c", "cleanup b", "cleanup a"]),
        (Cell(b=""), "node_missing: no lifecycle node b answered within 0.1 s", ["configure a", "cleanup a"]),
        (Cell(b="finalized"), "transition_failed: b cannot configure while it is finalized",
         ["configure a", "cleanup a"]),
    ],
)  # fmt: skip
def test_what_does_not_come_up_is_named_and_the_others_are_taken_down(cell, sentence, log):
    bringup = cell.bringup()
    with pytest.raises(AmRosError) as error:
        bringup.run()
    assert str(error.value) == bringup.fault == sentence
    assert not isinstance(error.value, NodeLost)
    assert cell.log == log


@pytest.mark.parametrize(
    ("state", "sentence", "log"),
    [
        ("inactive", "node_not_active: b is inactive, though nobody took it down here",
         ["deactivate c", "deactivate a", "cleanup c", "cleanup b", "cleanup a"]),
        ("", "node_lost: b has not answered for 0.5 s", ["deactivate c", "deactivate a", "cleanup c", "cleanup a"]),
    ],
)  # fmt: skip
def test_a_node_that_is_active_no_more_takes_the_others_down(state, sentence, log):
    cell = Cell()
    cell.events[7] = lambda: cell.states.update(b=state)
    with pytest.raises(NodeLost) as error:
        cell.bringup(silent_after_s=0.5).run()
    assert str(error.value) == sentence
    assert cell.log == UP + log
    assert state or "b: could not be taken down (no answer)" in cell.said


def test_a_namesake_that_vanishes_in_time_is_waited_for():
    cell = Cell(counts=[2, 2])
    bringup = cell.bringup()
    cell.events[1] = cell.stop.set
    bringup.run()
    assert cell.log == UP + DOWN and not cell.counts


def test_a_node_that_is_silent_for_less_than_the_limit_stays_up():
    cell = Cell()
    cell.events[4] = lambda: cell.states.update(b="")
    cell.events[12] = lambda: cell.states.update(b="active")
    bringup = cell.bringup(silent_after_s=5.0)
    cell.events[20] = cell.stop.set
    bringup.run()
    assert cell.log == UP + DOWN


def test_an_answer_of_a_second_node_of_that_name_does_not_take_an_arm_down_that_is_well():
    cell = Cell()
    bringup = cell.bringup()
    cell.events[1] = lambda: (cell.counts.extend([2] * 3), cell.states.update(b="unconfigured"))
    cell.events[8] = lambda: cell.states.update(b="active")
    cell.events[14] = cell.stop.set
    bringup.run()
    assert cell.log == UP + DOWN
    assert cell.said.count("node_twice: a second b was started; it is left alone") == 1


def test_a_stop_while_coming_up_takes_down_what_is_up():
    cell = Cell()
    bringup = cell.bringup()
    cell.at_change["activate a"] = cell.stop.set
    bringup.run()
    assert cell.log == [*UP[:4], "deactivate a", "cleanup c", "cleanup b", "cleanup a"]
    assert not [line for line in cell.said if line.startswith("up: ")]


class Worker(LifecycleNode):
    """A real lifecycle node that notes its transitions in a log that it shares with others."""

    def __init__(self, name, context, log, refuses=""):
        self.log, self.refuses = log, refuses
        super().__init__(name, context=context)

    def on_configure(self, _state):
        return self.note("configure")

    def on_activate(self, _state):
        return self.note("activate")

    def on_deactivate(self, _state):
        return self.note("deactivate")

    def on_cleanup(self, _state):
        return self.note("cleanup")

    def note(self, transition):
        self.log.append(f"{transition} {self.get_name()}")
        if self.log[-1] == self.refuses:
            self.get_logger().error("no_gripper: the gripper does not answer")
            return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS


@pytest.fixture
def workers(ros):
    """Starts real lifecycle nodes a, b and c; returns them and the log of their transitions."""
    executor = SingleThreadedExecutor(context=ros.context)
    log, nodes = [], []

    def start(refuses="", names="abc"):
        for name in names:
            nodes.append(Worker(name, ros.context, log, refuses))
            executor.add_node(nodes[-1])
        threading.Thread(target=executor.spin, daemon=True).start()
        return nodes, log

    yield start
    executor.shutdown()
    for node in nodes:
        node.destroy_node()


def test_real_nodes_come_up_in_order_and_go_down_in_reverse(ros, workers, start_node):
    _, log = workers()
    diagnostics = ros.receive(DiagnosticArray, "/diagnostics")
    bringup = start_node("bringup", nodes=["a", "b", "c"], ready="up: 3 nodes active")
    assert log == UP
    wait_until(lambda: any(s.level == DiagnosticStatus.OK for m in diagnostics for s in m.status), 5.0, "OK")
    status = diagnostics[-1].status[0]
    assert (status.name, status.message) == ("/bringup: lifecycle", "3 nodes active")
    assert {v.key: v.value for v in status.values} == dict.fromkeys("abc", "active")

    bringup.signal(signal.SIGINT)
    assert bringup.wait() == 0
    assert log == UP + DOWN


def test_a_real_node_that_refuses_is_named_and_nothing_is_activated(workers, start_node):
    _, log = workers(refuses="configure b")
    bringup = start_node("bringup", nodes=["a", "b", "c"])
    assert bringup.wait() == 2
    assert bringup.lines[-1].startswith("bringup: transition_failed: b could not configure: ")
    assert log == ["configure a", "configure b", "cleanup a"]


def test_a_second_cell_is_refused_and_the_nodes_of_the_first_are_left_alone(workers, start_node):
    _, log = workers(names="abcabc")
    bringup = start_node("bringup", nodes=["a", "b", "c"], twice_wait_s=0.5)
    assert bringup.wait() == 2
    # Which of the three is seen twice first is up to discovery.
    sentence = r"bringup: node_twice: 2 nodes are called [abc]: another cell is up in this domain and namespace"
    assert re.fullmatch(sentence, bringup.lines[-1]) and not log


def test_a_transition_that_a_state_does_not_have_is_refused_and_the_node_lives(ros, start_node):
    controller = start_node("cartesian_controller", autostart=False)
    for number in (Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_CLEANUP, 255):
        name, transition = "cartesian_controller/change_state", Transition(id=number)
        assert not ros.call(ChangeState, name, transition=transition, timeout_s=20).success
    state = ros.call(GetState, "cartesian_controller/get_state").current_state.label
    assert (state, controller.returncode) == ("unconfigured", None)


def test_a_real_node_that_somebody_else_deactivates_takes_the_others_down(workers, start_node):
    nodes, log = workers()
    bringup = start_node("bringup", nodes=["a", "b", "c"], ready="up: 3 nodes active")
    nodes[0].trigger_deactivate()
    assert bringup.wait() == 1
    assert bringup.lines[-1] == "bringup: node_not_active: a is inactive, though nobody took it down here"
    assert log == [*UP, "deactivate a", "deactivate c", "deactivate b", "cleanup c", "cleanup b", "cleanup a"]


def test_signalled_all_at_once_a_node_waits_for_its_turn(start_node):
    controller = start_node("cartesian_controller", autostart=False)
    bringup = start_node("bringup", nodes=["cartesian_controller"], ready="up: 1 node active")
    controller.signal(signal.SIGINT)
    time.sleep(0.5)  # bringup is late, as on a busy machine
    bringup.signal(signal.SIGINT)
    assert (bringup.wait(), controller.wait()) == (0, 0)
    done = [line.partition("]: ")[2] for line in list(bringup.lines)[-2:]]
    assert done == ["cartesian_controller: deactivated", "cartesian_controller: cleaned up"]


def test_nothing_is_configured_before_the_check_has_found_nothing_wrong(start_node, tmp_path):
    folders = [f"goals:={tmp_path}/goals", f"bags:={tmp_path}/bags"]
    (tmp_path / "cell.yaml").write_text("/**/cartesian_controller: {ros__parameters: {velocity_scal: 0.1}}\n")
    start_node("cartesian_controller", autostart=False)
    check = {"nodes": ["cartesian_controller"], "check": True}
    wrong = ["--offline", "sim", f"params_file:={tmp_path}/cell.yaml", *folders]
    bringup = start_node("bringup", **check, check_arguments=wrong)
    assert bringup.wait() == 2
    assert bringup.lines[-1].startswith("bringup: preflight_failed: am-ros check has found something wrong, see above")
    assert "has no parameter velocity_scal -> is velocity_scale meant?" in bringup.output
    assert "configured\n" not in bringup.output

    bringup = start_node("bringup", **check, check_arguments=["--offline", "sim", *folders])
    bringup.wait_for_line("up: 1 node active")
    assert "0 wrong" in bringup.output

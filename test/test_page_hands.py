"""What a browser began does not outlive it: teaching ends, a goal's state says what is true. Without a browser."""

import threading
from types import SimpleNamespace

import pytest
from am_msgs.msg import EpisodeEvent, Step
from rclpy.task import Future
from sensor_msgs.msg import CompressedImage

from am_ros.errors import AmRosError
from am_ros.page.custody import Custody
from am_ros.page.operators import Operators
from am_ros.page.source import Source, TeachState
from am_ros.ros.messages.acting import ActingConfig
from am_ros.ros.page import asking as asking_module
from am_ros.ros.page import pursuing, teaching
from am_ros.teleop import TeleopConfig


class Arm(Source):
    """Counts how often it is let go; `stuck`: raises the first time."""

    live = True

    def __init__(self, stuck: bool = False):
        super().__init__()
        self.active, self.ended, self.stuck = False, 0, stuck

    def teach(self) -> TeachState:
        return TeachState(self.active)

    def end_teaching(self) -> str:
        self.ended += 1
        if self.stuck:
            self.stuck = False
            raise RuntimeError("a callback did not end")
        self.active = False
        return "the arm is let go"


def room(*names: str, stuck: bool = False) -> tuple[Arm, Operators, Custody]:
    """An arm and browsers that are there."""
    arm, operators = Arm(stuck), Operators()
    for name in names:
        operators.enter(name, "this host")
        operators.connected(name, True)
    operators.commands(names[0])
    return arm, operators, Custody(arm, operators, patience_s=6.0)


def test_an_arm_is_let_go_when_its_browser_leaves_although_another_one_is_there_at_once():
    """The second browser inherits while the first is only away, before it counts as gone."""
    arm, operators, custody = room("a")
    arm.active = True
    custody.look(0.0)
    operators.connected("a", False)
    operators.enter("b", "this host")
    operators.connected("b", True)
    assert operators.commands("b")
    custody.look(0.5)
    operators.leave("a")
    custody.look(1.0)
    assert not arm.active and arm.ended == 1


def test_an_arm_is_let_go_when_nobody_is_left_but_a_connection_may_be_made_anew():
    arm, operators, custody = room("a")
    arm.active = True
    for now_s, there in ((0.0, True), (1.0, False), (5.0, False), (5.5, True), (6.5, False), (12.0, False)):
        operators.connected("a", there)
        custody.look(now_s)
        assert arm.active, now_s
    custody.look(12.6)
    assert not arm.active


def test_an_arm_is_let_go_when_another_browser_takes_over_and_that_one_may_take_it():
    arm, operators, custody = room("a", "b")
    arm.active = True
    custody.look(0.0)
    operators.take("b")
    custody.look(0.5)
    assert not arm.active
    custody.look(1.0)
    arm.active = True
    custody.look(1.5)
    custody.look(20.0)
    assert arm.active and arm.ended == 1


def test_who_takes_over_and_takes_the_arm_before_the_next_look_keeps_it():
    arm, operators, custody = room("a", "b")
    arm.active, operators.teacher = True, "a"
    custody.look(0.0)
    operators.take("b")
    custody.look(0.5)
    assert not arm.active
    arm.active, operators.teacher = True, "b"
    custody.look(1.0)
    assert arm.active and arm.ended == 1


def test_an_arm_that_was_taken_for_a_browser_that_had_left_meanwhile_is_let_go():
    """To take it lasts some seconds: its browser may be gone by then, and nothing would end it."""
    arm, operators, custody = room("a")
    operators.leave("a")
    arm.active = True
    custody.look(0.0)
    custody.look(6.5)
    assert not arm.active


def test_what_could_not_be_ended_is_tried_again():
    arm, operators, custody = room("a", stuck=True)
    arm.active = True
    custody.look(0.0)
    operators.leave("a")
    with pytest.raises(RuntimeError):
        for now_s in (1.0, 8.0):
            custody.look(now_s)
    custody.look(8.5)
    assert not arm.active and arm.ended == 2


class Hand:
    """In the place of am_ros.ros.commanding.hand.Hand: does what a test says."""

    steps, step_m, factor = 0, 0.02, 1.0
    fails = False

    def __init__(self, *_):
        if Hand.fails:
            raise AmRosError("no such node")
        self.state = SimpleNamespace(running="", last="")
        self.wishes = SimpleNamespace(key=lambda *_: None)
        self.done, self.go, self.closed = threading.Event(), threading.Event(), False

    def work(self) -> None:
        try:
            self.go.wait(10.0)
            raise RuntimeError("the thread fell over")
        finally:
            self.done.set()

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def taught(monkeypatch):
    clients = []

    class Client:
        def __init__(self, _name):
            self.node, self.open = None, True
            clients.append(self)

        def close(self):
            self.open = False
            if len(clients) == 2:
                raise RuntimeError("a callback did not end")

    monkeypatch.setattr(teaching, "RosClient", Client)
    monkeypatch.setattr(teaching, "Hand", Hand)
    monkeypatch.setattr(teaching, "END_S", 0.05)
    monkeypatch.setattr(Hand, "fails", False)
    return teaching.Teaching(TeleopConfig(), ActingConfig()), clients


def wait_for_thread() -> None:
    for thread in threading.enumerate():
        if thread.name == "hand":
            thread.join(5.0)


def test_a_hand_that_falls_over_says_so_and_leaves_no_node_behind(taught):
    teach, clients = taught
    teach.begin("")
    assert teach.state().active
    teach._hand.go.set()
    wait_for_thread()
    assert not teach.state().active and not clients[0].open
    assert teach.state().lines[-1] == "teaching has ended: the thread fell over"


def test_a_hand_that_does_not_end_in_time_has_its_episode_ended_and_a_release_that_raises_leaves_the_arm_free(taught):
    teach, clients = taught
    for _ in range(2):
        teach.begin("")
        hand = teach._hand
        if len(clients) < 2:
            teach.end()
        else:
            with pytest.raises(RuntimeError):
                teach.end()
        assert hand.closed and not teach.state().active and not clients[-1].open
        hand.go.set()
    Hand.fails = True
    with pytest.raises(AmRosError):
        teach.begin("")
    assert not teach.state().active and not clients[-1].open
    Hand.fails = False
    teach.begin("")
    assert teach.state().active
    teach._hand.go.set()
    wait_for_thread()


@pytest.fixture
def watch(monkeypatch):
    """A PursuitWatch whose questions to the nodes a test answers."""
    monkeypatch.setattr(pursuing, "steady_timer", lambda *_: None)
    asking = SimpleNamespace(said="stopped: nothing was moving", fails=None, ends=[])

    def send_goal(_type, _name, _goal, done, _heard):
        if asking.fails:
            raise asking.fails
        asking.ends.append(done)

    asking.send_goal, asking.cancel_all, asking.forget_goals = send_goal, lambda: asking.said, lambda: None
    node = SimpleNamespace(create_subscription=lambda *_: None)
    listener = SimpleNamespace(watched=True, heard_s=lambda _: 0.0)
    return pursuing.PursuitWatch(node, asking, listener), asking


def event(kind: int, goal_id: str, reason: str = "") -> EpisodeEvent:
    return EpisodeEvent(type=kind, episode_id="e", goal_id=goal_id, source="policy", reason=reason)


@pytest.mark.parametrize("error", [AmRosError("rejected"), RuntimeError("executor")])
def test_a_goal_that_could_not_be_sent_is_not_said_to_be_pursued(watch, error):
    pursuit, asking = watch
    asking.fails = error
    with pytest.raises(type(error)):
        pursuit.pursue("there", 0)
    assert not pursuit.state().running
    asking.fails = None
    pursuit.pursue("there", 0)
    assert pursuit.state().running


def test_a_goal_of_another_client_is_seen_to_end_after_one_of_ours(watch):
    pursuit, asking = watch
    pursuit.pursue("ours", 0)
    for kind in (EpisodeEvent.START, EpisodeEvent.END):
        pursuit._on_event(event(kind, "ours", "terminated"))
    assert pursuit.state().running  # until its result has come
    asking.ends[0](4, SimpleNamespace(end=0, reason="", steps=0))
    assert not pursuit.state().running
    pursuit._on_event(event(EpisodeEvent.START, "theirs"))
    assert pursuit.state().running and pursuit.state().goal_id == "theirs"
    pursuit._on_event(event(EpisodeEvent.END, "theirs", "step_limit"))
    assert not pursuit.state().running and pursuit.state().ended.startswith("all steps made")


def test_a_step_whose_picture_nobody_heard_has_none_until_it_comes_late(watch):
    pursuit, _ = watch
    pursuit._on_event(event(EpisodeEvent.START, "theirs"))
    for index in range(2):
        step = Step(source="policy", index=index)
        step.observation.image_stamp.sec = 1 + index
        pursuit._on_step(step)
    assert [step.number for step in pursuit.state().steps] == [0, 0]
    late = CompressedImage(data=b"jpeg")
    late.header.stamp.sec = 2
    pursuit._on_image(late)
    first, second = pursuit.state().steps
    assert first.number == 0 and pursuit.picture(second.number) == b"jpeg"


def test_a_goal_and_its_episode_end_for_the_page_when_the_policy_server_falls_silent(watch, monkeypatch):
    pursuit, _ = watch
    pursuit.pursue("ours", 0)
    pursuit._on_event(event(EpisodeEvent.START, "ours"))
    assert pursuit.state().running and pursuit.episode == "e"
    monkeypatch.setattr(pursuing, "LOST_S", 0.0)
    pursuit._listener.heard_s = lambda _: 5.0
    assert not pursuit.state().running and pursuit.state().ended.startswith("policy_server has said nothing for 5 s")
    assert pursuit.episode == ""
    pursuit.pursue("ours", 0)
    assert pursuit.state().ended


def test_a_goal_that_is_stopped_before_it_was_accepted_is_cancelled_as_soon_as_it_is(watch):
    """To find the policy server lasts a moment: an arm must not begin to move after Stop."""
    pursuit, asking = watch
    cancelled = []
    asking.cancel_all = lambda: cancelled.append(len(asking.ends)) or "stopped: nothing was moving"
    send_goal = asking.send_goal

    def slow(*arguments):
        pursuit.withdraw()
        assert "as soon as" in pursuit.cancel()
        send_goal(*arguments)

    asking.send_goal = slow
    pursuit.pursue("there", 0)
    assert cancelled == [0, 1] and pursuit.state().running  # its result says how it ended
    asking.ends[0](5, SimpleNamespace(end=2, reason="", steps=0))
    assert pursuit.state().ended.startswith("cancelled")
    asking.send_goal = send_goal
    pursuit.pursue("there", 0)
    assert len(cancelled) == 2


def test_a_goal_that_a_policy_server_forgot_is_given_up(watch):
    """It was killed, and started anew before anybody noticed: no result ever comes."""
    pursuit, asking = watch
    pursuit.pursue("ours", 0)
    pursuit._on_event(event(EpisodeEvent.START, "ours"))
    pursuit.cancel()
    assert not pursuit.state().running and "started anew" in pursuit.state().ended
    pursuit.pursue("ours", 0)
    asking.said = "stopped: the policy's goal and the motion"
    pursuit.cancel()
    assert pursuit.state().running  # its result comes
    pursuit._on_step(Step(source="policy"))
    pursuit._on_event(event(EpisodeEvent.START, "theirs"))
    assert pursuit.state().goal_id == "theirs"
    asking.ends[1](5, SimpleNamespace(end=2, reason="", steps=0))
    assert pursuit.state().running and pursuit.state().goal_id == "theirs"


@pytest.fixture
def asking(monkeypatch):
    """An Asking without a node, whose goals are sent to a server that a test plays."""
    monkeypatch.setattr(asking_module, "in_executor", lambda _, call: call())
    monkeypatch.setattr(asking_module, "GOAL_S", 0.5)
    monkeypatch.setattr(asking_module, "AGAIN_S", 0.1)
    one = object.__new__(asking_module.Asking)
    one._node, one._log = SimpleNamespace(executor=None), None
    return one


class Server:
    """Answers each goal that is sent with the next of `answers`: accepted, rejected, or None: it has died."""

    def __init__(self, *answers):
        self.answers, self.sent, self.cancelled = list(answers), [], []

    def send_goal_async(self, _goal, _heard) -> Future:
        future = Future()
        self.sent.append(future)
        if self.answers and (answer := self.answers.pop(0)) is not None:
            future.set_result(self.handle(answer))
        return future

    def handle(self, accepted: bool):
        handle = SimpleNamespace(accepted=accepted)
        handle.cancel_goal_async = lambda: self.cancelled.append(handle)
        return handle


def test_a_goal_that_reached_nobody_is_sent_again_and_one_that_is_accepted_too_late_is_cancelled(asking):
    """A policy server that was killed stays in the graph for a while, and takes what is meant for its successor."""
    server = Server(None, True)
    assert asking._accepted(server, "policy_server/reach_goal", None, None).accepted and len(server.sent) == 2
    late = server.handle(True)
    server.sent[0].set_result(late)
    assert server.cancelled == [late]
    with pytest.raises(AmRosError, match="the goal was rejected"):
        asking._accepted(Server(False), "policy_server/reach_goal", None, None)
    nobody = Server()
    with pytest.raises(AmRosError, match="no answer within"):
        asking._accepted(nobody, "policy_server/reach_goal", None, None)
    assert len(nobody.sent) > 2

"""Nothing is lost between a client and nodes that come, end or are killed: answers, messages, the last words."""

import signal
import threading

import pytest
from am_msgs.msg import EpisodeEvent
from am_msgs.srv import ListGoals
from conftest import wait_until

from am_ros.errors import AmRosError
from am_ros.ros.introspection.client import RosClient
from am_ros.ros.node.common import RELIABLE_QOS
from am_ros.ros.node.service import GREET_AGAIN_S


def test_a_call_waits_for_the_successor_of_a_server_that_was_killed(ros, start_node, tmp_path):
    node = start_node("goal_registry", folder=str(tmp_path), ready="ready")
    assert ros.call(ListGoals, "goal_registry/list").goals == []
    node.close()  # SIGKILL: in the graph it stays for 20 s
    answers = []
    asking = threading.Thread(target=lambda: answers.append(ros.call(ListGoals, "goal_registry/list", 60.0)))
    asking.start()
    asking.join(2 * GREET_AGAIN_S)
    assert not answers
    start_node("goal_registry", folder=str(tmp_path))
    asking.join(60)
    assert [answer.goals for answer in answers] == [[]]


def test_a_server_that_is_suspended_is_named_and_asked_nothing(ros, start_node, tmp_path):
    node = start_node("goal_registry", folder=str(tmp_path), ready="ready")
    ros.call(ListGoals, "goal_registry/list")
    node.signal(signal.SIGSTOP)
    with pytest.raises(AmRosError, match="service goal_registry/list: no answer within 1 s"):
        ros.call(ListGoals, "goal_registry/list", timeout_s=1.0)
    node.signal(signal.SIGCONT)
    assert ros.call(ListGoals, "goal_registry/list", timeout_s=30.0).goals == []


def test_a_service_that_nobody_offers_is_named(ros):
    with pytest.raises(AmRosError, match=r"service nobody/list: no node offers it \(waited 0.5 s\)"):
        ros.call(ListGoals, "nobody/list", timeout_s=0.5)


def test_the_last_words_arrive_though_who_hears_them_is_late_and_who_said_them_is_gone(start_node, tmp_path):
    logger = start_node("episode_logger", folder=str(tmp_path / "bags"), free_disk_mb=0, ready="ready")
    with RosClient("actor") as actor:
        events = actor.publisher(EpisodeEvent, "episode_event", RELIABLE_QOS)
        logger.signal(signal.SIGSTOP)
        # More than a segment of shared memory holds: the end has to be sent again once the logger hears.
        for kind in (*[EpisodeEvent.DISCARD] * 60, EpisodeEvent.START, EpisodeEvent.END):
            name = "another" if kind == EpisodeEvent.DISCARD else "last"
            events.publish(EpisodeEvent(type=kind, episode_id=name, source="test", reason="x" * 200_000))
        resumed = threading.Timer(0.5, lambda: logger.signal(signal.SIGCONT))
        resumed.start()
    wait_until((tmp_path / "bags" / "last").is_dir, what="the bag")
    resumed.join()

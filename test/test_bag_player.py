"""The bag player as a process: a reliable subscriber gets every byte, at any speed."""

import time

import pytest
from bag_data import EVENT_TYPE, IMAGE_TYPE, STEP_TYPE, as_sent, assert_same_episode, make_episode
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy

from am_ros.action import ActionSpace
from am_ros.bags.assembler import EpisodeAssembler
from am_ros.bags.episodes import read_episode, write_episode
from am_ros.bags.reader import BagReader
from am_ros.ros.messages.types import message_class

SPACE = ActionSpace()
TOPICS = {"image_raw/compressed": IMAGE_TYPE, "step": STEP_TYPE, "episode_event": EVENT_TYPE}
# With KEEP_ALL a subscriber that is slower than the player makes the player wait.
KEEP_ALL = QoSProfile(history=HistoryPolicy.KEEP_ALL, reliability=ReliabilityPolicy.RELIABLE)


@pytest.fixture
def bags(tmp_path):
    return [write_episode(make_episode(f"e{i}", steps=10, seed=i), tmp_path / "bags", SPACE) for i in range(20)]


def hear_bytes(ros) -> list:
    """Everything that comes, as it comes."""
    heard = []
    for topic, kind in TOPICS.items():
        ros.node.create_subscription(
            message_class(kind), topic, lambda raw, t=topic: heard.append(("/" + t, raw)), KEEP_ALL, raw=True
        )
    return heard


def test_as_fast_as_possible_every_byte_arrives(ros, start_node, bags, tmp_path):
    heard = hear_bytes(ros)
    player = start_node("bag_player", bags=[str(tmp_path / "bags")], rate=0.0)
    assert player.wait() == 0, player.output
    assert "done: 20 bags, 460 messages" in player.output
    recorded = [(m.topic, as_sent(m.raw)) for bag in sorted(bags) for m in BagReader(bag).messages()]
    deadline = time.monotonic() + 5
    while len(heard) < len(recorded) and time.monotonic() < deadline:
        time.sleep(0.02)
    for topic in {t for t, _ in recorded}:
        assert [raw for t, raw in heard if t == topic] == [raw for t, raw in recorded if t == topic]


def test_a_subscriber_that_is_slower_loses_no_episode(ros, start_node, bags, tmp_path):
    assembler, episodes = EpisodeAssembler(SPACE), []

    def hear(topic):
        def add(msg):
            time.sleep(0.002)
            episode = assembler.add(topic, msg)
            if episode is not None:
                episodes.append(episode)

        return add

    for topic, kind in TOPICS.items():
        ros.node.create_subscription(message_class(kind), topic, hear(topic), KEEP_ALL)
    player = start_node("bag_player", bags=[str(bag) for bag in bags], rate=0.0)
    assert player.wait() == 0, player.output
    deadline = time.monotonic() + 10
    while len(episodes) < 20 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [e.info.episode_id for e in episodes] == [f"e{i}" for i in range(20)]
    assert_same_episode(episodes[7], read_episode(bags[7], SPACE).with_info(extra={}))


def test_the_pace_is_that_of_the_recording_times_the_rate(ros, start_node, bags):
    hear_bytes(ros)
    times = []
    kind = message_class(IMAGE_TYPE)
    ros.node.create_subscription(kind, "image_raw/compressed", lambda _: times.append(time.monotonic()), KEEP_ALL)
    player = start_node("bag_player", bags=[str(bags[0])], rate=4.0)
    assert player.wait() == 0, player.output
    # 10 periods of 0.4 s at four times the speed
    assert 0.8 < times[-1] - times[0] < 1.5
    assert "done: 1 bags, 23 messages in 1." in player.output


def test_a_damaged_bag_is_named_and_the_others_are_played(ros, start_node, bags, tmp_path):
    heard = hear_bytes(ros)
    file = bags[3] / "e3_0.mcap"
    file.write_bytes(file.read_bytes()[:-100])
    player = start_node("bag_player", bags=[str(bag) for bag in bags[2:5]], rate=0.0)
    assert player.wait() == 2
    last = player.output.strip().splitlines()[-1]
    assert "1 of 3 bags were not played" in last and "e3_0.mcap" in last
    time.sleep(0.3)
    assert len(heard) == 2 * 23


@pytest.mark.parametrize(
    "parameters, sentence",
    [
        ({"bags": ["/nowhere"]}, "bag folder /nowhere: is not a folder"),
        ({}, "parameter bags: names no bag"),
        ({"rate": -1.0}, "rate"),
    ],
)
def test_bad_input_gives_one_sentence(start_node, parameters, sentence):
    player = start_node("bag_player", **parameters)
    assert player.wait() == 2
    assert sentence in player.output.strip().splitlines()[-1]


def test_nobody_who_listens_is_an_error(start_node, bags):
    player = start_node("bag_player", bags=[str(bags[0])], subscriber_timeout_s=0.3)
    assert player.wait() == 2
    assert "fewer than 1 subscribers after 0.3 s" in player.output

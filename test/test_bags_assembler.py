"""Messages become an episode whatever order they come in, and never a wrong one."""

import time

import am_msgs.msg
import numpy as np
import pytest
from bag_data import START_NS, assert_same_episode, make_episode, recorded
from hypothesis import given, settings
from hypothesis import strategies as st

from am_ros.action import CLOSE, OPEN, ActionSpace
from am_ros.bags import assembler as module
from am_ros.bags import types
from am_ros.bags.assembler import EpisodeAssembler
from am_ros.bags.episodes import read_episode, write_episode
from am_ros.episode import Outcome
from am_ros.errors import AmRosError

SPACE = ActionSpace()


@pytest.fixture(scope="module")
def episode(tmp_path_factory):
    return read_episode(write_episode(make_episode(), tmp_path_factory.mktemp("bags"), SPACE), SPACE)


@pytest.fixture(scope="module")
def messages(tmp_path_factory):
    bag = write_episode(make_episode(), tmp_path_factory.mktemp("bags"), SPACE)
    return [(topic, msg) for topic, msg, _, _ in recorded(bag)]


def assemble(messages, **options):
    """All episodes that come of the messages, and the assembler."""
    assembler = EpisodeAssembler(SPACE, **options)
    episodes = [e for e in (assembler.add(topic, msg) for topic, msg in messages) if e is not None]
    return episodes, assembler


def select(messages, topic):
    return [(t, m) for t, m in messages if t == topic]


def is_event(kind):
    return lambda topic, msg: topic == "/episode_event" and msg.type == kind


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(messages, episode, random):
    shuffled = list(messages)
    random.shuffle(shuffled)
    episodes, assembler = assemble(shuffled)
    assembler.finish()  # nothing is left over
    assert len(episodes) == 1
    assert_same_episode(episodes[0].with_info(extra=episode.info.extra), episode)


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=False))
def test_a_terminating_step_and_the_end_that_share_their_image_are_complete_in_any_order(tmp_path_factory, random):
    episode = make_episode(steps=2)
    episode.stamps_ns[-1], episode.images[-1] = episode.stamps_ns[-2], episode.images[-2]
    bag = write_episode(episode, tmp_path_factory.mktemp("bags"), SPACE)
    stream = [(t, m) for t, m, _, _ in recorded(bag)]
    random.shuffle(stream)
    episodes, assembler = assemble(stream)
    assert len(episodes) == 1
    assembler.finish()


def test_constants_are_those_of_the_interface():
    event, action = am_msgs.msg.EpisodeEvent, am_msgs.msg.CartesianAction
    assert (module.START, module.END, module.DISCARD) == (event.START, event.END, event.DISCARD)
    outcomes = event.OUTCOME_UNKNOWN, event.OUTCOME_SUCCESS, event.OUTCOME_FAILURE
    assert outcomes == (Outcome.UNKNOWN, Outcome.SUCCESS, Outcome.FAILURE)
    assert (action.GRIPPER_HOLD, action.GRIPPER_OPEN, action.GRIPPER_CLOSE) == (0, 1, 2)


def test_messages_of_rclpy_and_of_rosbags_give_the_same(tmp_path, episode):
    from rclpy.serialization import deserialize_message

    from am_ros.ros.messages.types import message_class

    bag = write_episode(make_episode(), tmp_path, SPACE)
    live = [(t, deserialize_message(raw, message_class(n))) for t, _, raw, n in recorded(bag)]
    episodes, _ = assemble(live)
    assert_same_episode(episodes[0].with_info(extra=episode.info.extra), episode)


def test_uncompressed_images_serve_as_well(messages, episode):
    def raw(msg, rgb):
        data = rgb.reshape(-1)
        return types.message("sensor_msgs/msg/Image", header=msg.header, height=64, width=64, step=192, encoding="rgb8",
                             data=data)  # fmt: skip

    pictures = iter(episode.images)
    stream = [("/image_raw", raw(m, next(pictures))) if "image" in t else (t, m) for t, m in messages]
    episodes, _ = assemble(stream)
    np.testing.assert_array_equal(episodes[0].images, episode.images)


def test_two_episodes_whose_messages_are_mixed_are_told_apart(tmp_path):
    bags = [write_episode(make_episode(f"e{i}", seed=i), tmp_path, SPACE) for i in range(2)]
    streams = [[(t, m) for t, m, _, _ in recorded(bag)] for bag in bags]
    mixed = [pair for both in zip(*streams, strict=True) for pair in both]
    episodes, _ = assemble(mixed)
    assert [e.info.episode_id for e in episodes] == ["e0", "e1"]
    np.testing.assert_array_equal(episodes[1].images, read_episode(bags[1], SPACE).images)


def test_episodes_that_share_stamps_are_not_given_each_others_images(tmp_path):
    """Two simulated clocks that both began at zero: the second episode is refused, never mispaired."""
    other = make_episode("e1", seed=1)
    other.stamps_ns[:] = make_episode("e0").stamps_ns
    bags = [write_episode(make_episode("e0"), tmp_path, SPACE), write_episode(other, tmp_path, SPACE)]
    assembler, episodes, refusals = EpisodeAssembler(SPACE), [], []
    for bag in bags:
        for topic, msg, _, _ in recorded(bag):
            try:
                episodes.append(assembler.add(topic, msg))
            except AmRosError as error:
                refusals.append(str(error))
    assert [e.info.episode_id for e in episodes if e] == ["e0"]
    assert refusals == [f"episode 'e1': an image of episode 'e0' has the same stamp, {START_NS} ns"]


def test_the_last_image_of_one_episode_may_be_the_first_of_the_next(tmp_path):
    first, second = make_episode("e0"), make_episode("e1", seed=1)
    second.stamps_ns += first.stamps_ns[-1] - second.stamps_ns[0]
    second.images[0] = first.images[-1]
    stream = [(t, m) for e in (first, second) for t, m, _, _ in recorded(write_episode(e, tmp_path, SPACE))]
    episodes, _ = assemble(stream)
    np.testing.assert_array_equal(episodes[0].images[-1], episodes[1].images[0])


def test_topics_that_run_ahead_of_each_other_lose_nothing(tmp_path):
    """A subscriber that is behind takes one message of each topic in turn: events come many episodes early."""
    bags = [write_episode(make_episode(f"e{i}", steps=20, size=16, seed=i), tmp_path, SPACE) for i in range(30)]
    queues = {}
    for bag in reversed(bags):  # and the oldest comes last
        for topic, msg, _, _ in recorded(bag):
            queues.setdefault(topic, []).append((topic, msg))
    turns = [queue[i] for i in range(30 * 21) for queue in queues.values() if i < len(queue)]
    episodes, assembler = assemble(turns)
    assert sorted(e.info.episode_id for e in episodes) == sorted(f"e{i}" for i in range(30))
    assembler.finish()


def test_the_same_bag_played_twice_gives_the_episode_twice(messages):
    episodes, _ = assemble(messages + messages)
    assert len(episodes) == 2


def test_hold_becomes_what_the_gripper_does(messages):
    stream = [(t, _copy(m)) for t, m in messages]
    for _, msg in select(stream, "/step"):
        msg.action.gripper, msg.action.terminate = 0, False
        msg.observation.gripper_opening = 0.9 if msg.index < 3 else 0.1
    actions = assemble(stream)[0][0].actions
    assert (actions[:3, OPEN] == 1).all() and (actions[3:, CLOSE] == 1).all()


def _copy(msg):
    name = msg.__msgtype__
    return types.deserialize(name, types.serialize(name, msg))


def test_a_discarded_episode_gives_nothing_and_its_stragglers_neither(messages):
    discard = types.message("am_msgs/msg/EpisodeEvent", type=module.DISCARD, episode_id="e0")
    episodes, assembler = assemble([*messages[:6], ("/episode_event", discard), *messages[6:]])
    assert episodes == []
    assembler.finish()


@pytest.mark.parametrize(
    "lost, sentence",
    [
        (lambda t, m: t == "/step" and m.index == 2, "'e0': step 2 of 6 is missing"),
        (lambda t, m: "image" in t and types.stamp_ns(m.header.stamp) == START_NS + 3 * 400_000_000,
         "'e0': the image of step 3 is missing"),
        (lambda t, m: "image" in t and types.stamp_ns(m.header.stamp) == START_NS + 6 * 400_000_000,
         "'e0': the image of the end is missing"),
        (is_event(module.END), "'e0': its END is missing after 6 steps"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(messages, lost, sentence):
    episodes, assembler = assemble([(t, m) for t, m in messages if not lost(t, m)])
    assert episodes == []
    with pytest.raises(AmRosError, match=sentence):
        assembler.finish()
    assembler.finish()  # named once, then forgotten


def test_in_a_stream_a_lost_image_is_named_once_nothing_more_comes(messages, tmp_path):
    lost = next(i for i, (t, _) in enumerate(messages) if "image" in t)
    later = [write_episode(make_episode(f"e{i}", seed=i), tmp_path, SPACE) for i in (1, 2, 3)]
    stream = messages[:lost] + messages[lost + 1 :] + [(t, m) for bag in later for t, m, _, _ in recorded(bag)]
    episodes, assembler = assemble(stream)
    assert [e.info.episode_id for e in episodes] == ["e1", "e2", "e3"]
    assert assembler.give_up(time.monotonic()) == []
    late = time.monotonic() + module.LOST_AFTER_S + 1
    assert assembler.give_up(late) == ["episode 'e0': the image of step 0 is missing"]
    assert assembler.give_up(late) == []  # named once
    assert len([e for e in (assembler.add(t, m) for t, m in messages) if e]) == 1  # and it goes on


def test_episodes_that_are_complete_early_do_not_end_one_that_was_played_before_them(tmp_path):
    """A bag begins with images of the episode before it, and steps run ahead of images."""
    stamps = iter(range(10))
    short, long = [], []
    for i in range(5):
        for name, episodes in ((f"short{i}", short), (f"long{i}", long)):
            one = make_episode(name, seed=len(short) + 10 * len(long))
            one.stamps_ns += next(stamps) * 10_000_000_000
            episodes.append([(t, m) for t, m, _, _ in recorded(write_episode(one, tmp_path, SPACE))])

    def pictures(stream):
        return [(t, m) for t, m in stream if "image" in t]

    played = [*long, *short]
    stream = [(t, m) for one in played for t, m in one if "image" not in t]  # all steps, then the images
    for before, one in zip(short, long, strict=True):
        stream += pictures(before) + pictures(one)
    episodes, assembler = assemble(stream)
    assert len(episodes) == 10
    assembler.finish()


def test_a_start_is_not_needed(messages, episode):
    episodes, _ = assemble([(t, m) for t, m in messages if not is_event(module.START)(t, m)])
    assert episodes[0].info.task == episode.info.task


@pytest.mark.parametrize(
    "topic, change, sentence",
    [
        ("/step", lambda m: setattr(m.action, "rotation_z", 9.0), "'e0' step 0: action_too_large"),
        ("/step", lambda m: setattr(m.action, "gripper", 7), "'e0' step 0: 7 is not a valid Gripper"),
        ("/step", lambda m: setattr(m.action.translation, "x", float("nan")), "'e0' step 0: action_not_finite"),
        ("/episode_event", lambda m: setattr(m, "outcome", 9), "'e0': 9 is not a valid Outcome"),
        ("/episode_event", lambda m: setattr(m, "steps", 0), "'e0': step 5 came, but END says there were 0"),
        ("/image_raw/compressed", lambda m: setattr(m, "data", m.data[:-300]), "'e0' step 0: .*cut short"),
    ],
)
def test_what_is_wrong_is_named(messages, topic, change, sentence):
    stream = [(t, _copy(m)) for t, m in messages]
    first = next(m for t, m in stream if t == topic and not is_event(module.START)(t, m))
    change(first)
    with pytest.raises(AmRosError, match=sentence):
        assemble(stream)[1].finish()


def test_a_step_that_comes_twice_is_refused(messages):
    with pytest.raises(AmRosError, match="'e0': step 0 came twice"):
        assemble([*messages[:4], *select(messages, "/step")[:1]])


def test_images_of_different_sizes_are_refused_unless_resized(messages, tmp_path):
    small = recorded(write_episode(make_episode(size=32), tmp_path, SPACE))[1][1]
    stream = [(t, small if "image" in t and types.stamp_ns(m.header.stamp) == START_NS else m) for t, m in messages]
    with pytest.raises(AmRosError, match="'e0' step 1: image is .64, 64., those before are .32, 32."):
        assemble(stream)
    assert assemble(stream, image_size=(16, 16))[0][0].images.shape == (7, 16, 16, 3)


def test_the_memory_for_images_is_bounded(messages, monkeypatch):
    monkeypatch.setattr(module, "IMAGE_BYTES", 50_000)
    assembler = EpisodeAssembler(SPACE)
    image = select(messages, "/image_raw/compressed")[0][1]
    for i in range(500):
        other = _copy(image)
        other.header.stamp = types.stamp(i)
        assembler.add("/image_raw/compressed", other)
    held = len(assembler._recent)
    assert held * len(image.data) <= 50_000 and assembler.images_forgotten == 500 - held
    assert len([e for e in (assembler.add(t, m) for t, m in messages) if e]) == 1


def test_actors_that_died_do_not_fill_the_memory(messages, monkeypatch):
    monkeypatch.setattr(module, "OPEN_EPISODES", 50)
    assembler = EpisodeAssembler(SPACE)
    step = select(messages, "/step")[0][1]
    dropped = []
    for i in range(module.OPEN_EPISODES + 30):
        other = _copy(step)
        other.episode_id = f"dead{i}"
        other.observation.image_stamp = types.stamp(i)
        try:
            assembler.add("/step", other)
        except AmRosError as error:
            dropped.append(str(error))
    assert len(assembler._open) <= module.OPEN_EPISODES
    assert len(dropped) == 30 and "'dead0': its END is missing" in dropped[0]


def test_other_topics_are_ignored():
    assert EpisodeAssembler(SPACE).add("/joint_states", object()) is None

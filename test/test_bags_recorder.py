"""The episode logger's inside: messages in, bags out, whatever order they come in and whatever the disk does."""

import time

import numpy as np
import pytest
from bag_data import START_NS, assert_same_episode, make_episode, recorded

from am_ros import images
from am_ros.action import ActionSpace
from am_ros.bags import recorder as module
from am_ros.bags import types
from am_ros.bags.episodes import read_episode, write_episode
from am_ros.bags.finder import find_bags
from am_ros.bags.reader import BagReader
from am_ros.bags.recorder import EpisodeRecorder, Received, RecorderConfig
from am_ros.bags.writer import EpisodeBag
from am_ros.configuration import from_dict
from am_ros.episode import EpisodeInfo, Outcome
from am_ros.errors import AmRosError

SPACE = ActionSpace()


@pytest.fixture
def source(tmp_path):
    return write_episode(make_episode(), tmp_path / "source", SPACE)


@pytest.fixture
def make_recorder(tmp_path):
    made = []

    def make(**options):
        said = []
        config = from_dict(RecorderConfig, {"folder": str(tmp_path / "bags"), "free_disk_mb": 0, **options})
        recorder = EpisodeRecorder(config, lambda problem, text: said.append((problem, text)))
        recorder.said = said
        made.append(recorder)
        return recorder

    yield make
    for recorder in made:
        recorder.close()


def received(bag) -> list[Received]:
    return [Received(m.topic, m.type_name, m.raw, m.log_time_ns) for m in BagReader(bag).messages()]


def feed(recorder, messages):
    for message in messages:
        recorder.receive(message)


def without_extra(episode):
    return episode.with_info(extra={})


def test_an_episode_is_recorded_between_its_start_and_its_end(make_recorder, source):
    recorder = make_recorder()
    feed(recorder, received(source))
    recorder.close()
    bags = find_bags(recorder.folder)
    assert [bag.name for bag in bags] == ["e0"]
    assert_same_episode(read_episode(bags[0], SPACE), without_extra(read_episode(source, SPACE)))
    assert recorder.said[-1] == (False, f"recorded {bags[0]}: 15 messages")


def test_the_image_from_before_the_start_and_what_comes_after_the_end_are_in_the_bag(make_recorder, source):
    """Events overtake images and steps: they come by other topics."""
    recorder = make_recorder()
    messages = received(source)
    events = [m for m in messages if m.topic == "/episode_event"]
    others = [m for m in messages if m.topic != "/episode_event"]
    feed(recorder, [others[0], others[1], events[0], *others[2:-3], events[1], *others[-3:]])
    recorder.close()
    assert_same_episode(read_episode(recorder.folder / "e0", SPACE), without_extra(read_episode(source, SPACE)))


def test_what_is_older_than_the_history_is_not_recorded(make_recorder, source):
    recorder = make_recorder(history_s=1.0)
    image = next(m for m in received(source) if "image" in m.topic)
    old = [image._replace(time_ns=START_NS - age) for age in (9_000_000_000, 1_500_000_000, 500_000_000)]
    feed(recorder, old + received(source))
    recorder.close()
    assert sum("image" in m.topic for m in BagReader(recorder.folder / "e0").messages()) == 7 + 1


def test_an_image_that_never_comes_does_not_keep_the_bag_open(make_recorder, source, monkeypatch):
    monkeypatch.setattr(module, "STRAGGLER_PATIENCE_S", 0.2)
    recorder = make_recorder()
    images_only = [m for m in received(source) if "image" in m.topic]
    feed(recorder, [m for m in received(source) if m is not None and m.raw != images_only[-1].raw])
    deadline = time.monotonic() + 5
    while not find_bags(recorder.folder) and time.monotonic() < deadline:
        time.sleep(0.02)
    with pytest.raises(AmRosError, match="the image of the end is missing"):
        read_episode(recorder.folder / "e0", SPACE)


def test_the_next_start_closes_an_episode_that_never_ended(make_recorder, source, tmp_path):
    recorder = make_recorder()
    second = write_episode(make_episode("e1", seed=1), tmp_path / "source", SPACE)
    feed(recorder, received(source)[:7] + received(second))
    recorder.close()
    assert [b.name for b in find_bags(recorder.folder)] == ["e0", "e1"]
    reader = BagReader(recorder.folder / "e0")
    assert sum(1 for _ in reader.messages()) == 7 and reader.info().reason == "interrupted"
    assert len(read_episode(recorder.folder / "e1", SPACE)) == 6


def test_a_discarded_episode_leaves_nothing(make_recorder, source):
    recorder = make_recorder()
    discard = types.message("am_msgs/msg/EpisodeEvent", type=2, episode_id="e0")
    raw = types.serialize("am_msgs/msg/EpisodeEvent", discard)
    feed(recorder, [*received(source)[:8], Received("/episode_event", "am_msgs/msg/EpisodeEvent", raw, START_NS)])
    recorder.close()
    assert list(recorder.folder.iterdir()) == []
    assert recorder.said[-1] == (False, "discarded episode 'e0'")


def test_start_and_stop_record_everything_in_between(make_recorder, source):
    recorder = make_recorder()
    path = recorder.start(EpisodeInfo("manual", "teach"), now_ns=0).result(5)
    assert path == recorder.folder / "manual"
    feed(recorder, [m._replace(topic="/cell" + m.topic) for m in received(source)[1:5]])
    closed = recorder.stop(Outcome.FAILURE, "dropped it").result(5)
    reader = BagReader(closed.path)
    assert closed.messages == sum(1 for _ in reader.messages()) == 4
    assert (reader.info().outcome, reader.info().reason) == (Outcome.FAILURE, "dropped it")


def test_requests_that_make_no_sense_are_refused(make_recorder, source):
    recorder = make_recorder()
    for request in (recorder.stop, recorder.discard):
        with pytest.raises(AmRosError, match="no episode is being recorded"):
            request().result(5)
    with pytest.raises(AmRosError, match="letters, digits"):
        recorder.start(EpisodeInfo("../x"), 0).result(5)
    feed(recorder, received(source))
    with pytest.raises(AmRosError, match="exists already"):
        recorder.start(EpisodeInfo("e0"), 0).result(5)
    assert recorder.start(EpisodeInfo(""), 0).result(5).name.startswith("episode-")
    assert recorder.discard().result(5)


def test_a_bad_event_is_reported_and_the_next_episode_is_recorded(make_recorder, source):
    recorder = make_recorder()
    bad = types.message("am_msgs/msg/EpisodeEvent", episode_id="../../etc")
    raw = types.serialize("am_msgs/msg/EpisodeEvent", bad)
    junk = [Received("/episode_event", "am_msgs/msg/EpisodeEvent", data, START_NS) for data in (raw, b"", raw[:20])]
    feed(recorder, junk + received(source))
    recorder.close()
    problems = [text for problem, text in recorder.said if problem]
    assert len(problems) == 3 and "'../../etc'" in problems[0]
    assert len(read_episode(recorder.folder / "e0", SPACE)) == 6


def test_too_little_disk_space_refuses_the_episode(make_recorder, source):
    recorder = make_recorder(free_disk_mb=10_000_000)
    feed(recorder, received(source))
    with pytest.raises(AmRosError, match="MB free on the disk .* parameter free_disk_mb wants 10000000"):
        recorder.start(EpisodeInfo("x"), 0).result(5)
    assert [text for problem, text in recorder.said if problem and "'e0': not recorded" in text]
    assert list(recorder.folder.iterdir()) == []


def test_a_failing_disk_loses_one_episode_not_the_logger(make_recorder, source, tmp_path, monkeypatch):
    recorder = make_recorder()
    working = EpisodeBag.write

    def full(bag, *arguments):
        if bag.info.episode_id == "e0" and sum(bag.counts.values()) == 5:
            raise OSError(28, "No space left on device")
        working(bag, *arguments)

    monkeypatch.setattr(EpisodeBag, "write", full)
    second = write_episode(make_episode("e1", seed=1), tmp_path / "source", SPACE)
    feed(recorder, received(source) + received(second))
    recorder.close()
    assert [b.name for b in find_bags(recorder.folder)] == ["e1"]
    assert any("e0.unfinished: given up" in text and "No space left" in text for _, text in recorder.said)


def test_messages_that_do_not_fit_into_the_queue_are_counted_in_the_bag(make_recorder, source, monkeypatch):
    recorder = make_recorder(queue_mb=1)
    recorder.start(EpisodeInfo("busy"), 0).result(5)
    recorder._request(lambda: time.sleep(0.5))  # a disk that takes its time
    time.sleep(0.1)
    image = received(source)[1]._replace(raw=bytes(4) + bytes(200_000))
    feed(recorder, [image] * 12)
    closed = recorder.stop().result(5)
    reader = BagReader(closed.path)
    kept = sum(1 for _ in reader.messages())
    lost = int(reader.info().extra["messages_lost /image_raw/compressed"])
    assert kept + lost == 12 and lost >= 7
    assert any(problem and f"messages_lost /image_raw/compressed: {lost}" in text for problem, text in recorder.said)


def test_messages_that_never_came_are_counted_by_their_numbers(make_recorder, source):
    recorder = make_recorder()
    numbers = {"/step": [1, 2, 4, 5, 9, 10], "/image_raw/compressed": [70, 71, 72, 1, 2, 74, 3]}  # two cameras
    counters = {topic: iter(values) for topic, values in numbers.items()}
    feed(recorder, [m._replace(number=next(counters.get(m.topic, iter([0])))) for m in received(source)])
    recorder.close()
    reader = BagReader(recorder.folder / "e0")
    assert sum(1 for _ in reader.messages()) == 15  # what did come is there
    assert reader.info().extra == {"messages_lost /step": "4", "messages_lost /image_raw/compressed": "1"}


def test_what_is_lost_before_its_first_step_counts_for_the_episode_that_begins(make_recorder, source, tmp_path):
    recorder = make_recorder()
    second = write_episode(make_episode("e1", seed=1), tmp_path / "source", SPACE)
    counts = iter([1, 2, 3, 4, 5, 6, 50, 51, 52, 53, 54, 55])
    for message in received(source) + received(second):
        recorder.receive(message._replace(number=next(counts) if message.topic == "/step" else 0))
    recorder.close()
    marks = []
    for name in ("e0", "e1"):
        reader = BagReader(recorder.folder / name)
        list(reader.messages())
        marks.append(reader.info().extra)
    assert marks == [{}, {"messages_lost /step": "43"}]  # they may have been steps of it


def test_steps_that_its_end_speaks_of_and_nobody_saw_mark_the_episode(make_recorder, source, monkeypatch):
    monkeypatch.setattr(module, "STRAGGLER_PATIENCE_S", 0.1)
    recorder = make_recorder()
    messages = received(source)
    steps = [m for m in messages if m.topic == "/step"]
    feed(recorder, [m for m in messages if m not in (steps[1], steps[3])])
    recorder.close()
    reader = BagReader(recorder.folder / "e0")
    list(reader.messages())
    assert reader.info().extra == {"steps_missing step": "2"}


def test_a_topic_whose_type_changes_is_named_and_nothing_else_is_lost(make_recorder, source):
    recorder = make_recorder()
    changed = []
    for i, message in enumerate(received(source)):
        changed.append(message)
        if i in (4, 6, 8):
            changed.append(message._replace(topic="/step", type_name="std_msgs/msg/String", raw=bytes(8)))
    feed(recorder, changed)
    recorder.watch_type("/ee_pose", "std_msgs/msg/String of node intruder")
    recorder.watch_type("/ee_pose", "std_msgs/msg/String of node intruder")
    recorder.watch_type("/ee_pose", "")
    recorder.close()
    assert_same_episode(
        without_extra(read_episode(recorder.folder / "e0", SPACE)), without_extra(read_episode(source, SPACE))
    )
    reader = BagReader(recorder.folder / "e0")
    list(reader.messages())
    assert reader.info().extra == {"type_changed /step": "std_msgs/msg/String", "messages_lost /step": "3"}
    said = [text for problem, text in recorder.said if problem and text.startswith("topic")]
    assert len(said) == 2 and "topic /ee_pose: type_changed: std_msgs/msg/String of node intruder" in said[1]


def test_a_type_that_is_foreign_already_marks_the_next_episode(make_recorder, source):
    recorder = make_recorder()
    recorder.watch_type("/joint_states", "std_msgs/msg/String of node intruder")
    feed(recorder, received(source))
    recorder.close()
    reader = BagReader(recorder.folder / "e0")
    list(reader.messages())
    assert reader.info().extra == {"type_changed /joint_states": "std_msgs/msg/String of node intruder"}


@pytest.mark.parametrize("encoding, exact", [("png", True), ("jpeg", False)])
def test_uncompressed_images_are_encoded(make_recorder, source, encoding, exact):
    recorder = make_recorder(image_source="raw", image_encoding=encoding)
    original = read_episode(source, SPACE)
    pictures = iter(original.images)
    for message in received(source):
        if "image" in message.topic:
            header = types.deserialize(message.type_name, message.raw).header
            data = next(pictures).reshape(-1)
            image = types.message("sensor_msgs/msg/Image", header=header, height=64, width=64, step=192,
                                  encoding="rgb8", data=data)  # fmt: skip
            raw = types.serialize("sensor_msgs/msg/Image", image)
            message = Received("/image_raw", "sensor_msgs/msg/Image", raw, message.time_ns)
        recorder.receive(message)
    recorder.close()
    episode = read_episode(recorder.folder / "e0", SPACE)
    difference = np.abs(episode.images.astype(int) - original.images).max()
    assert difference == 0 if exact else 0 < difference < 30
    assert images.decode(recorded(recorder.folder / "e0")[1][1].data).shape == (64, 64, 3)


def test_a_folder_that_goes_away_is_named_and_the_next_episode_is_recorded(make_recorder, source, tmp_path):
    recorder = make_recorder()
    recorder.folder.rmdir()
    recorder.folder.write_text("a file in its place")
    with pytest.raises(AmRosError, match=r"bag .*bags/x: cannot be created: (File exists|Not a directory)"):
        recorder.start(EpisodeInfo("x"), 0).result(5)
    recorder.folder.unlink()
    with pytest.raises(AmRosError, match=r"'y': not recorded: parameter folder: .*bags cannot be used: No such file"):
        recorder.start(EpisodeInfo("y"), 0).result(5)
    recorder.folder.mkdir()
    feed(recorder, received(source))
    recorder.close()
    assert [b.name for b in find_bags(recorder.folder)] == ["e0"]


def test_open_bags_are_closed_when_the_logger_stops(make_recorder, source):
    recorder = make_recorder()
    feed(recorder, received(source)[:6])
    recorder.close()
    reader = BagReader(recorder.folder / "e0")
    assert sum(1 for _ in reader.messages()) == 6 and reader.info().reason == "logger stopped"


def test_bags_of_a_crash_are_put_into_quarantine_and_living_ones_left_alone(make_recorder, tmp_path):
    living = EpisodeBag(tmp_path / "bags", EpisodeInfo("living"))
    for name in ("dead", "dead"):
        (tmp_path / "bags" / f"{name}.unfinished").mkdir()
        (tmp_path / "bags" / f"{name}.unfinished" / f"{name}_0.mcap").touch()
        recorder = make_recorder()
        assert any("dead" in text and "salvage" in text for _, text in recorder.said)
    quarantined = sorted(p.name for p in (tmp_path / "bags" / "quarantine").iterdir())
    assert quarantined == ["dead.1.unfinished", "dead.unfinished"]
    assert living.close().name == "living"
    assert [b.name for b in find_bags(tmp_path / "bags")] == ["living"]


def test_the_bag_is_on_disk_within_the_flush_period(make_recorder, source):
    recorder = make_recorder(flush_period_s=0.1)
    recorder.start(EpisodeInfo("open"), 0).result(5)
    feed(recorder, received(source)[:9])
    time.sleep(0.4)
    size = (recorder.folder / "open.unfinished" / "open_0.mcap").stat().st_size
    assert size > sum(len(m.raw) for m in received(source)[:9]) * 0.7


def test_an_unusable_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(AmRosError, match="parameter folder: .*file/bags cannot be made"):
        EpisodeRecorder(RecorderConfig(folder=str(tmp_path / "file" / "bags")))

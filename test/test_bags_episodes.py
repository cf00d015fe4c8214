"""Episodes to bags and back: nothing is lost on the way, and nothing that is damaged gets in."""

import shutil
import time
from pathlib import Path

import mcap.reader
import numpy as np
import pytest
import rosbags.highlevel
import yaml
from bag_data import IMAGE_TYPE, STEP_TYPE, assert_same_episode, make_episode, recorded
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap_ros2.decoder import DecoderFactory

from am_ros.action import ActionSpace
from am_ros.bags import types
from am_ros.bags.episodes import read_episode, write_episode
from am_ros.bags.finder import find_bags
from am_ros.bags.reader import BagReader
from am_ros.bags.writer import EpisodeBag, info_from_text, info_to_text
from am_ros.episode import EpisodeInfo, Outcome, state_vector, yaw_of_quaternion
from am_ros.errors import AmRosError

SPACE = ActionSpace()
FOREIGN = Path(__file__).resolve().parents[2] / "shared" / "bags" / "rosbag2"


@pytest.fixture
def bag(tmp_path):
    return write_episode(make_episode(), tmp_path, SPACE)


def refused(path) -> str:
    """The one sentence with which a bag is refused."""
    with pytest.raises(AmRosError) as caught:
        read_episode(path, SPACE)
    sentence = str(caught.value)
    assert sentence.startswith("bag ") and "\n" not in sentence and len(sentence) < 400
    return sentence


def test_an_episode_comes_back_as_it_was_written(tmp_path):
    episode = make_episode(steps=15)
    bag = write_episode(episode, tmp_path, SPACE)
    once = read_episode(bag, SPACE)
    assert_same_episode(once, episode, images="jpeg")
    again = read_episode(write_episode(once.with_info(episode_id="e1"), tmp_path, SPACE), SPACE)
    assert_same_episode(again, once.with_info(episode_id="e1"), images="jpeg")


def test_durable_and_quick_bags_are_alike(tmp_path):
    quick = write_episode(make_episode(), tmp_path / "quick", SPACE, durable=False)
    durable = write_episode(make_episode(), tmp_path / "durable", SPACE, durable=True)
    for file in ("e0_0.mcap", "metadata.yaml"):
        assert (quick / file).read_bytes() == (durable / file).read_bytes()


def test_images_are_cropped_and_resized_when_read(tmp_path):
    bag = write_episode(make_episode(size=96), tmp_path, SPACE)
    assert read_episode(bag, SPACE, image_size=(32, 48)).images.shape == (7, 32, 48, 3)


def test_yaw_of_a_tool_that_points_down():
    for yaw in np.linspace(-3.1, 3.1, 25):
        # Rz(yaw) Rx(pi) as a rotation matrix, then as a quaternion: x = cos(yaw/2), y = sin(yaw/2), z = w = 0.
        rz = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
        rotation = rz @ np.diag([1.0, -1.0, -1.0])
        x, y = np.cos(yaw / 2), np.sin(yaw / 2)
        by_quaternion = np.array([[1 - 2 * y * y, 2 * x * y, 0], [2 * x * y, 1 - 2 * x * x, 0], [0, 0, -1]])
        np.testing.assert_allclose(by_quaternion, rotation, atol=1e-12)
        assert yaw_of_quaternion(x, y, 0.0, 0.0) == pytest.approx(yaw)
        assert yaw_of_quaternion(-x, -y, 0.0, 0.0) == pytest.approx(yaw)


@given(st.floats(-10, 10))
def test_the_azimuth_in_a_state_survives_the_way_through_a_quaternion(yaw):
    state = state_vector((0, 0, 0), yaw, 1.0)
    half = np.arctan2(float(state[4]), float(state[5])) / 2
    again = state_vector((0, 0, 0), yaw_of_quaternion(np.cos(half), np.sin(half), 0.0, 0.0), 1.0)
    np.testing.assert_array_equal(state, again)


def test_rosbags_reads_the_bag(bag):
    with rosbags.highlevel.AnyReader([bag]) as reader:
        counts = {c.topic: c.msgcount for c in reader.connections}
        assert counts == {"/image_raw/compressed": 7, "/step": 6, "/episode_event": 2}
        steps = [reader.deserialize(raw, c.msgtype) for c, _, raw in reader.messages() if c.topic == "/step"]
    assert [s.index for s in steps] == list(range(6))
    assert steps[0].source == "expert"


def test_mcap_decodes_the_messages_by_the_schemas_in_the_file(bag):
    with open(bag / "e0_0.mcap", "rb") as stream:
        reader = mcap.reader.make_reader(stream, validate_crcs=True, decoder_factories=[DecoderFactory()])
        decoded = list(reader.iter_decoded_messages(topics=["/step"]))
        assert reader.get_header().profile == "ros2"
        assert {s.encoding for s in reader.get_summary().schemas.values()} == {"ros2msg"}
    assert [d.decoded_message.index for d in decoded] == list(range(6))
    assert decoded[0].decoded_message.observation.ee_pose.orientation.w == 0.0


def test_metadata_is_that_of_rosbag2_in_jazzy(bag):
    metadata = yaml.safe_load((bag / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert metadata["version"] == 9 and metadata["storage_identifier"] == "mcap"
    assert metadata["relative_file_paths"] == ["e0_0.mcap"] and metadata["message_count"] == 15
    assert metadata["custom_data"]["outcome"] == "success" and metadata["custom_data"]["seed"] == "0"
    topic = metadata["topics_with_message_count"][0]["topic_metadata"]
    assert topic["offered_qos_profiles"] == [] and topic["type_description_hash"].startswith("RIHS01_")


def test_type_hashes_are_those_of_the_installed_interfaces():
    am_msgs = pytest.importorskip("am_msgs")
    described = next(
        Path(am_msgs.__file__).parents[p] / "share/am_msgs/msg/Step.json"
        for p in range(1, 6)
        if (Path(am_msgs.__file__).parents[p] / "share/am_msgs/msg/Step.json").exists()
    )
    hashes = {t["type_name"]: t["hash_string"] for t in yaml.safe_load(described.read_text())["type_hashes"]}
    assert types.type_hash(STEP_TYPE) == hashes[STEP_TYPE]


def test_a_lost_metadata_file_does_not_lose_the_episode(bag):
    whole = read_episode(bag, SPACE)
    (bag / "metadata.yaml").unlink()
    assert_same_episode(read_episode(bag, SPACE), whole)
    assert_same_episode(read_episode(bag / "e0_0.mcap", SPACE), whole)


@settings(max_examples=60)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.sampled_from(Outcome),
    st.integers(-(2**63), 2**63 - 1),
)
def test_any_text_survives_in_the_metadata(text, outcome, seed):
    from am_ros.bags.metadata import _quote

    info = EpisodeInfo("e", text, text, text, seed, outcome, text, {"k " + text: text})
    assert info_from_text(info_to_text(info)) == info
    for loader in (yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        assert yaml.load(f"{{{_quote('k' + text)}: {_quote(text)}}}", loader) == {"k" + text: text}


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "a b", "x" * 65, "e0.unfinished"])
def test_a_path_like_name_is_refused(tmp_path, name):
    with pytest.raises(AmRosError, match="letters, digits"):
        EpisodeBag(tmp_path, EpisodeInfo(name))
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_taken_is_refused_and_what_is_there_stays(bag, tmp_path):
    before = (bag / "e0_0.mcap").read_bytes()
    with pytest.raises(AmRosError, match="exists already"):
        write_episode(make_episode(seed=1), tmp_path, SPACE)
    open_bag = EpisodeBag(tmp_path, EpisodeInfo("open"))
    with pytest.raises(AmRosError, match="exists already"):
        EpisodeBag(tmp_path, EpisodeInfo("open"))
    open_bag.discard()
    assert (bag / "e0_0.mcap").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["e0"]


def test_an_action_outside_the_action_space_is_refused_and_leaves_nothing(tmp_path):
    episode = make_episode()
    episode.actions[2, 0] = 1.5
    with pytest.raises(AmRosError, match="'e0' step 2: .*action space"):
        write_episode(episode, tmp_path, SPACE)
    assert list(tmp_path.iterdir()) == []


def test_different_images_with_the_same_stamp_are_refused(tmp_path):
    episode = make_episode()
    episode.stamps_ns[3] = episode.stamps_ns[2]
    with pytest.raises(AmRosError, match="'e0' step 2: its image and the next differ"):
        write_episode(episode, tmp_path, SPACE)


def test_a_terminating_step_and_the_end_may_share_their_image(tmp_path):
    episode = make_episode()
    episode.stamps_ns[-1], episode.images[-1] = episode.stamps_ns[-2], episode.images[-2]
    bag = write_episode(episode, tmp_path, SPACE)
    assert sum("image" in m.topic for m in BagReader(bag).messages()) == 6
    assert_same_episode(read_episode(bag, SPACE), episode, images="jpeg")


def test_steps_recorded_with_larger_limits_are_refused(bag):
    small = ActionSpace(max_translation_m=(0.001, 0.001, 0.001))
    with pytest.raises(AmRosError, match="step 0: action_too_large"):
        read_episode(bag, small)


def test_find_bags_finds_finished_bags_in_shards_and_no_others(tmp_path):
    for shard, name in (("a", "e1"), ("a", "e0"), ("b/c", "e2")):
        write_episode(make_episode(name, steps=1), tmp_path / shard, SPACE)
    unfinished = EpisodeBag(tmp_path / "a", EpisodeInfo("open"))
    (tmp_path / "notes.txt").write_text("x")
    assert [str(p.relative_to(tmp_path)) for p in find_bags(tmp_path)] == ["a/e0", "a/e1", "b/c/e2"]
    assert find_bags(tmp_path / "a" / "e0") == [tmp_path / "a" / "e0"]
    unfinished.discard()
    with pytest.raises(AmRosError, match="is not a folder"):
        find_bags(tmp_path / "nowhere")


def test_find_bags_follows_links_out_of_the_folder_but_never_in_a_circle(tmp_path):
    write_episode(make_episode("e0", steps=1), tmp_path / "bags", SPACE)
    write_episode(make_episode("e1", steps=1), tmp_path / "disk2", SPACE)
    for name, target in (("more", "disk2"), ("again", "disk2"), ("self", "bags"), ("up", "")):
        (tmp_path / "bags" / name).symlink_to(tmp_path / target)
    assert sorted(p.name for p in find_bags(tmp_path / "bags")) == ["e0", "e1"]


def rewrite(bag: Path, name: str, keep=lambda topic: True, type_of=lambda topic, name: name) -> Path:
    """A copy of a bag with topics left out or of another type."""
    copy = EpisodeBag(bag.parent, EpisodeInfo(name), durable=False)
    for topic, _, raw, type_name in recorded(bag):
        if keep(topic):
            copy.write(topic, type_of(topic, type_name), raw, 1)
    return copy.close()


def test_a_bag_without_images_is_refused(bag):
    assert "has no images" in refused(rewrite(bag, "blind", keep=lambda t: "image" not in t))


@pytest.mark.parametrize("topic", ["step", "episode_event"])
def test_a_bag_without_steps_or_events_is_refused(bag, topic):
    assert f"has no topic {topic}" in refused(rewrite(bag, "poor", keep=lambda t: topic not in t))


def test_a_topic_of_another_type_is_refused(bag):
    other = rewrite(bag, "other", type_of=lambda t, n: "sensor_msgs/msg/Image" if "image" in t else n)
    assert f"/image_raw/compressed has type sensor_msgs/msg/Image, expected {IMAGE_TYPE}" in refused(other)


def test_a_bag_of_two_workcells_is_refused(bag):
    copy = EpisodeBag(bag.parent, EpisodeInfo("two"), durable=False)
    for topic, _, raw, type_name in recorded(bag):
        for namespace in ("/left", "/right"):
            copy.write(namespace + topic, type_name, raw, 1)
    assert "several topics" in refused(copy.close())


def test_a_bag_in_a_namespace_is_read(bag):
    copy = EpisodeBag(bag.parent, EpisodeInfo("e0x"), durable=False)
    for topic, msg, _, type_name in recorded(bag):
        if hasattr(msg, "episode_id"):
            msg.episode_id = "e0x"
        copy.write("/cell_3" + topic, type_name, types.serialize(type_name, msg), 1)
    assert len(read_episode(copy.close(), SPACE)) == 6


def test_counts_that_disagree_with_the_metadata_are_refused(bag):
    path = bag / "metadata.yaml"
    path.write_text(path.read_text().replace("message_count: 6", "message_count: 5"))
    assert "says 5 messages on /step, the file holds 6" in refused(bag)


def test_another_outcome_in_the_metadata_is_refused(bag):
    path = bag / "metadata.yaml"
    path.write_text(path.read_text().replace('"outcome": "success"', '"outcome": "failure"'))
    assert "custom_data in metadata.yaml disagrees" in refused(bag)


def test_a_definition_that_changed_is_refused(bag, monkeypatch):
    monkeypatch.setattr(types, "type_hash", lambda name: "RIHS01_" + "0" * 64)
    assert "another definition of" in refused(bag)


def test_an_episode_of_another_name_is_refused(bag):
    renamed = bag.rename(bag.with_name("e7"))
    assert len(read_episode(renamed, SPACE)) == 6  # the folder may be renamed ...
    copy = rewrite(renamed, "e8")
    assert "is of episode 'e8', but holds 'e0'" in refused(copy)  # ... but what it says of itself must fit


@pytest.mark.parametrize(
    "content",
    [
        "",
        "x",
        "- [",
        "rosbag2_bagfile_information: 3",
        "rosbag2_bagfile_information: {}",
        "rosbag2_bagfile_information: {storage_identifier: sqlite3}",
        "rosbag2_bagfile_information: {storage_identifier: mcap, relative_file_paths: [../x]}",
        "rosbag2_bagfile_information: {storage_identifier: mcap, compression_mode: FILE}",
    ],
)
def test_metadata_that_is_none_is_refused(bag, content):
    (bag / "metadata.yaml").write_text(content)
    refused(bag)


def test_paths_that_hold_no_bag_are_refused(tmp_path):
    assert "does not exist" in refused(tmp_path / "nowhere")
    assert "holds no .mcap file" in refused(tmp_path)
    (tmp_path / "empty.mcap").touch()
    refused(tmp_path / "empty.mcap")


def test_every_truncation_is_refused(bag):
    data = (bag / "e0_0.mcap").read_bytes()
    rng = np.random.default_rng(1)
    for length in [0, 1, len(data) - 1, *rng.integers(0, len(data), 50)]:
        (bag / "e0_0.mcap").write_bytes(data[:length])
        assert "damaged" in refused(bag)


def test_no_flipped_bit_gives_other_data(bag):
    whole = read_episode(bag, SPACE)
    rng = np.random.default_rng(2)
    for name, flips in (("e0_0.mcap", 80), ("metadata.yaml", 80)):
        data = (bag / name).read_bytes()
        refusals = 0
        for bit in rng.integers(0, 8 * len(data), flips):
            damaged = bytearray(data)
            damaged[bit // 8] ^= 1 << bit % 8
            (bag / name).write_bytes(damaged)
            try:
                episode = read_episode(bag, SPACE)
            except AmRosError as error:
                refusals += 1
                assert str(error).startswith("bag ") and "\n" not in str(error)
            else:  # a bit of metadata.yaml that nobody needs, such as the name of the distribution
                assert name == "metadata.yaml"
                assert_same_episode(episode, whole)
        assert refusals == flips or name == "metadata.yaml"
        (bag / name).write_bytes(data)


@pytest.mark.skipif(not FOREIGN.is_dir(), reason="bags of other projects are not here")
@pytest.mark.parametrize("name, messages", [("cdr_test", 7), ("wbag", 6074), ("multiple_files", None)])
def test_bags_of_others_are_counted_and_refused_as_episodes(name, messages):
    counted = sum(1 for _ in BagReader(FOREIGN / name).messages())
    assert counted == messages if messages is not None else counted > 0
    assert "has no images" in refused(FOREIGN / name)


@pytest.mark.skipif(not FOREIGN.is_dir(), reason="bags of other projects are not here")
def test_a_bag_in_another_serialisation_is_refused():
    assert "wrong_format" in refused(FOREIGN / "wrong_rmw_test")


def test_writing_and_reading_are_quick(tmp_path):
    episodes = [make_episode(f"e{i}", steps=15, seed=i) for i in range(20)]
    write_episode(make_episode("warm"), tmp_path, SPACE)
    write_ms, read_ms = [], []
    for episode in episodes:
        began = time.process_time()
        bag = write_episode(episode, tmp_path, SPACE)
        written = time.process_time()
        read_episode(bag, SPACE)
        write_ms.append(1e3 * (written - began))
        read_ms.append(1e3 * (time.process_time() - written))
    # Processor time, so that a busy machine does not matter; about 3 ms each (benchmarks/bags.py).
    assert np.median(write_ms) < 15 and np.median(read_ms) < 8


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(AmRosError, match=r"bag .*cannot be created|bag .*exists"):
        EpisodeBag(tmp_path / "file", EpisodeInfo("e0"))


def test_copying_a_bag_keeps_it_readable(bag, tmp_path):
    copy = shutil.copytree(bag, tmp_path / "copies" / "e0")
    assert_same_episode(read_episode(copy, SPACE), read_episode(bag, SPACE))

"""Bags of other cells become the episodes that were driven there: every dialect, every bag format, every cut."""

import json
import re
import shutil
import sqlite3
import tracemalloc
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import yaml
from bag_data import make_episode

from am_ros import cli
from am_ros.action import CLOSE, OPEN, TERMINATE, ActionSpace
from am_ros.bags.episodes import read_episode, write_episode
from am_ros.bags.finder import find_bags
from am_ros.bags.verify import verify
from am_ros.cell.environment import share_directory
from am_ros.control.robot import robot_description, robot_model
from am_ros.episode import Outcome
from am_ros.errors import AmRosError
from am_ros.ingest.conversion import BagReport, ingest_bag
from am_ros.ingest.foreign import ForeignBag
from am_ros.ingest.mapping import SECTIONS, describe_keys, load_mapping
from am_ros.sim.environment import Environment
from am_ros.sim.episodes import fixed_noise
from am_ros.sim.foreign_cell import LBR_JOINTS, PAUSE_S, START_NS, BagOut, drive, write_bag, write_lbr_fri
from am_ros.sim.tasks import find_task, train_seed

SPACE = ActionSpace()
EXAMPLES = share_directory() / "config" / "ingest"
FOREIGN = Path(__file__).resolve().parents[2] / "shared" / "bags" / "rosbag2"


@pytest.fixture(scope="module")
def drives():
    """Two expert demonstrations: one with an image at each step, as our own cell sees it, one filmed at 10 Hz."""
    with Environment(find_task("pick_place")) as environment:
        stepwise = drive(environment, train_seed(0), fixed_noise(0.0), image_rate_hz=0)
        filmed = drive(environment, train_seed(1), fixed_noise(0.0), image_rate_hz=10)
    return stepwise, filmed


@pytest.fixture(scope="module")
def bags(drives, tmp_path_factory):
    """A bag of both demonstrations in each dialect, in the format it usually has."""
    folder = tmp_path_factory.mktemp("foreign")
    return {name: write_bag(folder / name, name, drives) for name in ("lbr_fri", "lbr_fri_tf", "ros1")}


def mapping(tmp_path, example: str, **sections):
    """An example mapping with some keys changed."""
    content = yaml.safe_load((EXAMPLES / f"{example}.yaml").read_text())
    for section, keys in sections.items():
        content.setdefault(section, {}).update(keys)
    path = tmp_path / f"{example}.yaml"
    path.write_text(yaml.safe_dump(content))
    return load_mapping(path)


def ingested(bag, rules):
    """Episodes and report of a bag."""
    report = BagReport(bag)
    return list(ingest_bag(bag, "demo", rules, SPACE, report)), report


def refused(bag, rules) -> str:
    with pytest.raises(AmRosError) as caught:
        ingested(bag, rules)
    sentence = str(caught.value)
    assert sentence.startswith(f"bag {bag}: ") and "\n" not in sentence
    return sentence


@pytest.mark.parametrize("dialect", ["lbr_fri", "lbr_fri_tf", "ros1"])
def test_a_drive_comes_back_as_the_steps_that_were_acted(bags, drives, dialect, tmp_path):
    rules = mapping(tmp_path, dialect, steps={"time_s": 0.0, "still_m": 0.0, "still_rad": 0.0}, episodes={"cut": "gap"})
    truth = drives[0].performance
    episode = ingested(bags[dialect], rules)[0][0]

    assert len(episode) == len(truth.actions) and episode.actions[-1][TERMINATE] == 1
    for t, (action, wanted) in enumerate(zip(episode.actions, truth.actions, strict=True)):
        moved, commanded = SPACE.from_vector(action), SPACE.from_vector(wanted)
        # The arm stops within 3 mm and half a degree of what was commanded.
        np.testing.assert_allclose(moved.translation_m, commanded.translation_m, atol=3e-3, err_msg=f"step {t}")
        assert moved.rotation_z_rad == pytest.approx(commanded.rotation_z_rad, abs=0.01)
        assert moved.gripper == commanded.gripper, f"step {t}"
    states = np.stack([o.state for o in truth.observations])
    np.testing.assert_allclose(episode.states[:, 1:], states[:, 1:], atol=1e-3)
    if dialect != "lbr_fri_tf":  # where only commands tell of the gripper
        np.testing.assert_allclose(episode.states[:, 0], states[:, 0], atol=0.01)
    seen = np.stack([o.image for o in truth.observations])
    assert np.abs(episode.images.astype(int) - seen).mean() < (3 if dialect == "ros1" else 1e-9)


@pytest.mark.parametrize("kind", ["mcap", "sqlite3"])
def test_the_format_of_a_bag_changes_nothing(drives, bags, kind, tmp_path):
    rules = mapping(tmp_path, "lbr_fri")
    bag = write_bag(tmp_path / "same", "lbr_fri", drives, kind)
    assert ForeignBag(bag).storage == f"rosbag2 {kind}"
    expected, found = ingested(bags["lbr_fri"], rules)[0], ingested(bag, rules)[0]
    (tmp_path / "same" / "metadata.yaml").unlink()  # a recorder that was killed leaves none
    without = ingested(bag, rules)[0]
    for a, b, c in zip(expected, found, without, strict=True):
        for name in ("images", "states", "actions", "stamps_ns"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
            np.testing.assert_array_equal(getattr(a, name), getattr(c, name))


def test_a_film_becomes_steps_of_the_time_that_was_asked_for_and_no_motion_is_lost(bags, drives, tmp_path):
    rules = mapping(tmp_path, "lbr_fri", steps={"time_s": 0.4})
    episode = ingested(bags["lbr_fri"], rules)[0][1]
    moves = episode.actions[:-1]
    total = (moves[:, :3] * SPACE.scale[:3]).sum(axis=0)
    x, y, z = (episode.states[:, i] for i in (2, 3, 1))
    np.testing.assert_allclose(total, [x[-1] - x[0], y[-1] - y[0], z[-1] - z[0]], atol=1e-5)
    assert (moves[:, CLOSE] == 1).any() and (moves[:, OPEN] == 1).any()
    spacing = np.diff(episode.stamps_ns[:-1]) / 1e9
    assert (spacing[:-1] >= 0.39).sum() > len(spacing) / 2
    began_ns = START_NS + round((drives[0].duration_s + PAUSE_S) * 1e9)
    filmed = {round(t, 3): rgb for t, rgb in drives[1].pictures}
    for image, stamp in zip(episode.images, episode.stamps_ns, strict=True):
        np.testing.assert_array_equal(image, filmed[round((stamp - began_ns) / 1e9, 3)])


def test_steps_beyond_the_action_space_are_split_or_their_episode_is_refused(bags, tmp_path):
    split, report = ingested(bags["lbr_fri"], mapping(tmp_path, "lbr_fri", steps={"time_s": 3.0}))
    assert report.dropped["steps split at an image in between"] > 0 and len(split) >= 1
    assert all((np.abs(e.actions[:, :4]) <= 1 + 1e-4).all() for e in split)
    rules = mapping(tmp_path, "lbr_fri", steps={"time_s": 3.0, "too_large": "refuse"})
    kept, report = ingested(bags["lbr_fri"], rules)
    assert report.dropped["episodes: refused, a step is beyond the action space"] == 2 - len(kept) > 0


@pytest.mark.parametrize(
    "changes, reasons",
    [
        ({"cut": "marker"}, ["marker", "marker"]),
        ({"cut": "gap"}, ["gap", "bag_end"]),
        ({"cut": "gap", "gap_s": 60.0}, ["jump", "bag_end"]),
        ({"cut": "gripper", "after_s": 0.3}, ["gripper", "gripper"]),
        ({"cut": "gap", "max_steps": 5, "min_steps": 1}, ["step_limit", "gap", "step_limit", "bag_end"]),
    ],
)
def test_a_recording_is_cut_where_the_mapping_says(bags, tmp_path, changes, reasons):
    rules = mapping(tmp_path, "lbr_fri", episodes=changes, steps={"time_s": 0.0 if "after_s" in changes else 0.5})
    episodes, _ = ingested(bags["lbr_fri"], rules)
    cuts = [e.info.extra["ingested_cut"] for e in episodes]
    assert cuts == reasons
    for episode, cut in zip(episodes, cuts, strict=True):
        meant = cut == changes["cut"] or (changes["cut"] == "gap" and cut == "bag_end")
        assert bool(episode.actions[-1][TERMINATE]) == meant


def test_a_button_without_a_value_starts_the_next_episode(drives, tmp_path):
    class Button(BagOut):
        def write(self, topic, type_name, time_ns, message):
            if topic == "/demonstration":
                type_name = "std_msgs/msg/Empty"
                message = self.make(type_name, structure_needs_at_least_one_member=0)
            super().write(topic, type_name, time_ns, message)

    bag = Button(tmp_path / "button", "mcap")
    write_lbr_fri(bag, drives)
    bag.close()
    episodes, _ = ingested(tmp_path / "button", mapping(tmp_path, "lbr_fri"))
    assert [e.info.extra["ingested_cut"] for e in episodes] == ["marker", "marker"]


def test_markers_tell_outcomes_and_labels_and_withdraw_episodes(drives, tmp_path):
    """Strings as markers, written between the demonstrations of the same drive."""
    says = iter(["begin", "Success", "begin", "abort", "begin", "Good"])

    class Talking(BagOut):
        def write(self, topic, type_name, time_ns, message):
            if topic == "/demonstration":
                word = next(says)
                super().write(topic, "std_msgs/msg/String", time_ns, self.make("std_msgs/msg/String", data=word))
            else:
                super().write(topic, type_name, time_ns, message)

    bag = Talking(tmp_path / "talk", "mcap")
    write_lbr_fri(bag, [*drives, drives[0]])
    bag.close()
    rules = mapping(tmp_path, "lbr_fri", marker={"start": ["begin"], "end": []})
    episodes, report = ingested(tmp_path / "talk", rules)
    assert [e.info.outcome for e in episodes] == [Outcome.SUCCESS, Outcome.UNKNOWN]
    assert [e.info.extra.get("label") for e in episodes] == [None, "good"]
    assert report.dropped["episodes: discarded by marker"] == 1


@pytest.fixture
def late_robot(drives, tmp_path):
    """A bag whose robot's clock is a thousand seconds behind the camera's."""

    class Late(BagOut):
        def header(self, time_ns, frame=""):
            return super().header(time_ns if frame == "camera" else time_ns - 10**12, frame)

    bag = Late(tmp_path / "late", "mcap")
    write_lbr_fri(bag, drives)
    bag.close()
    return tmp_path / "late"


def test_what_cannot_be_used_is_counted_and_explained(bags, late_robot, tmp_path):
    sentence = refused(late_robot, mapping(tmp_path, "lbr_fri"))
    assert "are of clocks that differ by 999.971 s" in sentence
    assert re.search(r"`offset_s: (999.9|1000.0)\d\d` under pose and `offset_s: \S+` under gripper puts", sentence)
    receive = {"stamp": "receive"}
    assert len(ingested(late_robot, mapping(tmp_path, "lbr_fri", pose=receive, gripper=receive))[0]) == 2
    # A tool frame whose z axis points back into the arm.
    turned = {"tool_offset": [0, 0, 0, 3.1416, 0, 0]}
    _, report = ingested(bags["lbr_fri"], mapping(tmp_path, "lbr_fri", pose=turned))
    assert report.dropped["images: tool tilted"] > 20 and "180 deg away from straight down" in report.hint
    names = ["A1", "A2", "A3", "A4", "A5", "A6", "A7"]
    _, report = ingested(bags["lbr_fri"], mapping(tmp_path, "lbr_fri", pose={"joints": names}))
    assert "joint A1, A2" in report.hint and "lbr_A1" in report.hint
    _, report = ingested(bags["lbr_fri_tf"], mapping(tmp_path, "lbr_fri_tf", pose={"tip": "tool0"}))
    assert "frame tool0 not found; there are cart, lbr_link_0, lbr_link_7" in report.hint


def test_a_mapping_that_does_not_fit_the_bag_is_refused_by_name(bags, tmp_path):
    bag = bags["lbr_fri"]
    sentence = refused(bag, mapping(tmp_path, "lbr_fri", image={"topic": "/camera/image"}))
    assert "image: topic /camera/image not found; the bag has /camera/color/image_raw (sensor_msgs/" in sentence
    sentence = refused(bag, mapping(tmp_path, "lbr_fri", image={"type": "sensor_msgs/msg/CompressedImage"}))
    assert "has type sensor_msgs/msg/Image, the mapping says" in sentence
    sentence = refused(bag, mapping(tmp_path, "lbr_fri", image={"topic": "/demonstration"}))
    assert "has type std_msgs/msg/Bool, expected sensor_msgs/msg/Image or" in sentence
    sentence = refused(bag, mapping(tmp_path, "lbr_fri", gripper={"field": "positions[0]"}))
    assert "there is no positions; there is header, name, position, velocity, effort" in sentence
    sentence = refused(bags["ros1"], mapping(tmp_path, "ros1", pose={"base": "base_link", "field": "poseStamped.pose"}))
    assert "is in frame 'iiwa_link_0', the mapping says 'base_link'" in sentence
    assert "name the `field`" in refused(bags["ros1"], mapping(tmp_path, "ros1", pose={"field": ""}))


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("image: {topci: /a}", "image: key 'topci' unknown (did you mean topic?); there are topic, type, encoding"),
        ("images: {topic: /a}", "section 'images' unknown (did you mean image?); there are image, pose, gripper"),
        ("pose: {topic: /p}", "image: key topic is missing"),
        ("image: {topic: /a}\npose: {source: tf, tip: t}", "pose: key base is missing, which source: tf needs"),
        ("image: {topic: /a}\npose: {source: tcp}", "pose: source: 'tcp' is not one of pose, tf, joints"),
        ("image: {topic: /a, width: wide}", "image: width: 'wide' is not of type int"),
        ("image: {topic: /a, width: 4000}", "image: width: 4000 is outside 8 ... 1024"),
        ("image: {topic: /a}\npose: {topic: /p, tool_offset: [0, 0, 0.1]}", "pose: tool_offset: "),
        ("image: {topic: /a}\npose: {topic: /p}\nepisodes: {cut: marker}", "cut: marker needs the section marker"),
        ("image: {topic: /a}\npose: {topic: /p}\ngripper: {topic: /g, open: 0.0}", "gripper: open and closed must be"),
        ("- image", "expected sections image, pose"),
        ("image: [", "is not YAML"),
    ],
)
def test_a_misspelt_mapping_is_refused_by_file_and_key(tmp_path, text, sentence):
    path = tmp_path / "m.yaml"
    path.write_text(text)
    with pytest.raises(AmRosError) as caught:
        load_mapping(path)
    assert str(caught.value).startswith(f"mapping {path}: ") and sentence in str(caught.value)


def test_every_example_and_the_printed_template_are_mappings(tmp_path):
    for path in EXAMPLES.glob("*.yaml"):
        load_mapping(path)
    template = yaml.safe_load(describe_keys())
    assert template.keys() == SECTIONS.keys()
    template["image"]["topic"] = template["pose"]["topic"] = "/a"
    (tmp_path / "t.yaml").write_text(yaml.safe_dump(template))
    assert load_mapping(tmp_path / "t.yaml").steps == SECTIONS["steps"]()


def test_the_command_writes_bags_that_the_trainer_takes(bags, tmp_path, capsys):
    arguments = ["bags", "ingest", str(bags["lbr_fri"].parent / "lbr_fri"), "--mapping", str(EXAMPLES / "lbr_fri.yaml")]
    assert cli.main([*arguments, "--dry-run"]) == 0
    assert "2 episodes" in capsys.readouterr().out
    out = tmp_path / "episodes"
    assert cli.main([*arguments, "--out", str(out), "--json", str(tmp_path / "report.json")]) == 0
    written = find_bags(out)
    assert [b.name for b in written] == ["lbr_fri_0000", "lbr_fri_0001"]
    for bag in written:
        assert verify(bag, SPACE).problems == []
    report = json.loads((tmp_path / "report.json").read_text())["bags"][0]
    assert report["messages"]["/lbr/joint_states"] > 100
    assert report["steps"] == sum(len(read_episode(bag, SPACE)) for bag in written)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert cli.main([*arguments, "--out", str(out)]) == 0  # goes on where it was stopped
    assert "2 episodes: there already" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    shutil.move(out / "lbr_fri_0001", tmp_path / "moved")
    shutil.copytree(out / "lbr_fri_0000", out / "lbr_fri_0001")
    assert cli.main([*arguments, "--out", str(out)]) == 1  # what is something else is not overwritten
    assert "1 bags refused" in capsys.readouterr().out


def test_topics_of_a_foreign_bag_are_listed_with_counts_and_rates(bags, capsys):
    assert cli.main(["bags", "topics", str(bags["ros1"])]) == 0
    printed = capsys.readouterr().out
    assert "ROS 1" in printed and "iiwa_msgs/msg/CartesianPose" in printed and " Hz" in printed


def test_a_damaged_bag_is_refused_by_name(bags, tmp_path):
    rules = mapping(tmp_path, "lbr_fri")
    bag = shutil.copytree(bags["lbr_fri"], tmp_path / "damaged")
    file = next(bag.glob("*.mcap"))
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 3])
    assert "breaks off at byte" in refused(bag, rules)
    file.write_bytes(data)
    listing = (bag / "metadata.yaml").read_text()
    (bag / "metadata.yaml").write_text(listing.replace("message_count: 463", "message_count: 999"))
    assert any("says 999 messages on" in note for note in ingested(bag, rules)[1].notes)
    (tmp_path / "text.bag").write_text("no bag")
    refused(tmp_path / "text.bag", rules)
    refused(tmp_path / "missing.bag", rules)
    own = write_episode(make_episode(), tmp_path, SPACE)  # with checksums, as `ros2 bag record` writes them
    file = next(own.glob("*.mcap"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 255
    file.write_bytes(data)
    with ForeignBag(own) as bag:
        read = len(list(bag.messages(set(bag.topics))))
        assert read < sum(t.messages for t in bag.topics.values()) and "wrong checksum of a chunk" in bag.lost[0]


@pytest.mark.skipif(not FOREIGN.is_dir(), reason="bags of other projects are not here")
@pytest.mark.parametrize("name, messages", [("cdr_test", 7), ("wbag", 6074), ("multiple_files", 3177)])
def test_bags_of_other_projects_are_opened_counted_and_refused_without_a_camera(name, messages, tmp_path):
    with ForeignBag(FOREIGN / name) as bag:
        topics = {t.name: t.messages for t in bag.topics.values()}
        assert sum(topics.values()) == messages
        assert sum(1 for _ in bag.messages(set(topics))) == messages
    sentence = refused(FOREIGN / name, mapping(tmp_path, "lbr_fri"))
    assert "image: topic /camera/color/image_raw not found; the bag has " in sentence


@pytest.mark.skipif(not FOREIGN.is_dir(), reason="bags of other projects are not here")
def test_a_bag_in_another_serialisation_is_refused(tmp_path):
    assert "wrong_format" in refused(FOREIGN / "wrong_rmw_test", mapping(tmp_path, "lbr_fri"))


def test_a_description_of_ones_own_gives_the_same_poses_as_ours(bags, tmp_path):
    text = robot_description("iiwa14")
    for ours, theirs in zip(robot_model("iiwa14").joint_names, LBR_JOINTS, strict=True):
        text = text.replace(f'"{ours}"', f'"{theirs}"')
    (tmp_path / "cell.urdf").write_text(text)
    own = mapping(tmp_path, "lbr_fri", pose={"urdf": "cell.urdf", "tip": "tcp"})
    expected = ingested(bags["lbr_fri"], mapping(tmp_path, "lbr_fri"))[0]
    for a, b in zip(expected, ingested(bags["lbr_fri"], own)[0], strict=True):
        np.testing.assert_allclose(a.states, b.states, atol=1e-6)


def test_a_recording_of_an_older_ros_without_definitions_is_read(bags, drives, tmp_path):
    bag = write_bag(tmp_path / "humble", "lbr_fri_tf", drives)
    with closing(sqlite3.connect(next(bag.glob("*.db3")))) as database:
        database.execute("DELETE FROM message_definitions")
        database.commit()
    rules = mapping(tmp_path, "lbr_fri_tf")
    for a, b in zip(ingested(bags["lbr_fri_tf"], rules)[0], ingested(bag, rules)[0], strict=True):
        np.testing.assert_array_equal(a.actions, b.actions)


def test_memory_does_not_grow_with_the_bag(drives, tmp_path):
    rules, peaks = mapping(tmp_path, "lbr_fri"), []
    for count in (4, 12):  # from 20 s on: so long are poses kept
        bag = write_bag(tmp_path / f"long_{count}", "lbr_fri", [drives[1]] * count)
        tracemalloc.start()
        made = sum(1 for _ in ingest_bag(bag, "long", rules, SPACE, BagReport(bag)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert made == count
    assert peaks[1] < 1.3 * peaks[0]


def test_clocks_that_were_set_back_in_mid_recording_end_the_episode(drives, tmp_path):
    class SetBack(BagOut):
        shift_ns = 0

        def header(self, time_ns, frame=""):
            return super().header(time_ns + self.shift_ns, frame)

        def write(self, topic, type_name, time_ns, message):
            super().write(topic, type_name, time_ns, message)
            if topic == "/demonstration" and not message.data:
                self.shift_ns = -(10**12)

    bag = SetBack(tmp_path / "set_back", "mcap")
    write_lbr_fri(bag, drives)
    bag.close()
    episodes, _ = ingested(tmp_path / "set_back", mapping(tmp_path, "lbr_fri", episodes={"cut": "gap"}))
    assert [e.info.extra["ingested_cut"] for e in episodes] == ["stamps_went_back", "bag_end"]
    assert episodes[1].stamps_ns[0] < episodes[0].stamps_ns[0]


def test_every_key_is_documented_as_the_command_prints_it():
    assert describe_keys() in (share_directory() / "docs" / "ingest.md").read_text()

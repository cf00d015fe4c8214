"""Clocks of foreign bags: what differs is named and corrected by a value that is shown, or the recording is cut."""

import re
import sqlite3

import numpy as np
import pytest
from recordings import (
    SPACE,
    STORE,
    T0,
    camera,
    image,
    ingested,
    largest_error_m,
    make,
    offset_by,
    picture,
    pose,
    poses,
    rules,
    write,
    x_of,
)
from rosbags.rosbag1 import Writer as Writer1
from rosbags.typesys import Stores, get_typestore

from am_ros import cli
from am_ros.errors import AmRosError
from am_ros.ingest.clocks import Clocks
from am_ros.ingest.conversion import BagReport, ingest_bag
from am_ros.ingest.motion import MotionOffset
from am_ros.ingest.poses import ToolPose

PIXEL_M = 0.4 / 63  # of a picture: the truth is known no better


def refusal(bag, mapping) -> str:
    with pytest.raises(AmRosError) as caught:
        ingested(bag, mapping)
    return str(caught.value)


@pytest.mark.parametrize(
    "cam, arm, role, offset",
    [(-10.0, 0.0, "image", 10.0), (-1.0, 0.0, "image", 1.0), (1.0, 0.0, "image", -1.0), (0.0, 3.0, "pose", -3.0),
     (0.0, -3.0, "pose", 3.0), (-0.4, 0.0, "image", 0.4), (-1.7e9, 0.0, "image", 1.7e9)],
)  # fmt: skip
def test_a_clock_that_differs_is_refused_with_the_value_that_mends_it(tmp_path, cam, arm, role, offset):
    bag = write(tmp_path / "bag", camera(20, shift_s=cam) + poses(20, shift_s=arm))
    mapping = rules(tmp_path)
    sentence = refusal(bag, mapping)
    told = float(re.search(rf"`offset_s: (\S+)` under {role} puts that right", sentence)[1])
    assert told == pytest.approx(offset, abs=0.02), sentence
    apart = float(re.search(r"clocks that differ by (\S+) s", sentence)[1])
    assert apart == pytest.approx(abs(offset), abs=0.03)  # the camera's messages take 20 ms on their way
    episodes, report = ingested(bag, offset_by(mapping, role, told))
    assert sum(map(len, episodes)) > 35 and largest_error_m(episodes) < PIXEL_M + 0.02 * 0.12
    assert not report.doubts


def test_an_arm_that_was_recorded_before_and_after_the_camera_hides_nothing(tmp_path):
    """Every image has a pose at its stamp, of another time."""
    seen = []
    for topic, kind, at, _ in camera(30):
        t = at - T0 - 0.02 + 15  # seconds since the arm was switched on
        seen.append((topic, kind, T0 + t + 0.02, image(T0 + t - 10, picture(x_of(t)))))
    bag = write(tmp_path / "bag", seen + poses(60))
    sentence = refusal(bag, rules(tmp_path))
    assert "the stamps of /cam and /pose are of clocks that differ by 10.019 s" in sentence
    assert re.search(r"`offset_s: (9\.9[89]|10\.0[01])\d` under image", sentence)


def test_dry_run_shows_the_clocks_and_the_offset_by_the_pictures(tmp_path, capsys):
    bag = write(tmp_path / "bag", camera(30) + poses(30))
    mapping = rules(tmp_path)
    assert cli.main(["bags", "ingest", str(bag), "--mapping", mapping.path, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "clock: /cam: received 0.020 s after its stamp" in printed and "camera against tool: -0.0" in printed
    bag = write(tmp_path / "late", camera(30, shift_s=-0.25) + poses(30))  # as if pictures came late; less than refused
    assert cli.main(["bags", "ingest", str(bag), "--mapping", mapping.path, "--dry-run"]) == 0
    said = "WARNING: image: picture and tool do not move at the same time"
    warning = re.search(rf"{said}.*`offset_s: (\S+)`", capsys.readouterr().out)
    assert float(warning[1]) == pytest.approx(0.25, abs=0.02)


def test_delays_of_a_slow_camera_are_believed_where_the_mapping_allows_them(tmp_path):
    """Stamps are right, and the messages come 0.5 s late: allowed by the mapping, confirmed by the pictures."""
    late = [(topic, kind, at + 0.5, message) for topic, kind, at, message in camera(20)]
    bag = write(tmp_path / "bag", late + poses(20))
    assert "o constant offset" in refusal(bag, rules(tmp_path))
    episodes, report = ingested(bag, rules(tmp_path, clocks={"max_delay_s": 0.8}))
    assert largest_error_m(episodes) < PIXEL_M and not report.doubts


@pytest.mark.parametrize("back", [4.05, 1.55, 0.3])
@pytest.mark.parametrize("kind", ["mcap", "sqlite3", "ros1"])
def test_a_recorders_clock_that_is_set_back_makes_two_episodes(tmp_path, back, kind):
    """Stamps and reception go back; the file is in the order of the recording."""

    def clock(t: float) -> float:
        return T0 + (t if t < 10 else t - back)

    messages = []
    for i in range(200):
        t = i / 10
        messages.append(("/cam", camera(0.1)[0][1], clock(t) + 0.02, image(clock(t), picture(steady(t)))))
        for k in range(5):
            tt = t + k / 50
            messages.append(("/pose", poses(0.1)[0][1], clock(tt) + 0.001, pose(clock(tt), (steady(tt), 0, 0.2))))
    bag = {"mcap": as_mcap, "sqlite3": as_sqlite, "ros1": as_ros1}[kind](tmp_path, messages)
    episodes, _ = ingested(bag, rules(tmp_path))
    assert [e.info.extra["ingested_cut"] for e in episodes] == ["recorder's clock set back", "bag_end"]
    assert sum(map(len, episodes)) > 38 and largest_error_m(episodes) < PIXEL_M
    for episode in episodes:
        went = np.diff(episode.states[:-1, 2])
        assert (went > 0.004).all() and (went < 0.012).all()  # 15 mm/s, a step each half second


def steady(t: float) -> float:
    return 0.40 + 0.30 * t / 20


def as_mcap(folder, messages):
    return write(folder / "bag", messages, in_order=False)


def as_sqlite(folder, messages):
    """The same recording as rosbag2's sqlite3 writes it."""
    path = folder / "bag"
    path.mkdir()
    with sqlite3.connect(path / "bag_0.db3") as base:
        base.executescript(
            "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT, serialization_format TEXT, "
            "offered_qos_profiles TEXT); CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, "
            "timestamp INTEGER, data BLOB);"
        )
        numbers = {}
        for topic, kind, at, message in messages:
            if topic not in numbers:
                numbers[topic] = len(numbers) + 1
                base.execute("INSERT INTO topics VALUES (?, ?, ?, 'cdr', '')", (numbers[topic], topic, kind))
            data = bytes(STORE.serialize_cdr(message, kind))
            row = (numbers[topic], round(at * 1e9), data)
            base.execute("INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, ?)", row)
    base.close()
    return path


def as_ros1(folder, messages, publisher=lambda number: None):
    """The same recording as a ROS 1 bag; `publisher` names the node of the so-manyth message."""
    path = folder / "bag.bag"
    store, connections = get_typestore(Stores.ROS1_NOETIC), {}
    with Writer1(path) as writer:
        for number, (topic, kind, at, message) in enumerate(messages):
            key = topic, publisher(number)
            if key not in connections:
                connections[key] = writer.add_connection(topic, kind, typestore=store, callerid=key[1])
            message.header = store.types["std_msgs/msg/Header"](0, message.header.stamp, message.header.frame_id)
            writer.write(connections[key], round(at * 1e9), store.serialize_ros1(message, kind))
    return path


def test_two_publishers_are_named_where_the_bag_knows_them(tmp_path):
    arm = [m for a, b in zip(poses(10), poses(10), strict=True) for m in (a, b)]
    for *_, message in arm[1::2]:
        message.pose.position.y = 0.2
        message.header.stamp.nanosec += 1000
    messages = [*arm, *camera(10)]
    bag = as_ros1(tmp_path, messages, lambda k: ("/iiwa/driver", "/fake_arm")[k % 2] if k < len(arm) else "/camera")
    said = refusal(bag, rules(tmp_path))
    assert "pose: /pose: two sources alternate" in said
    assert said.endswith("the bag has it from /fake_arm and /iiwa/driver")


@pytest.mark.parametrize("which, by", [("cam", -3.0), ("cam", 0.5), ("arm", -0.7), ("arm", 2.0)])
def test_one_clock_that_jumps_cuts_and_the_rest_is_refused_by_its_size(tmp_path, which, by):
    """A daemon sets the clock of one machine in mid-recording."""

    def jumped(messages, draw):
        return [(a, b, c, draw(c, c - T0)) if c > T0 + 10 else (a, b, c, m) for a, b, c, m in messages]

    cam, arm = camera(20), poses(20)
    if which == "cam":
        cam = jumped(cam, lambda c, t: image(c - 0.02 + by, picture(x_of(t - 0.02))))
    else:
        arm = jumped(arm, lambda c, t: pose(c - 0.001 + by, (x_of(t - 0.001), 0, 0.2)))
    bag = write(tmp_path / "bag", cam + arm)
    made, report = [], BagReport(bag)
    with pytest.raises(AmRosError) as caught:
        made.extend(ingest_bag(bag, "demo", rules(tmp_path), SPACE, report))
    assert "jumped by" in str(caught.value) and f"{by:+.3f} s" in str(caught.value)
    assert largest_error_m(made) < PIXEL_M if made else True
    assert any(clock.jumps_s and clock.jumps_s[0] == pytest.approx(by, abs=0.01) for clock in report.clocks)


@pytest.mark.parametrize("pose", [{}, {"stamp": "receive"}])
def test_stamps_of_one_clock_and_reception_by_another_are_no_pair(tmp_path, pose):
    """Camera and arm are both an hour behind the recorder; the gripper's messages have no stamp but their reception."""
    told = [("/gripper", "std_msgs/msg/Float64", T0 + t, make("std_msgs/msg/Float64", data=1.0)) for t in range(20)]
    bag = write(tmp_path / "bag", camera(20, shift_s=-3600) + poses(20, shift_s=-3600) + told)
    assert "differ by 3600.0" in refusal(bag, rules(tmp_path, pose=pose, gripper={"topic": "/gripper"}))
    if not pose:
        assert ingested(bag, rules(tmp_path))[1].episodes == 1  # what is left agrees


def test_stamps_of_zero_are_named_with_what_reads_them(tmp_path):
    zeros = [(topic, kind, at, pose(0.0, (x_of(at - T0), 0, 0.2))) for topic, kind, at, _ in poses()]
    bag = write(tmp_path / "bag", camera() + zeros)
    _, report = ingested(bag, rules(tmp_path))
    assert report.hint == "pose: its stamp is zero (`stamp: receive` reads such)"
    assert largest_error_m(ingested(bag, rules(tmp_path, pose={"stamp": "receive"}))[0]) < PIXEL_M
    both = write(tmp_path / "both", camera() + poses() + zeros)  # a second publisher that stamps nothing
    episodes, report = ingested(both, rules(tmp_path))
    assert report.dropped["poses: its stamp is zero (`stamp: receive` reads such)"] == 600
    assert largest_error_m(episodes) < PIXEL_M


def test_simulated_time_that_runs_slower_than_the_recorders_is_no_fault():
    """Stamps of a simulator at a third of real time: all delays grow, and are the same at the same moment."""
    clocks = Clocks(0.3)
    for i in range(3000):
        now = 1_000.0 + i / 100
        clocks.add("pose", "/p", round(now / 3 * 1e9), round(now * 1e9))
        if i % 10 == 0:
            clocks.add("image", "/c", round((now - 0.03) / 3 * 1e9), round(now * 1e9))
    clocks.finish()
    assert not any(clock.jumps_s for clock in clocks.report())


def test_a_clock_that_drifts_away_is_refused_where_it_has_gone_too_far(tmp_path):
    cam = [(a, b, c, image(c - 0.02 - 0.01 * (c - T0), picture(x_of(c - 0.02 - T0)))) for a, b, c, _ in camera(60)]
    sentence = refusal(write(tmp_path / "bag", cam + poses(60)), rules(tmp_path))
    assert "No constant offset explains that" in sentence or "differ by 0.3" in sentence


@pytest.mark.parametrize("offset", [-0.31, -0.08, 0.0, 0.045, 0.27])
def test_the_offset_is_found_to_a_fraction_of_the_time_between_two_images(offset):
    """A tool that starts and stops at random, filmed at 10 Hz with noise."""
    rng = np.random.default_rng(round(1000 * abs(offset)))
    knots = rng.uniform(0.4, 0.7, 40)

    def x(t):
        return float(np.interp(t, np.arange(40), knots))

    found = MotionOffset(300)
    for i in range(3000):
        found.add_pose(i * 10_000_000, ToolPose(np.array([x(i / 100), 0, 0.2]), 0.0, 0.0))
    for i in range(20, 280):
        noisy = picture(x(i / 10)).mean(-1) + rng.normal(0, 2, (64, 64))
        found.add_image(round((i / 10 - offset) * 1e9), noisy.clip(0, 255).astype(np.uint8))
    estimate = found.estimate()
    assert estimate.confident and estimate.offset_s == pytest.approx(offset, abs=0.02)


def test_no_offset_is_told_where_the_picture_does_not_show_the_tool():
    rng, found = np.random.default_rng(0), MotionOffset(300)
    for i in range(3000):
        found.add_pose(i * 10_000_000, ToolPose(np.array([0.5 + 0.1 * np.sin(i / 130), 0, 0.2]), 0.0, 0.0))
    for i in range(280):
        found.add_image(i * 100_000_000, rng.integers(0, 255, (64, 64)).astype(np.uint8))
    assert not found.estimate().confident

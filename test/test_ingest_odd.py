"""Odd messages of foreign bags, each after a report of its tool: said with its topic, and it costs itself alone."""

import copy
import io
import os

import cv2
import numpy as np
import pytest
import yaml
import zstandard
from PIL import Image
from recordings import (
    COMPRESSED,
    JOINTS,
    STORE,
    T0,
    camera,
    compressed,
    image,
    ingested,
    joints,
    largest_error_m,
    make,
    picture,
    pose,
    poses,
    rules,
    write,
    x_of,
)
from rosbags.typesys import get_types_from_msg
from test_ingest_sources import ARM, BY_JOINTS, angles

from am_ros import cli
from am_ros.bags.finder import find
from am_ros.errors import AmRosError
from am_ros.ingest import decoding
from am_ros.ingest.mapping import load_mapping

PIXEL_M = 0.4 / 63
CARTESIAN = "iiwa_msgs/msg/CartesianPose"
STORE.register(get_types_from_msg("geometry_msgs/PoseStamped poseStamped\nfloat64 e1\n", CARTESIAN))
REFERENCE, ARRAY = "sensor_msgs/msg/TimeReference", "geometry_msgs/msg/PoseArray"


def changed(messages: list, change) -> list:
    """Messages of which `change(i, t, message)` makes others, or changes them in place."""
    found = []
    for i, (topic, kind, at, message) in enumerate(messages):
        message = copy.deepcopy(message)
        found.append((topic, kind, at, change(i, at, message) or message))
    return found


def stamped(message, sec: int, nanosec: int) -> None:
    message.header.stamp = make("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)


def refusal(bag, mapping) -> str:
    with pytest.raises(AmRosError) as caught:
        ingested(bag, mapping)
    return str(caught.value)


@pytest.mark.parametrize("sec, nanosec, reason", [
    (-5, 0, "stamp is no time"), (1_750_000_003, 4_000_000_000, "stamp is no time"), (0, 0, "stamp is zero"),
])  # fmt: skip
def test_a_stamp_that_is_none_costs_its_message(sec, nanosec, reason, tmp_path):
    seen = changed(camera(), lambda i, t, m: stamped(m, sec, nanosec) if i % 20 == 3 else None)
    told = changed(poses(), lambda i, t, m: stamped(m, sec, nanosec) if i % 20 == 3 else None)
    episodes, report = ingested(write(tmp_path / "bag", seen + told), rules(tmp_path))
    assert report.dropped[f"images: {reason}"] == 6 and len(episodes) == 1
    assert report.dropped[f"poses: its {reason} (`stamp: receive` reads such)"] == 30
    assert largest_error_m(episodes) < PIXEL_M


def test_a_stamp_of_zero_is_none_whatever_is_added_to_it(tmp_path):
    seen = changed(camera(), lambda i, t, m: stamped(m, 0, 0))
    said = refusal(write(tmp_path / "bag", seen + poses()), rules(tmp_path, image={"offset_s": T0}))
    assert "no image on /cam can be used: stamp is zero: `stamp: receive` reads such images" in said


def test_gripper_and_marker_that_nobody_stamped_are_not_taken_for_any_time(tmp_path):
    fingers = [("/g", JOINTS, T0 + t, joints(0, ["finger"], [float(t < 5)])) for t in np.arange(-0.5, 12, 0.05)]
    marks = [(1, "start"), (6, "end")]
    zero = make("builtin_interfaces/msg/Time", sec=0, nanosec=0)
    marks = [
        ("/mark", REFERENCE, T0 + t, make(REFERENCE, header=joints(0, [], []).header, time_ref=zero, source=value))
        for t, value in marks
    ]
    bag = write(tmp_path / "bag", camera() + poses() + fingers + marks)
    sections = {"episodes": {"cut": "marker"}, "marker": {"topic": "/mark", "field": "source"}}
    gripper = {"topic": "/g", "field": "position[finger]"}
    episodes, report = ingested(bag, rules(tmp_path, gripper=gripper, **sections))
    assert not episodes and "gripper: no number in position[finger] of /g so far" in report.hint
    assert report.dropped["gripper messages without a stamp (`stamp: receive` reads such)"] == len(fingers)
    assert report.dropped["marker messages without a stamp (`stamp: receive` reads such)"] == 2
    _, report = ingested(bag, rules(tmp_path, **sections))
    assert report.hint == "marker: its stamp is zero (`stamp: receive` reads such)"
    sections["marker"]["stamp"] = "receive"
    episodes, _ = ingested(bag, rules(tmp_path, gripper={**gripper, "stamp": "receive"}, **sections))
    assert len(episodes) == 1 and set(episodes[0].states[:, 0].tolist()) == {0.0, 1.0}


def test_a_gripper_that_falls_silent_is_doubted_and_one_that_sends_events_is_not(tmp_path):
    def fingers(times):
        return [("/g", JOINTS, T0 + t, joints(T0 + t, ["finger"], [float(t < 6)])) for t in times]

    gripper = {"topic": "/g", "field": "position[finger]"}
    regular = np.arange(-4, 12.5, 0.05)
    for name, times, doubted in (
        ("dies", regular[regular < 4], True), ("hides", regular[(regular < 4) | (regular > 9)], True),
        ("whole", regular, False), ("paused", regular, False), ("events", np.array([-1.0, 6.0, 6.1, 11.0]), False),
    ):  # fmt: skip
        messages = camera() + poses() + fingers(times)
        if name == "paused":  # as by `ros2 bag record` and its service: nothing at all is there
            messages = [m for m in messages if not T0 + 4 < m[2] < T0 + 9]
        bag = write(tmp_path / name, messages)
        doubts = ingested(bag, rules(tmp_path, gripper=gripper))[1].doubts
        assert any("gripper: /g stopped at 175000000" in d for d in doubts) == doubted, (name, doubts)


def test_a_camera_that_stands_still_while_the_tool_moves_is_named(tmp_path):
    stood = changed(camera(), lambda i, t, m: image(t - 0.02, picture(x_of(3.0))) if 30 <= i < 60 else None)
    episodes, report = ingested(write(tmp_path / "bag", stood + poses()), rules(tmp_path))
    assert 20 < report.dropped["images: the same as the one before, while the tool moved on"] < 30
    assert "pictures on /cam are byte by byte the one before" in report.doubts[0]
    assert largest_error_m(episodes) < 0.02 + PIXEL_M


def jpeg(rgb, orientation: int) -> bytes:
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[274] = orientation
    Image.fromarray(rgb).save(buffer, "JPEG", quality=95, subsampling=0, exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_pixels_stay_where_the_camera_has_them_whatever_exif_says(orientation, tmp_path):
    """image_transport reads them so, and a crop is meant so."""
    draw = lambda t, rgb: compressed(t, jpeg(rgb, orientation), "jpeg")  # noqa: E731
    bag = write(tmp_path / "bag", camera(draw=draw, kind=COMPRESSED) + poses())
    assert largest_error_m(ingested(bag, rules(tmp_path))[0]) < 2 * PIXEL_M


def test_a_tiff_of_16_bits_is_refused_by_name(tmp_path):
    def draw(t, rgb):
        return compressed(t, cv2.imencode(".tiff", 3 * rgb.astype(np.uint16))[1].tobytes(), "rgb8; tiff compressed")

    bag = write(tmp_path / "bag", camera(draw=draw, kind=COMPRESSED) + poses())
    assert "has other than 8 bits a channel" in refusal(bag, rules(tmp_path))


@pytest.mark.parametrize("field, value", [("width", 0), ("width", 2**31), ("height", 7), ("step", 2**31)])
def test_an_image_whose_sizes_contradict_each_other_cuts_nothing(field, value, tmp_path):
    seen = changed(camera(), lambda i, t, m: setattr(m, field, value) if i % 20 == 3 else None)
    episodes, report = ingested(write(tmp_path / "bag", seen + poses()), rules(tmp_path))
    assert len(episodes) == 1 and report.dropped["images: cannot be decoded"] == 6


def test_a_pose_in_another_frame_is_not_mixed_with_the_others(tmp_path):
    def told(i, t, _):
        other = i > 300
        return pose(t - 0.001, (x_of(t - 0.001 - T0) + 0.015 * other, 0, 0.2), frame="world" if other else "base_link")

    bag = write(tmp_path / "bag", camera() + changed(poses(), told))
    episodes, report = ingested(bag, rules(tmp_path))
    assert largest_error_m(episodes) < PIXEL_M and sum(map(len, episodes)) < 14
    reason = "poses: in frame 'world', not in 'base_link' (the first's: `base` under pose names the one that counts)"
    assert report.dropped[reason] == 299
    episodes, _ = ingested(bag, rules(tmp_path, pose={"base": "world"}))
    assert episodes[0].stamps_ns[0] / 1e9 - T0 > 5.9


def test_one_pose_without_its_frame_costs_one_pose(tmp_path):
    told = changed(poses(), lambda i, t, m: pose(t - 0.001, (0.1, 0.1, 0.2), frame="") if i == 100 else None)
    _, report = ingested(write(tmp_path / "bag", camera() + told), rules(tmp_path, pose={"base": "base_link"}))
    assert report.dropped["poses: in frame '', not in 'base_link' (the mapping's)"] == 1 and report.images == 120


def test_an_array_without_a_pose_costs_one_pose(tmp_path):
    told = [
        ("/pose", ARRAY, at, make(ARRAY, header=m.header, poses=[] if i % 50 == 9 else [m.pose]))
        for i, (_, _, at, m) in enumerate(poses())
    ]
    episodes, report = ingested(write(tmp_path / "bag", camera() + told), rules(tmp_path, pose={"field": "poses[0]"}))
    assert report.dropped["poses: there is none in poses[0]"] == 12 and largest_error_m(episodes) < PIXEL_M


@pytest.mark.parametrize("names, positions, reason", [
    (lambda n: n * 2, lambda q: [*q, *(q + 0.2)], "a joint is named twice in one message"),
    (lambda n: n, lambda q: q[:6], "not as many positions as names of joints"),
    (lambda n: n, lambda q: [], "not as many positions as names of joints"),
])  # fmt: skip
def test_joint_states_that_contradict_themselves_are_none(names, positions, reason, tmp_path):
    told = []
    for i, t in enumerate(np.arange(0, 12, 0.02)):
        odd, q = i % 50 == 9, np.array(angles(t), float)
        message = joints(T0 + t, names(list(ARM)) if odd else ARM, positions(q) if odd else q)
        told.append(("/joint_states", JOINTS, T0 + t + 0.001, message))
    _, report = ingested(write(tmp_path / "bag", camera() + told), rules(tmp_path, pose=BY_JOINTS))
    assert report.dropped[f"poses: {reason}"] == 12 and report.images > 110


def test_a_message_that_unpacks_to_more_than_memory_costs_itself(monkeypatch):
    monkeypatch.setattr(decoding, "_LARGEST", 1 << 22)
    with pytest.raises(ValueError, match="unpack to more than"):
        decoding._unpacked(zstandard.ZstdCompressor().compress(bytes(1 << 24)))
    assert decoding._unpacked(zstandard.ZstdCompressor().compress(bytes(1 << 20))) == bytes(1 << 20)


@pytest.mark.parametrize("pose, sentence", [
    ({"tool_offset": [0, 0, 150, 0, 0, 0]}, "is in metres: are these millimetres?"),
    ({"base_offset": [0, 0, 0, 0, 0, 90]}, "is in radians: are these degrees?"),
])  # fmt: skip
def test_offsets_of_another_unit_are_named(pose, sentence, tmp_path):
    with pytest.raises(AmRosError) as caught:
        rules(tmp_path, pose=pose)
    assert sentence in str(caught.value)


def test_a_section_that_is_there_twice_is_named(tmp_path):
    file = tmp_path / "twice.yaml"
    file.write_text(yaml.safe_dump({"image": {"topic": "/cam"}, "pose": {"topic": "/pose"}}) + "image: {width: 96}\n")
    with pytest.raises(AmRosError, match="key 'image' is there twice, in line 5 again"):
        load_mapping(file)


def test_a_field_that_is_not_there_is_named_with_its_section_and_topic(tmp_path):
    bag = write(tmp_path / "bag", camera() + poses())
    said = refusal(bag, rules(tmp_path, gripper={"topic": "/pose"}))
    assert "gripper: /pose: field 'data': there is no data; there is header, pose" in said


def test_markers_of_no_known_value_are_named_with_those_that_are(tmp_path):
    kind = "std_msgs/msg/String"
    marks = [("/mark", kind, T0 + t, make(kind, data=value)) for t, value in ((1, "Begin"), (5, "Finish"))]
    mapping = rules(tmp_path, episodes={"cut": "marker"}, marker={"topic": "/mark"})
    _, report = ingested(write(tmp_path / "bag", camera() + poses() + marks), mapping)
    sentence = report.dropped.first["marker messages of no known value"]
    assert sentence.startswith("/mark says 'Begin'; the mapping knows ") and "'start'" in sentence


def test_a_pipe_is_no_link_to_nothing(tmp_path):
    bag = write(tmp_path / "bag", camera(3) + poses(3))
    os.mkfifo(bag / "bag_1.mcap")
    assert find(bag).passed == {bag / "bag_1.mcap": "is a pipe or device, no file"}


def test_a_pose_with_its_header_inside_is_stamped_by_it(tmp_path):
    """As iiwa_msgs/CartesianPose; its messages come late, and by and by later."""
    late = [("/pose", CARTESIAN, at + 0.1 * i / 600, make(CARTESIAN, poseStamped=message, e1=0.0))
            for i, (_, _, at, message) in enumerate(poses())]  # fmt: skip
    bag = write(tmp_path / "bag", camera() + late)
    episodes, report = ingested(bag, rules(tmp_path, pose={"field": "poseStamped.pose", "base": "base_link"}))
    assert largest_error_m(episodes) < PIXEL_M / 1.9 and report.images == 120


def test_a_pose_that_is_sent_more_often_than_it_is_measured_is_no_second_source(tmp_path):
    told = changed(poses(hz=100), lambda i, t, m: pose(t - 0.001, (x_of(i // 10 / 10), 0, 0.2)))
    said = refusal(write(tmp_path / "bag", camera() + told), rules(tmp_path))
    assert "pose: /pose: it stands for some messages and leaps, 1" in said and "two sources" not in said


def test_poses_that_are_stamped_in_whole_seconds_are_told_from_two_sources(tmp_path):
    told = changed(poses(), lambda i, t, m: stamped(m, int(t), 0))
    bag = write(tmp_path / "bag", camera() + told)
    assert "or stamps that do not go on (`stamp: receive` reads such)" in refusal(bag, rules(tmp_path))
    assert largest_error_m(ingested(bag, rules(tmp_path, pose={"stamp": "receive"}))[0]) < PIXEL_M


def test_a_number_marks_the_same_as_a_float_and_as_an_int(tmp_path):
    kind = "std_msgs/msg/Float64"
    marks = [("/mark", kind, T0 + t, make(kind, data=value)) for t, value in ((1, 1.0), (6, 0.0))]
    mapping = rules(tmp_path, episodes={"cut": "marker"}, marker={"topic": "/mark", "start": [1], "end": [0]})
    assert len(ingested(write(tmp_path / "bag", camera() + poses() + marks), mapping)[0]) == 1


@pytest.mark.parametrize("out", ["episodes", "."])
def test_episodes_among_the_recordings_are_not_read_as_recordings(tmp_path, capsys, out):
    folder = tmp_path / "all"
    write(folder / "one", camera() + poses())
    rules(tmp_path)
    arguments = ["bags", "ingest", str(folder), "--mapping", str(tmp_path / "mapping.yaml"), "--out", str(folder / out)]
    assert cli.main(arguments) == 0
    write(folder / "two", camera(10.0) + poses(10.0))
    capsys.readouterr()
    assert cli.main(arguments) == 0
    assert "from 2 bags; 0 bags refused" in capsys.readouterr().out

"""Verification says everything that is wrong with a bag; `am-ros bags` shows it."""

import shutil

import cv2
import numpy as np
import pytest
from bag_data import START_NS, make_episode, recorded

from am_ros import cli
from am_ros.action import ActionSpace
from am_ros.bags import types
from am_ros.bags.episodes import write_episode
from am_ros.bags.verify import summarize, verify
from am_ros.bags.writer import EpisodeBag
from am_ros.episode import EpisodeInfo

SPACE = ActionSpace()


@pytest.fixture
def bag(tmp_path):
    return write_episode(make_episode(steps=9), tmp_path, SPACE)


def changed(bag, change):
    """A bag of the messages of another, each passed through `change(topic, msg)`; None leaves it out."""
    copy = EpisodeBag(bag.parent / "changed", EpisodeInfo("e0"), durable=False)
    for topic, msg, _, type_name in recorded(bag):
        msg = change(topic, msg)
        if msg is not None:
            raw = types.serialize(type_name, msg)
            copy.write(topic, type_name, raw, types.header_stamp_ns(raw))
    return copy.close()


def test_a_good_bag_has_no_problem(bag):
    report = verify(bag, SPACE)
    assert report.ok and report.steps == 9 and report.duration_s == pytest.approx(3.6)
    assert report.info.task == "reach" and sum(report.counts.values()) == 21


def test_every_problem_is_named_not_only_the_first(bag):
    images = []

    def damage(topic, msg):
        if "image" in topic:
            images.append(msg)
            if len(images) == 3:
                msg.data = np.frombuffer(b"no image at all", np.uint8)
            if len(images) == 5:
                msg.header.stamp = images[0].header.stamp
        return None if topic == "/episode_event" else msg

    problems = "\n".join(verify(changed(bag, damage), SPACE).problems)
    assert "topic episode_event is missing" in problems
    assert "image 2: " in problems and "not a JPEG or PNG" in problems
    assert "message 4: its stamp goes back by 1.200 s" in problems
    assert "'e0': its END is missing" in problems


def test_a_pause_of_the_camera_is_a_gap(bag):
    def pause(topic, msg):
        if "image" in topic and types.stamp_ns(msg.header.stamp) % 10 == 9:
            late = types.stamp_ns(msg.header.stamp) + (5_000_000_000 if len(seen) > 4 else 0)
            msg.header.stamp = types.stamp(late)
            seen.append(late)
        return msg

    seen = []
    problems = "\n".join(verify(changed(bag, pause), SPACE).problems)
    assert "1 gaps, the longest of 5.40 s after image 4 where 0.40 s are usual" in problems


def live(bag, joint_stamps_s, extra=None, joints="/joint_states"):
    """A bag with what a cell that runs has beside the episode: joint states at these seconds after START, poses."""
    copy = EpisodeBag(bag.parent / "live", EpisodeInfo("e0", extra=extra or {}), durable=False)
    beside = [("sensor_msgs/msg/JointState", joints, t) for t in joint_stamps_s]
    beside += [("geometry_msgs/msg/PoseStamped", "/ee_pose", t) for t in np.arange(0, 3.7, 0.1)]
    beside += [("sensor_msgs/msg/CameraInfo", "/camera_info", t) for t in np.arange(0, 3.7, 0.4)]
    for topic, _, raw, type_name in recorded(bag):
        copy.write(topic, type_name, raw, types.header_stamp_ns(raw))
    for type_name, topic, seconds in beside:
        header = types.message("std_msgs/msg/Header", stamp=types.stamp(START_NS + int(seconds * 1e9)))
        raw = types.serialize(type_name, types.message(type_name, header=header))
        copy.write(topic, type_name, raw, types.header_stamp_ns(raw))
    return copy.close()


def test_joint_states_that_pause_or_end_early_are_gaps_but_not_before_the_start(bag, tmp_path):
    assert verify(live(bag, np.arange(-2, 3.7, 0.01)), SPACE).problems == []
    cases = {
        "1 gaps, the longest of 0.81 s after message 120 ": [*np.arange(0, 1.205, 0.01), *np.arange(2.01, 3.7, 0.01)],
        "1 gaps, the longest of 1.10 s": np.arange(0, 2.5 + 1e-9, 0.01),
    }
    for i, (sentence, stamps) in enumerate(cases.items()):
        shown = tmp_path / str(i)
        shown.mkdir()
        (problem,) = verify(live(bag.rename(shown / "e0"), stamps), SPACE).problems
        bag = shown / "e0"
        assert problem.startswith("topic /joint_states: " + sentence)
    before = np.concatenate([np.arange(-2, -1.5, 0.01), np.arange(-0.2, 3.7, 0.01)])
    (tmp_path / "before").mkdir()
    assert verify(live(bag.rename(tmp_path / "before" / "e0"), before), SPACE).ok


def test_joint_states_are_found_by_the_name_that_the_driver_gives_them(bag):
    stamps = np.concatenate([np.arange(0, 1.205, 0.01), np.arange(2.01, 3.7, 0.01)])
    renamed = {"renamed /driver/arm": "/joint_states"}
    for topic, extra in (("/lbr/joint_states", {}), ("/driver/arm", renamed)):
        (problem,) = verify(live(bag, stamps, extra, topic), SPACE).problems
        assert problem.startswith(f"topic {topic}: 1 gaps, the longest of 0.81 s")
        shutil.rmtree(bag.parent / "live")
    assert "topic /joint_states is missing" in verify(live(bag, stamps, {}, "/driver/arm"), SPACE).problems


def test_a_bag_of_a_cell_that_lacks_one_of_its_topics_says_so(bag):
    assert verify(live(bag, []), SPACE).problems == ["topic /joint_states is missing"]


def test_what_was_lost_while_recording_is_a_problem(bag):
    marks = {"messages_lost /joint_states": "7", "type_changed /ee_pose": "std_msgs/msg/String of node x", "note": "y"}
    problems = verify(live(bag, np.arange(-2, 3.7, 0.01), marks), SPACE).problems
    assert problems == ["messages_lost /joint_states: 7", "type_changed /ee_pose: std_msgs/msg/String of node x"]
    assert not summarize(bag.parent / "live" / "e0").ok


def test_damage_and_a_missing_metadata_file_are_problems(bag):
    (bag / "metadata.yaml").unlink()
    assert "metadata.yaml is missing" in verify(bag, SPACE).problems[0]
    data = (bag / "e0_0.mcap").read_bytes()
    (bag / "e0_0.mcap").write_bytes(data[: len(data) // 2])
    assert "damaged" in verify(bag, SPACE).problems[0]
    assert "damaged" in summarize(bag).problems[0]


def test_a_part_that_nothing_was_written_to_is_named(bag):
    part = bag / "e0_1.mcap"
    part.touch()
    said = f"bag file {part}: damaged: is empty: it was opened, and nothing was ever written to it"
    assert verify(bag, SPACE).problems == [said]
    part.write_bytes(b"no MCAP at all")
    assert verify(bag, SPACE).problems == [f"bag file {part}: damaged: not an MCAP file"]


def test_steps_outside_the_action_space_are_a_problem(bag):
    assert "action_too_large" in verify(bag, ActionSpace(max_rotation_rad=1e-4)).problems[0]


def run(capsys, *arguments):
    code = cli.main(["bags", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_info_prints_a_table_and_all_about_one(bag, tmp_path, capsys):
    write_episode(make_episode("e1", seed=3), tmp_path, SPACE)
    code, out, _ = run(capsys, "info", tmp_path)
    assert code == 0 and "2 bags, 15 steps" in out and "success" in out
    code, out, _ = run(capsys, "info", bag)
    assert code == 0 and "goal_id: goal_1" in out and "9 on /step" in out


def test_verify_exits_with_1_when_anything_is_wrong(bag, tmp_path, capsys):
    assert run(capsys, "verify", tmp_path)[0] == 0
    assert run(capsys, "verify", tmp_path, "--max-translation-m", "0.01", "0.01", "0.01")[0] == 1
    unfinished = EpisodeBag(tmp_path, EpisodeInfo("open"))
    code, out, _ = run(capsys, "verify", tmp_path)
    unfinished.discard()
    assert code == 1 and "2 bags checked, 1 with problems" in out


def test_show_draws_every_step(bag, tmp_path, capsys):
    out_file = tmp_path / "strip.png"
    code, out, _ = run(capsys, "show", bag, "--out", out_file)
    assert code == 0 and str(out_file) in out
    height, width = cv2.imread(str(out_file)).shape[:2]
    assert width == 8 * 176 and height > 2 * 176  # ten images in two rows


def test_bad_paths_give_one_sentence_and_exit_code_2(tmp_path, capsys):
    for verb in ("info", "verify", "show", "salvage"):
        code, _, err = run(capsys, verb, tmp_path / "nowhere")
        assert code == 2 and err.startswith("am-ros: bag") and err.count("\n") == 1
    code, _, err = run(capsys, "info", tmp_path)
    assert code == 2 and "holds no bag" in err

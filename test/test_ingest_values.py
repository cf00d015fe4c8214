"""Numbers of a gripper that are of another unit, and markers of which one took back the other."""

import numpy as np
import pytest
from recordings import T0, camera, ingested, make, poses, rules, write

from am_ros.action import CLOSE
from am_ros.episode import Outcome
from am_ros.errors import AmRosError


def gripper(opened: float, closed: float, seconds: float = 12.5) -> list:
    """20 Hz; closes at 4.5 s."""
    kind = "std_msgs/msg/Float64"
    times = np.arange(0, seconds, 0.05)
    return [("/gripper", kind, T0 + t - 0.5, make(kind, data=opened if t < 5 else closed)) for t in times]


@pytest.mark.parametrize("opened, closed, mapped, sentence", [
    (100.0, 20.0, {}, "from 20 to 100, which with `open: 1, closed: 0` is 2000 to 10000 % open. It may be per cent"),
    (85.0, 3.0, {"open": 0.085}, "goes from 3 to 85, which with `open: 0.085, closed: 0`"),
    (0.0, 230.0, {}, "It may be a byte, as of Robotiq (`open: 0, closed: 255`)"),
    (0.085, 0.003, {"open": 0.0, "closed": 0.8}, None),  # within the range: an angle that closes
])  # fmt: skip
def test_numbers_beyond_the_mapping_are_told_with_what_they_would_mean(opened, closed, mapped, sentence, tmp_path):
    bag = write(tmp_path / "bag", camera() + poses() + gripper(opened, closed))
    mapping = rules(tmp_path, gripper={"topic": "/gripper", **mapped})
    if sentence is None:
        assert not ingested(bag, mapping)[1].doubts
        return
    with pytest.raises(AmRosError) as caught:
        ingested(bag, mapping)
    assert sentence in str(caught.value) and "gripper: data of /gripper" in str(caught.value)


def test_the_right_range_closes_the_gripper_and_an_overshoot_is_no_other_unit(tmp_path):
    bag = write(tmp_path / "bag", camera() + poses() + gripper(101.5, -2.0))
    mapping = rules(tmp_path, gripper={"topic": "/gripper", "open": 100.0, "closed": 0.0})
    episodes, report = ingested(bag, mapping)
    assert set(episodes[0].states[:, 0].tolist()) == {0.0, 1.0} and (episodes[0].actions[:, CLOSE] == 1).any()
    assert not report.doubts


def test_numbers_far_within_the_mapping_are_doubted(tmp_path):
    bag = write(tmp_path / "bag", camera() + poses() + gripper(0.085, 0.003))  # metres, mapped as millimetres
    _, report = ingested(bag, rules(tmp_path, gripper={"topic": "/gripper", "open": 85.0}))
    assert "goes from 0.003 to 0.085" in report.doubts[0] and "always closed. It may be metres" in report.doubts[0]


def test_two_grippers_on_one_topic_are_named(tmp_path):
    other = [(topic, kind, at + 0.02, make(kind, data=0.9)) for topic, kind, at, _ in gripper(0, 0)]
    bag = write(tmp_path / "bag", camera() + poses() + gripper(0.1, 0.1) + other)
    with pytest.raises(AmRosError) as caught:
        ingested(bag, rules(tmp_path, gripper={"topic": "/gripper"}))
    assert "two sources alternate, one with data at 0.1, the other at 0.9" in str(caught.value)


def marked(folder, marks, kind="std_msgs/msg/String", **marker):
    told = [("/mark", kind, T0 + t, make(kind, data=value)) for t, value in marks]
    bag = write(folder / "bag", camera(30) + poses(30) + told)
    mapping = rules(folder, episodes={"cut": "marker"}, marker={"topic": "/mark", **marker})
    episodes, report = ingested(bag, mapping)
    spans = [(round(e.stamps_ns[0] / 1e9 - T0), round(e.stamps_ns[-1] / 1e9 - T0)) for e in episodes]
    return spans, [e.info.outcome for e in episodes], report.dropped


def test_a_try_that_was_begun_anew_is_no_part_of_the_success(tmp_path):
    marks = [(1, "start"), (8, "start"), (16, "success"), (18, "start"), (26, "success")]
    spans, outcomes, dropped = marked(tmp_path, marks)
    assert spans == [(8, 16), (18, 26)] and outcomes == [Outcome.SUCCESS] * 2
    assert dropped["episodes: started anew before an end, the first try is dropped"] == 1


def test_a_try_that_was_begun_twice_anew_leaves_the_last(tmp_path):
    spans, _, dropped = marked(tmp_path, [(1, True), (8, True), (16, True), (24, False)], "std_msgs/msg/Bool")
    assert spans == [(16, 24)] and dropped["episodes: started anew before an end, the first try is dropped"] == 2


@pytest.mark.parametrize("hz", [10.0, 1.0])
def test_a_level_that_is_sent_again_and_again_is_one_episode(hz, tmp_path):
    marks = [(t, bool(2 <= t < 10 or 14 <= t < 24)) for t in np.arange(0, 30, 1 / hz)]
    spans, _, _ = marked(tmp_path, marks, "std_msgs/msg/Bool")
    assert spans == [(2, 10), (14, 24)]


def test_a_success_without_a_start_of_its_own_is_none(tmp_path):
    marks = [(1, "start"), (8, "discard"), (9, "start"), (16, "success"), (20, "success")]
    spans, outcomes, dropped = marked(tmp_path, marks)
    assert spans == [(9, 16)] and outcomes == [Outcome.SUCCESS]
    assert dropped["episodes: discarded by marker"] == 1

"""Where the tool was, by joints in parts, by TF links of every kind, and by two sources that contradict each other."""

import math

import numpy as np
import pytest
from recordings import (
    DOWN,
    JOINTS,
    POSE,
    T0,
    TF,
    camera,
    frames,
    image,
    ingested,
    joints,
    largest_error_m,
    picture,
    pose,
    poses,
    rules,
    write,
    x_of,
)

from am_ros.control.kinematics import Kinematics
from am_ros.control.robot import robot_description, robot_model
from am_ros.errors import AmRosError

PIXEL_M = 0.4 / 63
ARM = [f"A{i}" for i in range(1, 8)]
HOME = np.array([0, 0.6, 0, -1.6, 0, 0.94, 0])
BY_JOINTS = {"source": "joints", "topic": "/joint_states", "joints": ARM}
BY_TF = {"source": "tf", "topic": "", "base": "base_link", "tip": "tool0"}
TIMES = np.arange(0, 12, 0.02)


def refusal(bag, mapping) -> str:
    with pytest.raises(AmRosError) as caught:
        ingested(bag, mapping)
    return str(caught.value)


def angles(t: float) -> np.ndarray:
    return HOME + np.array([0.25 * math.sin(2 * math.pi * t / 8), 0, 0, 0, 0, 0, 0])


def off_beat() -> list:
    """Images whose stamps lie between two joint states."""
    return [(a, b, c, image(c - 0.015, picture(x_of(c - T0 - 0.015)))) for a, b, c, _ in camera()]


def joint_states(names, which=slice(None), late_s=0.0, of=angles, every=1) -> list:
    return [
        ("/joint_states", JOINTS, T0 + t + late_s + 0.001, joints(T0 + t + late_s, names, of(t + late_s)[which]))
        for t in TIMES[::every]
    ]


def true_position(t: float) -> np.ndarray:
    facts = robot_model("iiwa14")
    return Kinematics(robot_description("iiwa14"), facts.joint_names, facts.tip_frame).forward(angles(t))[0]


@pytest.mark.parametrize("states", [
    joint_states(ARM),
    joint_states(ARM[::-1], slice(None, None, -1)),
    joint_states(ARM[:4], slice(4)) + joint_states(ARM[4:], slice(4, 7)),  # with the same stamps
    joint_states(ARM[:4], slice(4)) + joint_states(ARM[4:], slice(4, 7), 0.007, every=3),  # out of step, the one slower
    joint_states(ARM) + [("/joint_states", JOINTS, T0 + t, joints(T0 + t, ["finger"], [0.1])) for t in TIMES],
], ids=["whole", "reversed", "halves", "halves out of step", "with a gripper"])  # fmt: skip
def test_the_arm_is_put_together_from_whatever_messages_it_comes_in(states, tmp_path):
    bag = write(tmp_path / "bag", off_beat() + states)
    episodes, _ = ingested(bag, rules(tmp_path, pose=BY_JOINTS))
    assert sum(map(len, episodes)) > 20
    for stamp, state in zip(episodes[0].stamps_ns, episodes[0].states, strict=True):
        x, y, z = true_position(stamp / 1e9 - T0)
        np.testing.assert_allclose(state[1:4], [z, x, y], atol=1e-3)


@pytest.mark.parametrize("states, sentence", [
    ([m for t in TIMES for m in (
        ("/joint_states", JOINTS, T0 + t, joints(T0 + t, ARM, angles(t))),
        ("/joint_states", JOINTS, T0 + t + 0.001, joints(T0 + t - 47, ARM, angles(t))))],
     "pose: /joint_states: messages of two sources alternate, with stamps 47.001 s apart"),
    (joint_states(ARM) + joint_states(ARM, late_s=0.01, of=lambda t: angles(0)),
     "pose: /joint_states: two sources alternate: from a message to the next, 10 ms later, it would move"),
    (joint_states(ARM) + joint_states([*ARM, "rail"], late_s=0.01, of=lambda t: np.append(angles(t) + 0.01, 0)),
     "one says joints A1, A2, A3, A4, A5, A6, A7, the other joints A1, A2, A3, A4, A5, A6, A7, rail"),
    (joint_states(ARM[:4], slice(4)) + joint_states(ARM[3:], slice(3, 7)),
     "joint A4 comes from two sources, messages with A1, A2, A3, A4 and messages with A4, A5, A6, A7"),
], ids=["47 s apart", "a ghost", "a ghost with a rail", "overlapping parts"])  # fmt: skip
def test_two_publishers_of_joint_states_are_named(states, sentence, tmp_path):
    bag = write(tmp_path / "bag", off_beat() + states)
    assert sentence in refusal(bag, rules(tmp_path, pose=BY_JOINTS))


def flange(late_s=0.0, x=x_of, parent="base_link", received_s=0.001) -> list:
    return [
        ("/tf", TF, T0 + t + received_s, frames((T0 + t + late_s, parent, "flange", (x(t), 0, 0.3), DOWN)))
        for t in TIMES
    ]


def tool(t: float):
    return frames((t, "flange", "tool0", (0, 0, 0.1), (0, 0, 0, 1)))


@pytest.mark.parametrize("links", [
    [("/tf_static", TF, T0 - 0.1, tool(T0))],
    [("/tf_static", TF, T0 + 5, tool(T0))],
    [("/tf_static", TF, T0 - 0.1, tool(0.0))],
    [("/tf", TF, T0 + t, tool(T0 + t)) for t in np.arange(0, 12, 1.0)],
    [("/tf", TF, T0 + t, tool(T0 + t + 0.5)) for t in np.arange(0, 12, 0.05)],
    [("/tf", TF, T0 - 0.1, tool(T0 - 0.1))],
], ids=["static", "static after 5 s", "static, stamp of zero", "at 1 Hz", "stamped ahead", "once"])  # fmt: skip
def test_a_link_that_does_not_move_holds_for_all_time(links, tmp_path):
    bag = write(tmp_path / "bag", camera() + flange() + links)
    episodes, report = ingested(bag, rules(tmp_path, pose=BY_TF))
    assert report.images == 120 and largest_error_m(episodes) < PIXEL_M


def test_two_links_that_move_at_rates_of_their_own_are_known_at_every_image(tmp_path):
    """The base goes along, slowly and at 12.5 Hz; what the camera sees is what both make together."""
    times = np.arange(0, 12, 0.08)
    rail = []
    for t in times:
        along = frames((T0 + t, "base_link", "rail", (0.05 * t / 12, 0, 0), (0, 0, 0, 1)))
        rail.append(("/tf", TF, T0 + t + 0.001, along))
    arm = flange(parent="rail", x=lambda t: x_of(t) - 0.05 * t / 12)
    bag = write(tmp_path / "bag", camera() + rail + arm + [("/tf_static", TF, T0, tool(T0))])
    episodes, _ = ingested(bag, rules(tmp_path, pose=BY_TF))
    assert sum(map(len, episodes)) > 20 and largest_error_m(episodes) < PIXEL_M


@pytest.mark.parametrize("ghost, sentence", [
    (flange(0.01, lambda t: 0.55, received_s=0.011), "pose: frame flange on /tf: two sources alternate"),
    (flange(0.01, x_of, "world", 0.011), "two sources alternate, one below base_link, the other below world"),
    ([("/tf_static", TF, T0, frames((T0, "base_link", "flange", (0.5, 0, 0.3), DOWN)))],
     "pose: frame flange: two sources, /tf_static and /tf,"),
], ids=["same frames", "two parents", "static too"])  # fmt: skip
def test_two_publishers_of_a_frame_are_named(ghost, sentence, tmp_path):
    bag = write(tmp_path / "bag", off_beat() + flange() + ghost + [("/tf_static", TF, T0, tool(T0))])
    said = refusal(bag, rules(tmp_path, pose=BY_TF))
    assert sentence in said


def test_a_frame_of_the_camera_that_trembles_concerns_nobody(tmp_path):
    rng = np.random.default_rng(0)
    wild = [("/tf", TF, T0 + t, frames((T0 + t, "map", "person", rng.normal(0, 5, 3), (0, 0, 0, 1)))) for t in TIMES]
    bag = write(tmp_path / "bag", camera() + flange() + wild + [("/tf_static", TF, T0, tool(T0))])
    assert largest_error_m(ingested(bag, rules(tmp_path, pose=BY_TF))[0]) < PIXEL_M


def test_two_publishers_of_a_pose_are_named_by_their_frames(tmp_path):
    ghost = [("/pose", POSE, T0 + t + 0.011, pose(T0 + t + 0.01, (0.55, 0.2, 0.2), frame="camera")) for t in TIMES]
    said = refusal(write(tmp_path / "bag", off_beat() + poses() + ghost), rules(tmp_path))
    assert "pose: /pose: two sources alternate" in said
    assert "one says frame 'base_link', the other frame 'camera'" in said or "the other frame 'base_link'" in said


def test_a_pose_that_jumps_away_and_back_is_left_out_and_one_that_stays_is_a_cut(tmp_path):
    wild = [
        (a, b, c, pose(c - 0.001, (1.5, 0.3, 0.2)) if i in (100, 250) else m) for i, (a, b, c, m) in enumerate(poses())
    ]
    episodes, report = ingested(write(tmp_path / "spikes", camera() + wild), rules(tmp_path))
    assert report.dropped["poses that jump away and back"] == 2 and largest_error_m(episodes) < PIXEL_M

    def moved(t):
        return x_of(t) + (0.05 if t >= 6.01 else 0.0)

    bag = write(tmp_path / "jump", camera(x=moved) + poses(x=moved))
    episodes, report = ingested(bag, rules(tmp_path))
    assert [e.info.extra["ingested_cut"] for e in episodes] == ["tool jumped", "bag_end"]
    assert report.dropped["jumps of the tool that no arm makes, cut there"] == 1
    assert largest_error_m(episodes) < PIXEL_M


def test_fast_but_possible_motion_and_jitter_of_stamps_are_no_second_source(tmp_path):
    """1 m/s with 8 m/s^2 and stamps that jitter by 3 ms, as a driver that is no real-time program gives them."""
    rng = np.random.default_rng(1)

    def x(t):
        return 0.55 + 0.12 * math.sin(2 * math.pi * t / 0.8)

    jittered = []
    for t in np.arange(0, 6, 0.01):
        told = T0 + t + rng.uniform(0, 0.003)
        jittered.append(("/pose", POSE, T0 + t + 0.004, pose(told, (x(t), 0.0, 0.2))))
    _, report = ingested(write(tmp_path / "bag", camera(6, x=x) + jittered), rules(tmp_path))
    assert report.images > 50


@pytest.mark.parametrize("sections, messages, sentence", [
    ({"pose": {"unit": "m"}}, lambda t: pose(t, (1000 * x_of(t - T0), 0, 200)), "`unit: mm`?"),
    ({"pose": {"unit": "mm"}}, lambda t: pose(t, (x_of(t - T0), 0, 0.2)), "`unit: m`?"),
], ids=["mm as m", "m as mm"])  # fmt: skip
def test_positions_of_another_unit_are_named_with_the_numbers(sections, messages, sentence, tmp_path):
    told = [("/pose", POSE, T0 + t + 0.001, messages(T0 + t)) for t in TIMES]
    said = refusal(write(tmp_path / "bag", camera() + told), rules(tmp_path, **sections))
    assert sentence in said and "positions such as" in said


@pytest.mark.parametrize("unit, scale, sentence", [
    ("rad", 180 / math.pi, "more than any joint turns: `angle_unit: deg`?"),
    ("deg", 1.0, "a stretched arm: `angle_unit: rad`?"),
])  # fmt: skip
def test_angles_of_another_unit_are_named_with_the_numbers(unit, scale, sentence, tmp_path):
    states = joint_states(ARM, of=lambda t: scale * angles(t))
    said = refusal(write(tmp_path / "bag", camera() + states), rules(tmp_path, pose={**BY_JOINTS, "angle_unit": unit}))
    assert sentence in said and "angles of up to" in said


def test_poses_that_are_none_are_counted_by_their_reason(tmp_path):
    bad = [
        (a, b, c, pose(c - 0.001, (0.5, 0, 0.2), (0.7, 0, 0, 0.1)) if i % 5 == 0 else m)
        for i, (a, b, c, m) in enumerate(poses(hz=100))
    ]
    episodes, report = ingested(write(tmp_path / "bag", camera() + bad), rules(tmp_path))
    assert report.dropped["poses: its quaternion is not of length 1"] == 240 and largest_error_m(episodes) < PIXEL_M

"""The pre-flight check without ROS: what was observed of a cell, and what is said of it, topic by topic."""

import dataclasses

import numpy as np
import pytest
from preflight_cells import HOME_RAD, NOW_NS, change, found, healthy, make_cell, urdf
from test_images import picture

from am_ros.preflight.arm import check_arm, limits_of
from am_ros.preflight.checks import check_cell
from am_ros.preflight.commands import TRAJECTORY_TYPE, check_commands
from am_ros.preflight.findings import OK, WARNING, WRONG
from am_ros.preflight.observed import Endpoint, ImageSeen, JointsSeen, JointWatch, Observed, TopicSeen
from am_ros.preflight.publishers import check_publishers
from am_ros.preflight.streams import IMAGE_TYPE, JOINTS_TYPE


@pytest.fixture
def cell(tmp_path):
    """The node list of a simulated cell."""
    return make_cell(tmp_path)


def test_a_healthy_cell_has_nothing_wrong_and_every_line_says_what_was_seen(cell):
    findings = check_cell(cell, healthy(cell))
    assert not found(findings) and set(found(findings, WARNING)) == {"checkpoint"}
    well = {"image_rate", "joint_states_rate", "trajectory_heard", "joint_names", "tool_position"}
    assert well <= set(found(findings, OK))
    assert all("\n" not in str(f) for f in findings)


IMAGE, JOINTS, TRAJECTORY = "/image_raw", "/joint_states", "/joint_trajectory"
CAMERAS = Endpoint("/left", IMAGE_TYPE, reliable=False), Endpoint("/right", IMAGE_TYPE, reliable=False)
STAMPS = [NOW_NS + i * 50_000_000 for i in range(60)]


@pytest.mark.parametrize(
    ("topic", "changes", "level", "name", "sentence"),
    [
        (IMAGE, {"publishers": ()}, WRONG, "image_missing", "no node publishes /image_raw"),
        (IMAGE, {"publishers": (Endpoint("/x", "a/msg/B"),)}, WRONG, "image_type", "is a/msg/B"),
        (IMAGE, {"arrived_s": []}, WRONG, "image_silent", "nothing came in 3.0 s"),
        (IMAGE, {"arrived_s": [0.0, 0.2, 0.4]}, WRONG, "image_rate", "comes at 5.0 Hz, 20 Hz expected"),
        (IMAGE, {"arrived_s": list(np.arange(0, 3, 1 / 14))}, WARNING, "image_rate", "14.0 Hz"),
        (IMAGE, {"arrived_s": [0.0, 0.05, 2.2]}, WRONG, "image_rate", "paused for 2.2 s"),
        (JOINTS, {"arrived_s": [0.0, 0.01, 0.8]}, WRONG, "joint_states_rate", "the nodes give up after 0.5 s"),
        (IMAGE, {"lost": 7}, WARNING, "image_lost", "7 of 67 messages"),
        (IMAGE, {"stamps_ns": [0] * 60}, WRONG, "image_stamps", "without header stamps"),
        (IMAGE, {"stamps_ns": [*STAMPS[:30], *STAMPS[:30]]}, WRONG, "image_stamps", "go back by up to 1.450 s"),
        (IMAGE, {"ages_s": [-3.0] * 60}, WRONG, "image_stamps", "3.00 s in the future"),
        (IMAGE, {"ages_s": [7.0] * 60}, WRONG, "image_stamps", "7.00 s old"),
        (IMAGE, {"ages_s": [-0.1] * 60}, WARNING, "image_stamps", "0.100 s in the future"),
        (IMAGE, {"stamps_ns": [NOW_NS] * 60}, WARNING, "image_stamps", "59 of 59 stamps"),
        (IMAGE, {"frames": {""}}, WARNING, "image_frame", "no frame_id"),
        (IMAGE, {"frames": {"left"}}, WARNING, "image_frame", "/camera_info in optical"),
        (IMAGE, {"subscribers": (Endpoint("/viewer", IMAGE_TYPE),)}, WARNING, "image_qos", "/viewer does not hear"),
        (IMAGE, {"publishers": CAMERAS}, WARNING, "image_twice", "2 publishers of /image_raw: /left and /right"),
        (IMAGE, {"publishers": CAMERAS, "frames": {"left", "right"}}, WRONG, "image_twice", "frames left, right"),
        (JOINTS, {"publishers": (Endpoint("/arm", JOINTS_TYPE),) * 2}, WARNING, "joint_states_twice", "/arm (2 times)"),
        (TRAJECTORY, {"subscribers": ()}, WRONG, "trajectory_unheard", "no node listens on /joint_trajectory"),
        (TRAJECTORY, {"subscribers": (Endpoint("/arm", "x/msg/Y"),)}, WRONG, "trajectory_unheard", "heard as x/msg/Y"),
        (TRAJECTORY, {"subscribers": (Endpoint("/arm", TRAJECTORY_TYPE, latched=True),)}, WRONG, "trajectory_qos",
         "transient local is asked for"),
        (TRAJECTORY, {"publishers": (Endpoint("/rqt", TRAJECTORY_TYPE),)}, WRONG, "second_publisher", "/rqt publishes"),
        (TRAJECTORY, {"publishers": (Endpoint("/cartesian_controller", TRAJECTORY_TYPE),) * 2}, WRONG,
         "second_publisher", "another /cartesian_controller"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_topic_is_named(cell, topic, changes, level, name, sentence):
    findings = check_cell(cell, change(cell, topic, **changes))
    assert sentence in found(findings, level)[name]
    assert " -> " in found(findings, level)[name]


def joints_of_two(cell, message_of_one, message_of_other) -> Observed:
    """Two nodes take turns on joint_states."""
    watch, seen = JointWatch(), healthy(cell)
    for i in range(100):
        names, positions = (message_of_one, message_of_other)[i % 2]
        watch.add(i / 100, i / 100, names, positions)
    joints = dataclasses.replace(seen.joints, watch=watch)
    both = (Endpoint("/arm", JOINTS_TYPE), Endpoint("/joint_state_publisher_gui", JOINTS_TYPE))
    return change(cell, JOINTS, publishers=both, of=dataclasses.replace(seen, joints=joints))


def test_two_sources_of_joint_states_that_contradict_each_other_are_named(cell):
    names = cell.controller.joint_names
    findings = check_publishers(cell, joints_of_two(cell, (names, HOME_RAD), (names, [0.0] * 7)))
    sentence = found(findings, WRONG)["joint_states_twice"]
    assert "joint_a4 is at" in sentence and "10 ms later" in sentence
    assert "/arm and /joint_state_publisher_gui publish it" in sentence


def test_a_gripper_that_publishes_joint_states_of_its_own_is_no_second_source(cell):
    parts = (cell.controller.joint_names, HOME_RAD), (cell.controller.finger_names, [0.04, 0.04])
    assert not found(check_publishers(cell, joints_of_two(cell, *parts)))
    names = cell.controller.joint_names
    same = joints_of_two(cell, (names, HOME_RAD), ((*names, "rail"), (*HOME_RAD, 0.1)))
    assert "2 publishers" in found(check_publishers(cell, same), WARNING)["joint_states_twice"]


def test_our_own_controller_may_publish_trajectories(cell):
    own = (Endpoint("/cartesian_controller", TRAJECTORY_TYPE),)
    assert not found(check_commands(cell, change(cell, TRAJECTORY, publishers=own)))


def test_a_gripper_that_nobody_listens_to_is_named(cell):
    sentence = found(check_commands(cell, change(cell, "/gripper_command", subscribers=())))["gripper_unheard"]
    assert "no node listens on /gripper_command" in sentence


def test_with_servo_it_is_servo_that_must_listen_and_may_publish_trajectories(tmp_path):
    cell = make_cell(tmp_path, backend="servo")
    observed = change(cell, TRAJECTORY, publishers=(Endpoint("/servo_node", TRAJECTORY_TYPE),))
    assert set(found(check_commands(cell, observed))) == {"servo_unheard"}


@pytest.mark.parametrize(
    ("rgb", "name", "sentence"),
    [
        (picture(48, 64), "image_wrong_size", "image of 64x48 px, but 64x64 is expected"),
        (np.zeros((64, 64, 3), np.uint8), "image_black", "black image"),
    ],
)
def test_images_that_the_policy_cannot_use_are_named(cell, rgb, name, sentence):
    observed = healthy(cell)
    observed.image = ImageSeen(rgb)
    assert sentence in found(check_cell(cell, observed))[name]


def test_a_calibration_of_another_size_is_named(cell):
    observed = healthy(cell)
    observed.camera_info_size = (480, 640)
    assert "is for 640x480 px, the image is 64x64" in found(check_cell(cell, observed))["camera_info_size"]


def with_joints(cell, positions=None, velocities=None, drop=()) -> Observed:
    observed = healthy(cell)
    there = observed.joints.positions | (positions or {})
    speeds = observed.joints.velocities | (velocities or {})
    observed.joints = JointsSeen({k: v for k, v in there.items() if k not in drop}, speeds)
    return observed


def test_velocities_that_contradict_the_positions_are_named_while_the_arm_moves(cell):
    observed, names = healthy(cell), [f"joint_a{i}" for i in range(1, 8)]
    for reported, told in ((0.2, False), (0.0, True)):
        watch = JointWatch()
        for k in range(60):
            watch.add(k / 100, k / 100, names, [0.2 * k / 100] + [0.0] * 6, [reported] + [0.0] * 6)
        observed.joints = JointsSeen(observed.joints.positions, observed.joints.velocities, watch=watch)
        findings = found(check_arm(cell, observed), WARNING)
        assert ("joint_velocities" in findings) == told
    assert "joint_a1 turned by +0.0" in findings["joint_velocities"]


def test_joint_states_of_another_driver_are_named_with_what_is_there(cell):
    observed = healthy(cell)
    observed.joints = JointsSeen({f"lbr_A{i}": 0.0 for i in range(1, 8)}, {})
    sentence = found(check_arm(cell, observed))["joint_names"]
    assert "names lbr_A1, lbr_A2" in sentence and "joint_a1, joint_a2" in sentence


@pytest.mark.parametrize(
    ("joints", "level", "name", "sentence"),
    [
        ({"drop": ("finger_left_joint",)}, WRONG, "finger_names", "does not name finger_left_joint"),
        ({"positions": {"joint_a2": 2.3}}, WRONG, "joint_positions", "joint_a2 is at 2.30 rad, its limits are -2.09"),
        ({"positions": {"joint_a2": 2.07}}, WARNING, "joint_positions", "joint_a2 is at 2.07 rad"),
        ({"positions": {"joint_a1": 1.5}}, WARNING, "tool_position", "outside the workspace"),
        ({"positions": {"finger_left_joint": 0.79, "finger_right_joint": 0.79}}, WRONG, "gripper_values", "at 0.790"),
        ({"velocities": {"joint_a3": 0.2}}, WARNING, "arm_moves", "joint_a3 turns at 0.20 rad/s"),
    ],
)
def test_an_arm_that_is_not_ready_is_named(cell, joints, level, name, sentence):
    assert sentence in found(check_arm(cell, with_joints(cell, **joints)), level)[name]


def test_a_tool_that_the_simulator_does_not_have_is_named(tmp_path):
    file = tmp_path / "cell.yaml"
    file.write_text("/**/cartesian_controller: {ros__parameters: {tool_length_m: 0.172}}")
    cell = make_cell(tmp_path, params_file=str(file))
    sentence = found(check_cell(cell, healthy(cell)))["simulated_tool"]
    assert "the simulator's tool is 0.14 m long on the bare flange; tool_length_m is 0.172" in sentence


@pytest.mark.parametrize("setting", ["gripper: none", "gripper_measured: false, gripper: switch"])
def test_a_cell_whose_gripper_nobody_reports_or_that_has_none_has_nothing_wrong(tmp_path, setting):
    file = tmp_path / "cell.yaml"
    file.write_text(f"/**/cartesian_controller: {{ros__parameters: {{{setting}}}}}")
    cell = make_cell(tmp_path, params_file=str(file))
    observed = healthy(cell)
    fingers = cell.controller.finger_names
    arm = {name: q for name, q in observed.joints.positions.items() if name not in fingers}
    observed.joints = JointsSeen(arm, {})
    observed.topics["/gripper_command"] = TopicSeen("/gripper_command")  # nobody hears it
    heard = (Endpoint("/io", "std_msgs/msg/Bool"),)
    observed.topics["/gripper_switch"] = TopicSeen("/gripper_switch", (), heard if "switch" in setting else ())
    findings = check_cell(cell, observed)
    assert not found(findings) and "as they were told to move" in found(findings, OK)["finger_names"]


@pytest.mark.parametrize(
    ("description", "level", "sentence"),
    [
        (urdf(-3.1, 3.1), OK, "within those of the cell"),
        (urdf(-1.0, 3.1), WRONG, "joint_a1 -1.00 ... 3.10 rad, ours -2.97 ... 2.97"),
        (urdf(-3.1, 3.1, velocity=0.5), WRONG, "joint_a1 0.50 rad/s, ours"),
        (urdf(names=["A1"]), WRONG, "has no joint_a1"),
        ("<robot", WARNING, "cannot be read"),
    ],
)
def test_limits_are_compared_with_those_that_the_cell_publishes(cell, description, level, sentence):
    observed = healthy(cell)
    observed.robot_description = description
    assert sentence in found(check_arm(cell, observed), level)["joint_limits"]


def test_a_joint_that_turns_without_end_has_no_limits():
    text = '<robot name="x"><joint name="a" type="continuous"/><joint name="b" type="fixed"/></robot>'
    assert limits_of(text)["a"].upper_rad == float("inf") and "b" not in limits_of(text)


def test_joints_of_ros2_control_are_not_taken_for_joints_without_limits():
    more = '<ros2_control name="arm"><joint name="joint_a1"/></ros2_control></robot>'
    text = urdf(-3.1, 3.1).replace("</robot>", more)
    assert limits_of(text)["joint_a1"].upper_rad == 3.1

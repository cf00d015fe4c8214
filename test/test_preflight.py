"""The pre-flight check without ROS: what was observed of a cell, and what is said of it, property by property."""

import dataclasses
import json
import os

import numpy as np
import pytest
from test_images import picture

from am_ros import topics
from am_ros.cell.environment import ros_environment, share_directory
from am_ros.cell.fastdds_profile import read_profile
from am_ros.cell.graph import sim_nodes
from am_ros.cli import main
from am_ros.errors import AmRosError
from am_ros.goals import GoalLibrary
from am_ros.preflight.arm import check_arm, limits_of
from am_ros.preflight.cell import Cell, matches
from am_ros.preflight.checks import check_cell, check_configuration
from am_ros.preflight.commands import NUMBERS_TYPE, TRAJECTORY_TYPE, check_commands
from am_ros.preflight.findings import OK, WARNING, WRONG, worst
from am_ros.preflight.machine import check_discovery, check_folders, check_transport
from am_ros.preflight.observed import Endpoint, ImageSeen, JointsSeen, JointWatch, Observed, TopicSeen
from am_ros.preflight.publishers import check_publishers
from am_ros.preflight.serving import check_goals, check_policy
from am_ros.preflight.settings import check_parameters, known_parameters
from am_ros.preflight.streams import IMAGE_TYPE, JOINTS_TYPE, check_clock, streams

HOME_RAD = (0.0, 0.55, 0.0, -1.45, 0.0, np.pi - 2.0, 0.0)
NOW_NS = 1_700_000_000_000_000_000


@pytest.fixture
def cell(tmp_path):
    """The node list of a simulated cell."""
    return make_cell(tmp_path)


def make_cell(tmp_path, **arguments) -> Cell:
    arguments = {"goals": str(tmp_path / "goals"), "bags": str(tmp_path / "bags")} | arguments
    return Cell(tuple(sim_nodes(**arguments)))


def healthy(cell: Cell, seconds: float = 3.0) -> Observed:
    """What a cell shows in which nothing is wrong."""
    seen = {}
    for stream in streams(cell):
        times = np.arange(0, seconds, 1 / stream.rate_hz)
        seen[stream.name] = TopicSeen(
            stream.name, (Endpoint("/sim_workcell", stream.type, reliable=False),), (),
            times.tolist(), [NOW_NS + int(t * 1e9) for t in times], [0.005] * len(times), {"optical"}, 0, seconds,
        )  # fmt: skip
    trajectory = TopicSeen("/joint_trajectory", (), (Endpoint("/sim_workcell", TRAJECTORY_TYPE),))
    seen[trajectory.name] = trajectory
    seen["/gripper_command"] = TopicSeen("/gripper_command", (), (Endpoint("/sim_workcell", NUMBERS_TYPE),))
    positions = dict(zip(cell.controller.joint_names, HOME_RAD, strict=True))
    positions |= dict.fromkeys(cell.controller.finger_names, 0.045)
    joints = JointsSeen(positions, dict.fromkeys(positions, 0.0))
    return Observed(seen, joints, ImageSeen(picture(64, 64)), (64, 64))


def found(findings, level=WRONG) -> dict[str, str]:
    """Names and sentences of the findings of a level."""
    return {f.name: str(f) for f in findings if f.level == level}


def test_a_healthy_cell_has_nothing_wrong_and_every_line_says_what_was_seen(cell):
    findings = check_cell(cell, healthy(cell))
    assert not found(findings) and set(found(findings, WARNING)) == {"checkpoint"}
    well = {"image_rate", "joint_states_rate", "trajectory_heard", "joint_names", "tool_position"}
    assert well <= set(found(findings, OK))
    assert all("\n" not in str(f) for f in findings)


def change(cell, name, of: Observed | None = None, **changes) -> Observed:
    """A healthy cell with one topic changed."""
    observed = of or healthy(cell)
    observed.topics[name] = dataclasses.replace(observed.topics[name], **changes)
    return observed


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


def urdf(lower=-2.96, upper=2.96, velocity=10.0, names=None) -> str:
    names = names or [f"joint_a{i}" for i in range(1, 8)]
    joint = '<joint name="{}" type="revolute"><limit lower="{}" upper="{}" velocity="{}" effort="1"/></joint>'
    return f'<robot name="x">{"".join(joint.format(n, lower, upper, velocity) for n in names)}</robot>'


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


def test_a_folder_that_cannot_be_written_is_named_and_nothing_is_left_behind(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    cell = make_cell(tmp_path, bags=str(blocked / "bags"))
    findings = check_folders(cell)
    assert "cannot be made" in found(findings)["bags_folder"] and "goals_folder" in found(findings, OK)
    assert not (tmp_path / "goals").exists()


def test_a_disk_that_is_nearly_full_is_named(tmp_path):
    for key, level, value in (("free_disk_mb", WRONG, 9_999_999), ("free_disk_gb", WARNING, 9e4)):
        file = tmp_path / "cell.yaml"
        node = "episode_logger" if level == WRONG else "check"
        file.write_text(f"/**/{node}: {{ros__parameters: {{{key}: {value}}}}}\n")
        cell = make_cell(tmp_path, params_file=str(file))
        assert "GB free for bags" in found(check_folders(cell), level)["disk_space"]


def test_our_fast_dds_profile_takes_images_of_the_papers_size():
    environ = ros_environment({"PATH": ""})
    findings = check_transport(environ, 472 * 472 * 3, 7)
    assert "one message" in found(findings, OK)["fastdds_profile"]
    profile = read_profile(share_directory() / "config" / "fastdds.xml")
    assert profile.segment_bytes > 6e6 and profile.message_bytes > 472 * 472 * 3


@pytest.mark.parametrize(
    ("environ", "level", "sentence"),
    [
        ({}, WRONG, "no Fast DDS profile"),
        ({"FASTRTPS_DEFAULT_PROFILES_FILE": "/nowhere.xml"}, WRONG, "/nowhere.xml: cannot be read"),
        ({"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}, WARNING, "rmw_fastrtps_cpp only"),
    ],
)
def test_a_transport_that_loses_images_is_named(environ, level, sentence):
    assert sentence in found(check_transport(environ, 12_000, 7), level)["fastdds_profile"]


def test_images_that_do_not_fit_the_profile_and_a_small_shared_memory_are_named(tmp_path):
    environ = ros_environment({"PATH": ""})
    large = found(check_transport(environ, 1080 * 1920 * 3, 7), WARNING)
    assert "an image needs 6230800" in large["fastdds_profile"]
    many = found(check_transport(environ, 12_000, 10**9))
    assert "MB free" in many["shared_memory"]
    none = found(check_transport(environ, 12_000, 7, tmp_path / "none"), WARNING)
    assert "is not there" in none["shared_memory"]


@pytest.mark.parametrize(
    ("environ", "level", "name", "sentence"),
    [
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}, OK, "discovery_range", "this host only"),
        ({}, WARNING, "discovery_range", "everybody on the network"),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}, WARNING, "discovery_range", "everybody on the network"),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF"}, WRONG, "discovery_range", "no node finds another"),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_STATIC_PEERS": "10.0.0.7"}, WARNING, "discovery_range",
         "10.0.0.7 can find the nodes"),
        ({"ROS_DOMAIN_ID": "150"}, WARNING, "ros_domain", "its ports may be taken"),
        ({"ROS_DOMAIN_ID": "seven"}, WRONG, "ros_domain", "is not a whole number"),
    ],
)  # fmt: skip
def test_who_can_find_the_nodes_is_said(environ, level, name, sentence):
    assert sentence in found(check_discovery(environ), level)[name]


def test_a_buffer_that_drops_images_between_machines_is_named(tmp_path):
    buffer = tmp_path / "rmem_max"
    buffer.write_text("212992\n")
    assert "images of 213 kB and more are lost" in found(check_discovery({}, buffer), WARNING)["socket_buffer"]
    alone = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    assert "socket_buffer" not in found(check_discovery(alone, buffer), WARNING)


def test_nodes_stay_on_this_host_unless_told_otherwise():
    assert ros_environment({"PATH": ""})["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert ros_environment({"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"})["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "SUBNET"


def serving(tmp_path, checkpoint, **arguments) -> Cell:
    cell = make_cell(tmp_path, **arguments)
    policy = cell.spec("policy_server")
    changed = dataclasses.replace(policy, parameters={**policy.parameters, "checkpoint": str(checkpoint)})
    return Cell(tuple(changed if spec is policy else spec for spec in cell.specs))


def test_a_checkpoint_is_compared_with_camera_and_controller(tmp_path):
    cell = serving(tmp_path, "pick_place")
    assert not found(check_policy(cell, healthy(cell)))
    large = serving(tmp_path, "pick_place", image_size=96)
    observed = healthy(large)
    observed.image = ImageSeen(picture(96, 96))
    sentence = found(check_policy(large, observed))["checkpoint_image"]
    assert "needs images of 64x64 px, the camera gives 96x96" in sentence
    file = tmp_path / "cell.yaml"
    file.write_text("/**/cartesian_controller: {ros__parameters: {max_translation_m: [0.02, 0.02, 0.02]}}\n")
    strict = serving(tmp_path, "pick_place", params_file=str(file))
    sentence = found(check_policy(strict, healthy(strict)))["checkpoint_actions"]
    assert "steps of up to [0.08, 0.08, 0.08, 0.5]" in sentence
    nowhere = serving(tmp_path, tmp_path / "nowhere")
    assert "nowhere" in found(check_policy(nowhere, healthy(nowhere)))["checkpoint"]


def test_goals_that_the_policy_cannot_be_given_are_counted(tmp_path):
    cell = make_cell(tmp_path)
    library = GoalLibrary(tmp_path / "goals")
    library.record("small", picture(32, 32))
    library.record("right", picture(64, 64))
    assert "1 of 2 goals have another size than the policy's: small" in found(check_goals(cell, 64), WARNING)["goals"]


KNOWN = {"camera": {"rate_hz": 0.0, "loop": True}}


@pytest.mark.parametrize(
    ("text", "name", "sentence"),
    [
        ("/**/camra: {ros__parameters: {loop: true}}", "parameter_node", "is /**/camera meant?"),
        ("/**/camera: {ros__parameters: {lop: true}}", "parameter_name", "has no parameter lop -> is loop meant?"),
        ("/**/camera: {ros__parameters: {rate_hz: 5}}", "parameter_type", "rate_hz is 5, a float as 0.0 is expected"),
        ("/**/cartesian_controller: {ros__parameters: {velocity_scale: 7.0}}", "parameter_value", "7.0 is outside"),
        ("/**/check: {ros__parameters: {image_rate: 7.0}}", "parameter_name", "is image_rate_hz meant?"),
    ],
)
def test_a_parameter_file_is_compared_with_what_nodes_declare(tmp_path, text, name, sentence):
    file = tmp_path / "cell.yaml"
    file.write_text(text)
    assert sentence in found(check_parameters(make_cell(tmp_path, params_file=str(file)), KNOWN))[name]


@pytest.mark.parametrize(
    ("times_ns", "who", "name"),
    [
        ([], "/**", "clock_missing"),
        ([5, 5, 5], "/**", "clock_stopped"),
        ([5, 6, 7], "/**/cartesian_controller", "clock_differs"),
        ([5, 6, 7], "/**", ""),
    ],
)
def test_a_clock_that_does_not_run_or_not_for_all_is_named(tmp_path, times_ns, who, name):
    file = tmp_path / "cell.yaml"
    file.write_text(f"{who}: {{ros__parameters: {{use_sim_time: true}}}}\n")
    cell = make_cell(tmp_path, params_file=str(file))
    observed = healthy(cell)
    observed.topics["/clock"] = TopicSeen("/clock", stamps_ns=times_ns, listened_s=3.0)
    assert list(found(check_clock(cell, observed))) == ([name] if name else [])


def test_a_section_for_all_nodes_may_name_what_any_of_them_declares(tmp_path):
    file = tmp_path / "cell.yaml"
    file.write_text("/**: {ros__parameters: {workspace_x_m: [0.45, 0.7], use_sim_time: true}}\n")
    cell = make_cell(tmp_path, params_file=str(file))
    known = {spec.label: {} for spec in cell.specs} | known_parameters()
    assert "workspace_x_m" in known["cartesian_controller"] and set(known) >= {"camera", "trainer", "policy_server"}
    assert [f.level for f in check_parameters(cell, known)] == [OK]
    assert cell.controller.limits.workspace_x_m == (0.45, 0.7)


@pytest.mark.parametrize(
    ("text", "sentence"), [("/**/camera: {loop: true}", "holds no ros__parameters"), ("[", "cannot be read")]
)
def test_a_parameter_file_that_ros_would_not_read_is_named(tmp_path, text, sentence):
    file = tmp_path / "cell.yaml"
    file.write_text(text)
    with pytest.raises(AmRosError, match=f"{file}: .*{sentence}"):
        check_parameters(make_cell(tmp_path, params_file=str(file)), KNOWN)


@pytest.mark.parametrize(
    ("pattern", "node", "fits"),
    [
        ("/**/camera", "/camera", True), ("/**/camera", "/cell/a/camera", True), ("camera", "/camera", True),
        ("/*/camera", "/cell/camera", True), ("/*/camera", "/camera", False), ("/**", "/cell/camera", True),
        ("/**/camera", "/left_camera", False), ("/cell/camera", "/camera", False),
    ],
)  # fmt: skip
def test_patterns_of_parameter_files_mean_what_they_mean_to_ros(pattern, node, fits):
    assert matches(pattern, node) is fits


def test_topics_follow_namespace_and_remappings(tmp_path):
    cell = make_cell(tmp_path, namespace="left")
    assert cell.topic(topics.IMAGE) == "/left/image_raw"
    moved = Cell(tuple(dataclasses.replace(s, remappings={"joint_states": "/lbr/joint_states"}) for s in cell.specs))
    assert moved.topic("joint_states", "cartesian_controller") == "/lbr/joint_states"


def test_security_that_would_not_come_about_is_wrong(cell):
    environ = {**ros_environment(dict(os.environ)), "ROS_SECURITY_ENABLE": "True"}
    assert "security_misspelt" in found(check_configuration(cell, environ, {}))["security"]


def test_findings_are_written_as_json_and_the_exit_code_says_whether_all_is_well(tmp_path, capsys):
    folders = [f"goals:={tmp_path / 'goals'}", f"bags:={tmp_path / 'bags'}"]
    out = tmp_path / "found.json"
    assert main(["check", "sim", "--offline", "--json", str(out), *folders]) == 0
    content = json.loads(out.read_text())
    assert content["ok"] and {"level", "name", "seen", "mend"} == set(content["findings"][0])
    (tmp_path / "file").write_text("")
    assert main(["check", "sim", "--offline", f"bags:={tmp_path / 'file' / 'bags'}"]) == 1
    assert "wrong   bags_folder " in capsys.readouterr().out
    bad = {"nonsense": "is no cell", "colour:=red": "argument colour", "--wait=-1": "--wait 0 ... 600"}
    for words, sentence in bad.items():
        assert main(["check", words]) == 2
        assert sentence in capsys.readouterr().err


def test_the_worst_finding_counts():
    assert worst([]) == OK
    with pytest.raises(AmRosError, match="unknown"):
        Cell(tuple(sim_nodes(nonsense=1)))

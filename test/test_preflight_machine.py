"""The pre-flight check without ROS: folders, disk, network, checkpoint, goals and parameter files of a cell."""

import dataclasses
import json
import os

import pytest
from preflight_cells import found, healthy, make_cell
from test_images import picture

from am_ros import topics
from am_ros.cell.environment import ros_environment, share_directory
from am_ros.cell.fastdds_profile import read_profile
from am_ros.cell.graph import sim_nodes
from am_ros.cli import main
from am_ros.errors import AmRosError
from am_ros.goals import GoalLibrary
from am_ros.preflight.cell import Cell, matches
from am_ros.preflight.checks import check_configuration
from am_ros.preflight.findings import OK, WARNING, WRONG, worst
from am_ros.preflight.machine import check_discovery, check_folders, check_transport
from am_ros.preflight.observed import ImageSeen, TopicSeen
from am_ros.preflight.serving import check_goals, check_policy
from am_ros.preflight.settings import check_parameters, known_parameters
from am_ros.preflight.streams import check_clock


@pytest.fixture
def cell(tmp_path):
    """The node list of a simulated cell."""
    return make_cell(tmp_path)


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

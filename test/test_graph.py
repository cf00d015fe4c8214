"""The node lists: what they contain, and that every parameter they set is one that the node declares."""

from importlib import metadata
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from rcl_interfaces.srv import ListParameters

from am_ros.cell.arguments import STACKS, RecordArguments, SimArguments, WorkcellArguments, arguments_from_text
from am_ros.cell.environment import share_directory
from am_ros.cell.graph import GRAPHS, NodeSpec, record_nodes, sim_nodes, train_nodes, workcell_nodes
from am_ros.cell.supervisor import Supervisor
from am_ros.errors import AmRosError
from am_ros.nodes import defaults
from am_ros.preflight.cell import Cell
from am_ros.preflight.findings import WRONG
from am_ros.preflight.settings import EVERY_NODE, check_parameters, known_parameters


@pytest.fixture
def image_folder(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    image = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / "0.png"), image)
    return folder


@pytest.mark.slow  # fourteen processes
def test_nodes_declare_what_the_defaults_say_and_nothing_else(ros, ros_env, image_folder, tmp_path):
    """Every node of every cell, as a process: config/defaults.yaml is complete, and what is set is declared."""
    folders = {"goals": str(tmp_path / "goals"), "bags": str(tmp_path), "namespace": "cell"}
    listed = [
        *sim_nodes(**folders, expert=True, page=True, page_port=0),
        *record_nodes(**folders, camera=str(image_folder), teleop="joy", description="true"),
        *train_nodes(bags=str(tmp_path), out=str(tmp_path / "out"), namespace="cell"),
        NodeSpec("image_relay", namespace="cell"),
    ]
    specs = {spec.label: spec for spec in listed}
    known = known_parameters()
    with Supervisor(specs.values(), tmp_path / "log", ros_env) as supervisor:
        for label, spec in specs.items():
            reply = ros.call(ListParameters, f"/cell/{label}/list_parameters", timeout_s=40.0)
            supervisor.check()
            declared = set(reply.result.names) - EVERY_NODE
            assert declared == set(known[label]), label
            assert set(spec.parameters) <= declared, label


def test_the_defaults_are_those_of_the_code_each_with_its_description_and_range():
    written = (share_directory() / "config" / "defaults.yaml").read_text()
    assert written == defaults.text(), "python -m am_ros.nodes.defaults config/defaults.yaml"
    for node in defaults.NODES:
        for f, default in defaults.parameters_of(node):
            value = default[0] if isinstance(default, tuple) else default
            assert f.metadata["help"], f"{node}: {f.name}"
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            assert not number or f.metadata["range"], f"{node}: {f.name} has no range"
    assert set(defaults.NODES) >= {path.stem for path in executables()} - {"moveit_planner"}


def executables():
    nodes = Path(__file__).parents[1] / "am_ros" / "nodes"
    return [path for path in nodes.glob("*.py") if "\ndef main(" in path.read_text()]


@pytest.mark.parametrize("file", sorted((share_directory() / "config").glob("*.yaml")), ids=lambda file: file.stem)
def test_a_parameter_file_sets_what_nodes_declare_and_a_misspelt_key_is_named(file, tmp_path):
    assert wrong_parameters(file) == []
    copy = tmp_path / file.name
    copy.write_text(file.read_text().replace("base_frame:", "bace_frame:").replace("jpeg_quality:", "jpg_quality:"))
    if "frame" in copy.read_text() or "quality" in copy.read_text():
        found = wrong_parameters(copy)
        assert found and all(str(copy) in line for line in found)
        assert any("has no parameter bace_frame" in line or "has no parameter jpg_quality" in line for line in found)


def wrong_parameters(file):
    """What the check has to say against a parameter file of ours, taken as a user's own."""
    cell = Cell((NodeSpec("camera", parameter_files=(file,)),))
    return [str(finding) for finding in check_parameters(cell, known_parameters()) if finding.level == WRONG]


def test_parameter_files_name_nodes_that_exist():
    made = [sim_nodes(expert=True, page=True), workcell_nodes(description="true"), record_nodes(teleop="joy")]
    made.append(train_nodes())
    nodes = {f"/**/{spec.label}" for nodes in made for spec in nodes}
    nodes |= {"/**", "/**/topics", "/**/check", "/**/bag_player", "/**/image_relay"}
    files = sorted((share_directory() / "config").glob("*.yaml"))
    assert {file.stem for file in files} >= {*STACKS, "workcell"}
    for file in files:
        assert set(yaml.safe_load(file.read_text())) <= nodes, file


def test_stacks_differ_in_topics_and_names_only():
    lbr, kuka = workcell_nodes(stack="lbr_fri"), workcell_nodes(stack="kuka_drivers")
    assert [spec.executable for spec in lbr] == [spec.executable for spec in kuka]
    assert [spec.parameters for spec in lbr[:-1]] == [spec.parameters for spec in kuka[:-1]]  # all but the bring-up
    assert lbr[0].remappings["joint_states"] == "/lbr/joint_states"
    assert kuka[0].remappings["joint_trajectory"] == "/joint_trajectory_controller/joint_trajectory"
    for nodes, expected in ((lbr, "lbr_A1"), (kuka, "joint_1")):
        values = [yaml.safe_load(f.read_text())["/**/cartesian_controller"] for f in nodes[1].parameter_files]
        assert values[-1]["ros__parameters"]["joint_names"][0] == expected


@pytest.mark.parametrize("make", [workcell_nodes, record_nodes])
def test_with_stack_sim_the_simulator_stands_for_driver_and_camera(make):
    real, simulated = make(stack="lbr_fri", image_size=96), make(stack="sim", image_size=96, variety=0.5)
    assert real[0].executable == "camera" and real[0].parameters["width"] == 96
    assert [spec.executable for spec in simulated] == ["sim_workcell", *(spec.executable for spec in real[1:])]
    expected = {"model": "iiwa14", "image_size": 96, "real_time_factor": 1.0, "variety": 0.5, "description": True}
    assert simulated[0].parameters == expected
    assert all(not spec.remappings for spec in simulated)
    assert [f.stem for f in simulated[0].parameter_files] == ["workcell", "sim"]


def test_the_workcell_is_told_about_its_arm_and_its_folders():
    names = {"stack", "model", "namespace", "camera", "backend", "policy", "goals", "bags", "check", "security"}
    assert names <= set(WorkcellArguments.__dataclass_fields__)
    nodes = workcell_nodes(model="iiwa7", backend="servo", policy="pick_place", namespace="cell")
    by_name = {spec.label: spec for spec in nodes}
    assert by_name["cartesian_controller"].parameters["backend"] == "servo"
    assert by_name["cartesian_controller"].parameters["robot_model"] == "iiwa7"
    assert by_name["policy_server"].parameters["checkpoint"].endswith("pretrained/pick_place")
    assert {spec.namespace for spec in nodes} == {"cell"}
    with pytest.raises(AmRosError, match="argument model: kuka_drivers drives the iiwa14 only"):
        workcell_nodes(stack="kuka_drivers", model="iiwa7")
    for wrong in ({"stack": "ur"}, {"backend": "magic"}, {"model": "ur5"}):
        with pytest.raises(AmRosError, match=f"parameter {next(iter(wrong))}: .* is not one of "):
            workcell_nodes(**wrong)


def test_an_operator_records_with_a_joystick_or_in_a_terminal_and_the_trainer_watches_a_folder(tmp_path):
    labels = [spec.label for spec in record_nodes(teleop="joy")]
    expected = ["camera", "cartesian_controller", "goal_registry", "episode_logger", "teleop", "bringup"]
    assert labels == expected
    teleop = record_nodes(teleop="joy", task="play")[-2]
    assert teleop.parameters == {"source": "joy", "task": "play"}
    assert [spec.label for spec in record_nodes()] == [name for name in expected if name != "teleop"]
    assert "policy" not in RecordArguments.__dataclass_fields__
    (trainer,) = train_nodes(bags=str(tmp_path), out=str(tmp_path / "out"), namespace="lab")
    assert (trainer.executable, trainer.namespace) == ("trainer", "lab")
    assert trainer.parameters["bags"] == str(tmp_path) and trainer.parameters["min_episodes"] == 1


def test_beside_a_second_cell_driver_goals_and_bags_are_those_of_the_namespace(tmp_path):
    file = tmp_path / "cell.yaml"
    file.write_text("/**/topics: {ros__parameters: {gripper_switch: /plc/close}}\n")
    left, alone = workcell_nodes(stack="lbr_fri", namespace="left", params_file=str(file)), workcell_nodes()
    assert left[1].remappings == {
        "joint_states": "/left/lbr/joint_states",
        "joint_trajectory": "/left/lbr/joint_trajectory_controller/joint_trajectory",
        "gripper_switch": "/plc/close",  # as the user has written it
    }
    assert alone[1].remappings["joint_states"] == "/lbr/joint_states"
    servo = [nodes[1].parameters.get("servo_node") for nodes in (left, alone)]
    assert servo == ["/left/lbr/servo_node", None]  # None: as the file of the stack has it
    home = Path.home() / ".ros" / "am_ros"

    def folders(nodes):
        by_name = {spec.label: spec.parameters.get("folder") for spec in nodes}
        return by_name["goal_registry"], by_name["episode_logger"]

    assert folders(alone) == (str(home / "goals"), str(home / "bags"))
    assert folders(left) == (str(home / "left" / "goals"), str(home / "left" / "bags"))
    assert folders(sim_nodes())[0] == folders(workcell_nodes(stack="sim"))[0] == str(home / "sim" / "goals")
    assert folders(sim_nodes(namespace="left"))[0] == str(home / "sim" / "left" / "goals")
    (trainer,) = train_nodes(namespace="left")
    assert trainer.parameters["bags"] == folders(left)[1]


def test_topics_come_from_the_parameter_files_and_the_last_one_counts(tmp_path):
    file = tmp_path / "cell.yaml"
    file.write_text("/**/topics: {ros__parameters: {joint_states: /arm/joint_states, gripper_switch: /plc/close}}\n")
    remappings = workcell_nodes(stack="lbr_fri", params_file=str(file))[1].remappings
    assert remappings == {
        "joint_states": "/arm/joint_states",
        "joint_trajectory": "/lbr/joint_trajectory_controller/joint_trajectory",
        "gripper_switch": "/plc/close",
    }
    file.write_text("/**/topics: {ros__parameters: {joint_state: /arm/joint_states}}\n")
    with pytest.raises(AmRosError, match="joint_state is none of image_raw, "):
        workcell_nodes(params_file=str(file))
    file.write_text("/**/topics: [joint_states\n")
    with pytest.raises(AmRosError, match=f"parameter file {file}: cannot be read"):
        workcell_nodes(params_file=str(file))


def test_bring_up_can_be_made_to_wait_for_the_check_of_the_same_cell():
    bringup = workcell_nodes(stack="sim", check=True, image_size=96, namespace="lab")[-1]
    assert bringup.parameters["check"] is True
    assert bringup.parameters["check_arguments"] == ["workcell", "stack:=sim", "image_size:=96", "namespace:=lab"]
    assert "check" not in workcell_nodes()[-1].parameters  # and yet it can be asked for the check later
    assert workcell_nodes(stack="sim")[-1].parameters["check_arguments"] == ["workcell", "stack:=sim"]


def test_the_page_stands_beside_every_cell_that_wants_it_and_no_cell_ends_with_it():
    for make in (sim_nodes, workcell_nodes, record_nodes, train_nodes):
        assert "operator_page" not in [spec.label for spec in make()]
        (page,) = [spec for spec in make(page=True, page_port=9000) if spec.label == "operator_page"]
        assert page.parameters == {"page_port": 9000} and not page.required


def test_commands_keep_the_types_of_parameters():
    values = {"source": "0", "rate_hz": 5.0, "loop": False, "bags": ("a", "b")}
    spec = NodeSpec("camera", "left", "cell", values, (Path("/x y.yaml"),), {"image_raw": "/left/image"})
    command = spec.command()
    assert command[1:4] == ["-m", "am_ros.nodes.camera", "--ros-args"]
    assert command[4:] == [
        "-r", "__node:=left", "-r", "__ns:=/cell", "-r", "image_raw:=/left/image", "--params-file", "/x y.yaml",
        "-p", 'source:="0"', "-p", "rate_hz:=5.0", "-p", "loop:=false", "-p", 'bags:=["a", "b"]',
    ]  # fmt: skip


def test_paths_are_absolute_and_arguments_checked():
    registry = next(spec for spec in sim_nodes(goals="~/goals") if spec.label == "goal_registry")
    assert registry.parameters["folder"] == str(Path.home() / "goals")
    assert arguments_from_text(SimArguments, {"expert": "True", "samples": "8"}) == {"expert": True, "samples": 8}
    with pytest.raises(AmRosError, match="argument expert: 'perhaps' is not true or false"):
        arguments_from_text(SimArguments, {"expert": "perhaps"})


@pytest.mark.parametrize("cell", GRAPHS)
def test_launch_files_describe_the_same_nodes_or_say_what_is_missing(cell):
    file = Path(__file__).parents[1] / "launch" / f"{cell}.launch.py"
    module = module_from_spec(spec_from_file_location(f"launch_{cell}", file))
    module.__spec__.loader.exec_module(module)
    try:
        import launch_ros  # noqa: F401
    except ImportError:
        with pytest.raises(AmRosError, match=f"is not installed: source ROS 2, or use `am-ros up {cell}`"):
            module.generate_launch_description()
    else:
        from am_ros.cell.launching import _actions

        arguments, make = GRAPHS[cell]
        described = module.generate_launch_description().get_launch_arguments()
        assert [a.name for a in described] == list(arguments.__dataclass_fields__)
        assert len(_actions(make())) == len(make())


def test_there_is_a_launch_file_for_every_cell_and_an_executable_for_every_node():
    files = (Path(__file__).parents[1] / "launch").glob("*.launch.py")
    assert {file.name.removesuffix(".launch.py") for file in files} == set(GRAPHS)
    scripts = {e.name for e in metadata.distribution("am_ros").entry_points if e.group == "console_scripts"}
    for arguments, make in GRAPHS.values():
        extra = {SimArguments: {"expert": True}, RecordArguments: {"teleop": "joy"}}.get(arguments, {})
        assert {spec.executable for spec in make(**extra, page=True)} <= scripts


def test_lifecycle_nodes_wait_for_bringup_which_stops_first():
    acting = ["cartesian_controller", "policy_server"]
    for nodes, expected in ((sim_nodes(expert=True), acting), (workcell_nodes(), acting), (record_nodes(), acting[:1])):
        waiting = [node.label for node in nodes if node.parameters.get("autostart") is False]
        assert waiting == nodes[-1].parameters["nodes"] == expected
        assert nodes[-1].label == "bringup"

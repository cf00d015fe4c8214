"""The node lists: what they contain, and that every parameter they set is one that the node declares."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from rcl_interfaces.srv import ListParameters

from am_ros.environment import share_directory
from am_ros.errors import AmRosError
from am_ros.graph import GRAPHS, NodeSpec, SimArguments, arguments_from_text, sim_nodes, workcell_nodes
from am_ros.supervisor import Supervisor


@pytest.fixture
def image_folder(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    image = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / "0.png"), image)
    return folder


@pytest.mark.parametrize("cell", GRAPHS)
def test_nodes_declare_every_parameter_that_is_set(ros, ros_env, cell, image_folder, tmp_path):
    arguments = {"goals": str(tmp_path / "goals"), "bags": str(tmp_path / "bags"), "namespace": "cell"}
    if cell == "sim":
        specs = sim_nodes(**arguments, expert=True)
    else:
        specs = workcell_nodes(**arguments, camera=str(image_folder))
    with Supervisor(specs, tmp_path / "log", ros_env) as supervisor:
        for spec in specs:
            reply = ros.call(ListParameters, f"/cell/{spec.label}/list_parameters", timeout_s=40.0)
            supervisor.check()
            unknown = parameters_of(spec) - set(reply.result.names)
            assert not unknown, f"{spec.label} does not know {unknown}"


def parameters_of(spec: NodeSpec) -> set[str]:
    names = set(spec.parameters)
    for file in spec.parameter_files:
        names |= set(yaml.safe_load(file.read_text()).get(f"/**/{spec.label}", {}).get("ros__parameters", {}))
    return names


def test_parameter_files_name_nodes_that_exist():
    nodes = {f"/**/{spec.label}" for make in (sim_nodes, workcell_nodes) for spec in make()}
    files = sorted((share_directory() / "config").glob("*.yaml"))
    assert len(files) >= 4
    for file in files:
        assert set(yaml.safe_load(file.read_text())) <= nodes, file


def test_stacks_differ_in_topics_and_names_only():
    lbr, kuka = workcell_nodes(stack="lbr_fri"), workcell_nodes(stack="kuka_drivers")
    assert [spec.executable for spec in lbr] == [spec.executable for spec in kuka]
    assert [spec.parameters for spec in lbr] == [spec.parameters for spec in kuka]
    assert lbr[0].remappings["joint_states"] == "/lbr/joint_states"
    assert kuka[0].remappings["joint_trajectory"] == "/joint_trajectory_controller/joint_trajectory"


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
    with pytest.raises(AmRosError, match="parameter robot_model: 'ur5' is not one of iiwa14, iiwa7"):
        sim_nodes(robot_model="ur5")
    assert arguments_from_text(SimArguments, {"expert": "True", "samples": "8"}) == {"expert": True, "samples": 8}
    with pytest.raises(AmRosError, match="argument expert: 'perhaps' is not true or false"):
        arguments_from_text(SimArguments, {"expert": "perhaps"})


def test_launch_files_say_what_is_missing_without_ros_from_apt():
    from am_ros.launching import _actions, describe

    try:
        import launch_ros  # noqa: F401
    except ImportError:
        with pytest.raises(AmRosError, match="launch is not installed: source ROS 2, or use `am-ros up sim`"):
            describe("sim")
    else:
        assert describe("sim").get_launch_arguments()
        assert len(_actions(sim_nodes())) == len(sim_nodes())


def test_lifecycle_nodes_wait_for_bringup_which_stops_first():
    for nodes in (sim_nodes(expert=True), workcell_nodes()):
        waiting = [node.label for node in nodes if node.parameters.get("autostart") is False]
        assert waiting == nodes[-1].parameters["nodes"] == ["cartesian_controller", "policy_server"]
        assert nodes[-1].label == "bringup"

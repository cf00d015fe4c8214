"""`am-ros check` against cells of real nodes: a healthy one, the same one broken, and none at all."""

import json
import time

import cv2
import pytest
from am_msgs.msg import ControllerStatus
from conftest import wait_until
from preflight_cells import urdf
from sensor_msgs.msg import JointState
from std_msgs.msg import Header, String
from test_images import picture
from test_trainer_node import write_bags
from trajectory_msgs.msg import JointTrajectory

from am_ros.cell.graph import sim_nodes
from am_ros.cell.security_policy import OPERATOR, policy_file, read_policy
from am_ros.cell.supervisor import Supervisor
from am_ros.cli import main
from am_ros.ros.introspection.survey import survey
from am_ros.ros.node.common import LATCHED_QOS, RELIABLE_QOS


@pytest.fixture
def check(ros_env, tmp_path):
    """A function that runs `am-ros check`; returns its exit code and the findings that are not ok, by name.

    With the patience that a simulated cell needs on a machine with other tests on it.
    """
    patient = tmp_path / "patient.yaml"
    patient.write_text(
        "/**/check: {ros__parameters: {joint_state_rate_hz: 10.0, image_rate_hz: 2.0}}\n"
        "/**/cartesian_controller: {ros__parameters: {joint_state_timeout_s: 5.0}}\n"
        "/**/policy_server: {ros__parameters: {image_timeout_s: 10.0}}\n"
    )

    def run(*words, cell="sim", seconds=1.0, wait=10.0):
        out = tmp_path / "found.json"
        settings = [f"goals:={tmp_path / 'goals'}", f"bags:={tmp_path / 'bags'}", f"params_file:={patient}"]
        flags = ["--json", str(out), "--seconds", str(seconds), "--wait", str(wait)]
        code = main(["check", *flags, *filter(None, [cell]), *settings, *words])
        findings = json.loads(out.read_text())["findings"]
        return code, {f["name"]: f"{f['level']} {f['seen']}" for f in findings if f["level"] != "ok"}

    return run


def test_a_running_cell_is_well_and_moves_nothing_and_the_policy_allows_all_that_it_does(
    ros, ros_env, check, tmp_path
):
    arguments = {"goals": str(tmp_path / "goals"), "bags": str(tmp_path / "bags")}
    specs = sim_nodes(**arguments, policy="pick_place", description="false")  # one of another arm is published below
    with Supervisor(specs, tmp_path / "log", ros_env) as cell:
        cell.wait_until_up()
        commands = ros.receive(JointTrajectory, "joint_trajectory", RELIABLE_QOS)
        code, faults = check("policy:=pick_place")
        assert code == 0, faults
        code, faults = check("policy:=pick_place", "image_size:=96")
        assert code == 1 and faults["image_wrong_size"].startswith("wrong /image_raw: image of 64x64 px, but 96x96")

        policy = read_policy(policy_file())
        assert survey(ros.node, "test_client").beyond(policy[OPERATOR]) == []
        publisher = ros.node.create_publisher(JointTrajectory, "joint_trajectory", RELIABLE_QOS)
        description = ros.node.create_publisher(String, "robot_description", LATCHED_QOS)
        description.publish(String(data=urdf(lower=-1.0)))
        code, faults = check("policy:=pick_place")
        assert code == 1 and faults["second_publisher"].startswith("wrong /test_client publishes /joint_trajectory")
        assert "joint_a1 -1.00 ... 2.96 rad, ours -2.97 ... 2.97" in faults["joint_limits"]
        ros.node.destroy_publisher(publisher)
        ros.node.destroy_publisher(description)

        for spec in specs:
            assert survey(ros.node, spec.label).beyond(policy[spec.executable]) == [], spec.label
        assert not commands
        status = ros.wait_for_message(ControllerStatus, "controller_status", qos=LATCHED_QOS)
        assert status.steps_done == status.steps_refused == 0


def test_a_second_publisher_of_joint_states_is_named_with_both_nodes(ros, ros_env, check, tmp_path):
    """A forgotten joint_state_publisher_gui beside the arm's driver."""
    arguments = {"goals": str(tmp_path / "goals"), "bags": str(tmp_path / "bags")}
    specs = [spec for spec in sim_nodes(**arguments, policy="") if spec.label == "sim_workcell"]
    with Supervisor(specs, tmp_path / "log", ros_env) as cell:
        cell.wait_until_up()
        code, faults = check()
        assert "joint_states_twice" not in faults
        ghost = ros.node.create_publisher(JointState, "joint_states", 10)
        names = [f"joint_a{i}" for i in range(1, 8)]

        def speak():
            header = Header(stamp=ros.node.get_clock().now().to_msg())
            ghost.publish(JointState(header=header, name=names, position=[0.0] * 7))

        timer = ros.node.create_timer(0.02, speak)
        code, faults = check()
        ros.node.destroy_timer(timer)
        sentence = faults["joint_states_twice"]
        assert code == 1 and sentence.startswith("wrong two sources of /joint_states contradict each other")
        assert "/sim_workcell and /test_client publish it" in sentence


def test_a_cell_without_camera_and_arm_is_named_as_such(check):
    code, faults = check(wait=0.0, seconds=0.3)
    assert code == 1
    for name in ("image_missing", "joint_states_missing", "trajectory_unheard", "gripper_unheard"):
        assert faults[name].startswith("wrong no node ")


@pytest.mark.slow
def test_the_policy_allows_what_the_nodes_beside_a_cell_do(ros, start_node, tmp_path):
    pictures, bags = tmp_path / "pictures", tmp_path / "bags"
    pictures.mkdir()
    cv2.imwrite(str(pictures / "0.png"), picture())
    (bag,) = write_bags(bags, [0])
    nodes = {
        "camera": {"source": str(pictures)},
        "trainer": {"out": str(tmp_path / "out"), "bags": str(bags), "min_episodes": 1000},
        "image_relay": {},
        "scripted_expert": {},
        "teleop": {"source": "joy"},
        "bag_player": {"bags": [str(bag)], "subscribers": 100},
    }
    policy = read_policy(policy_file())
    for name, parameters in nodes.items():
        start_node(name, **parameters)
    for name in nodes:
        wait_until(lambda name=name: name in ros.node.get_node_names(), 60, f"the node {name}")
    time.sleep(2.0)  # for the last of their topics
    for name in nodes:
        assert survey(ros.node, name).beyond(policy[name]) == [], name
        assert survey(ros.node, name).replies


@pytest.mark.slow
def test_a_camera_that_does_not_run_yet_is_started_for_the_time_of_the_check(ros, check, tmp_path, capsys):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    cv2.imwrite(str(pictures / "0.png"), picture(96, 128))
    code, faults = check("--wait=1", "workcell", "stack:=lbr_fri", f"camera:={pictures}", cell="")
    assert code == 1 and "the camera node runs for the time of this check" in capsys.readouterr().out
    assert set(faults) == {"joint_states_missing", "trajectory_unheard", "gripper_unheard", "checkpoint"}
    assert faults["joint_states_missing"] == "wrong no node publishes /lbr/joint_states"
    wait_until(lambda: not ros.node.count_publishers("image_raw"), 60, "the end of the camera node")
    code, faults = check("--wait=1", "workcell", "stack:=lbr_fri", "camera:=/nowhere.png", cell="")
    assert code == 1 and "the camera node does not start: camera ended with exit code 2" in faults["camera"]

"""`am-ros up` and the supervisor under it, with real nodes: who dies is named, and nothing stays behind."""

import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest
from am_msgs.action import MoveCartesian
from am_msgs.msg import CartesianAction
from am_msgs.srv import ListGoals
from conftest import wait_until
from geometry_msgs.msg import Vector3

from am_ros import pretrained
from am_ros.cell.environment import child_environment
from am_ros.cell.graph import NodeSpec, sim_nodes
from am_ros.cell.supervisor import NodeDied, Supervisor
from am_ros.errors import AmRosError


@pytest.fixture
def up_sim(ros_env, tmp_path):
    """Starts `am-ros up sim` as a user does; returns its process and those of its nodes."""
    started = []

    def start(*settings):
        command = [sys.executable, "-m", "am_ros.cli", "up", "--log-dir", str(tmp_path / "log"), "sim"]
        command += [f"goals:={tmp_path}/goals", f"bags:={tmp_path}/bags", *settings]
        env = child_environment(ros_env)
        with open(tmp_path / "output", "w") as output:
            process = subprocess.Popen(command, env=env, stdout=output, stderr=subprocess.PIPE, text=True)
        started.append(process)
        nodes = {}  # gathered over several looks: the command line of a process that is just starting is empty
        wait_until(lambda: nodes.update(nodes_of(process)) or len(nodes) == 6, 60, "the start of six nodes")
        return process, nodes

    yield start
    for process in started:
        process.kill()
        process.communicate()


def nodes_of(process):
    """The nodes among the children of a process, by the name of their module."""
    children = [(child.cmdline(), child) for child in psutil.Process(process.pid).children()]
    return {line[2].rpartition(".")[2]: child for line, child in children if "--ros-args" in line}


def gone(nodes):
    return not any(node.is_running() and node.status() != psutil.STATUS_ZOMBIE for node in nodes.values())


def wait_until_up(tmp_path):
    wait_until(lambda: "\nup: 2 nodes active\n" in (tmp_path / "output").read_text(), 150, "a cell that is up")


def said(process, tmp_path):
    """Wait for the end of `am-ros up`; what it wrote to stdout and stderr."""
    _, errors = process.communicate(timeout=120)
    return (tmp_path / "output").read_text(), errors


def transitions(output):
    """What bringup says that it has done, in order."""
    return [line.partition("[bringup]: ")[2] for line in output.splitlines() if line.startswith("[bringup] [INFO] ")]


def test_a_killed_controller_is_named_and_the_policy_is_deactivated(up_sim, tmp_path):
    process, nodes = up_sim()
    assert set(nodes) == {spec.executable for spec in sim_nodes()}
    wait_until_up(tmp_path)

    nodes["cartesian_controller"].send_signal(signal.SIGKILL)
    output, errors = said(process, tmp_path)

    assert process.returncode == 1
    assert errors.startswith("am-ros up: cartesian_controller ended with signal SIGKILL: ")
    assert errors.strip().endswith("the other nodes were stopped")
    assert "policy_server: deactivated" in transitions(output)
    assert "Traceback" not in output
    assert gone(nodes)


def test_a_cell_comes_up_in_order_and_ctrl_c_takes_it_down_in_reverse(up_sim, tmp_path):
    process, nodes = up_sim()
    wait_until_up(tmp_path)
    process.send_signal(signal.SIGINT)
    output, errors = said(process, tmp_path)
    assert process.returncode == 0, errors
    assert "\nstopping\n" in output
    assert transitions(output) == [
        "cartesian_controller: configured",
        "policy_server: configured",
        "cartesian_controller: active",
        "policy_server: active",
        "up: 2 nodes active",
        "policy_server: deactivated",
        "cartesian_controller: deactivated",
        "policy_server: cleaned up",
        "cartesian_controller: cleaned up",
    ]
    assert gone(nodes)


@pytest.mark.slow  # of bringup alone: test_bringup.py
def test_a_second_cell_in_the_domain_is_refused_before_anything_starts_and_the_first_goes_on(ros, up_sim, tmp_path):
    patient = tmp_path / "patient.yaml"  # the simulator of a machine that has too much to do may pause for a while
    patient.write_text("/**/cartesian_controller: {ros__parameters: {joint_state_timeout_s: 5.0, no_motion_s: 5.0}}\n")
    process, nodes = up_sim(f"params_file:={patient}")
    wait_until_up(tmp_path)
    command = [sys.executable, "-m", "am_ros.cli", "up", "--log-dir", str(tmp_path / "second"), "sim"]
    began_s = time.monotonic()
    second = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert second.returncode == 2 and time.monotonic() - began_s < 30
    (sentence,) = second.stderr.strip().splitlines()
    assert sentence.startswith("am-ros: node_twice: /bringup, /cartesian_controller, /episode_logger, /goal_regist")
    assert not (tmp_path / "second").exists()  # not even a log

    # Somebody starts a node of that name past `am-ros up`: the arm that is well is not taken down for it.
    twin = subprocess.Popen(
        [sys.executable, "-m", "am_ros.nodes.cartesian_controller", "--ros-args", "-p", "autostart:=false"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: "node_twice: a second cartesian_controller" in (tmp_path / "output").read_text(), 60, "it")
    finally:
        twin.kill()
        twin.wait()
    action = CartesianAction(translation=Vector3(z=0.02))
    moved = ros.send_goal(MoveCartesian, "cartesian_controller/move_cartesian", 20.0, action=action).result(30)
    assert moved.end == MoveCartesian.Result.DONE and process.poll() is None
    assert set(nodes_of(process)) == set(nodes)


@pytest.mark.slow  # of bringup alone: test_bringup.py
def test_a_checkpoint_that_cannot_be_read_is_named_and_nothing_is_activated(up_sim, tmp_path):
    shutil.copytree(pretrained.FOLDER / "pick_place", tmp_path / "damaged")
    (tmp_path / "damaged" / "checkpoint.json").write_text("{")
    process, nodes = up_sim(f"policy:={tmp_path}/damaged")
    output, errors = said(process, tmp_path)
    assert process.returncode == 2
    assert "bringup: transition_failed: policy_server could not configure: " in errors
    assert f"{tmp_path}/damaged/checkpoint.json: cannot be read" in errors  # in the words of the node
    assert transitions(output) == ["cartesian_controller: configured", "cartesian_controller: cleaned up"]
    assert gone(nodes)


def test_nodes_do_not_outlive_a_killed_supervisor(up_sim):
    process, nodes = up_sim()
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=120)
    wait_until(lambda: gone(nodes), 5.0, "the end of all nodes")


def test_a_node_refusing_a_parameter_ends_the_cell_with_its_sentence(ros_env, tmp_path):
    settings = ["up", "sim", "real_time_factor:=1000"]
    for bad, sentence in (
        (settings, "am-ros: parameter real_time_factor: 1000.0 is outside 0.1 ... 10.0\n"),
        (["up", "sim", "colour:=red"], "am-ros: argument colour: unknown; there are "),
        (["up", "sim", "samples:=many"], "am-ros: argument samples: 'many' is not a whole number\n"),
        (["up", "sim", "sim"], "am-ros: argument 'sim': expected key:=value\n"),
        (["up", "sim", "params_file:=/no/such.yaml"], "am-ros: parameter file /no/such.yaml: not found\n"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "am_ros.cli", *bad], env=child_environment(ros_env), capture_output=True, text=True
        )
        assert done.returncode == 2
        assert done.stderr.startswith(sentence)
        assert done.stderr.count("\n") == 1

    folder = tmp_path / "file"
    folder.write_text("where a folder is wanted")
    registry = NodeSpec("goal_registry", parameters={"folder": str(folder)})
    with Supervisor([registry], tmp_path / "log", ros_env) as cell:
        process = cell.processes["goal_registry"]
        assert process.wait() == 2
        with pytest.raises(NodeDied, match=r"goal_registry ended with exit code 2: goal_registry: .*file"):
            cell.check()


def test_a_stopped_cell_has_closed_its_nodes_in_order(ros, ros_env, tmp_path):
    specs = [NodeSpec("goal_registry", name, parameters={"folder": str(tmp_path / name)}) for name in ("a", "b")]
    with Supervisor(specs, tmp_path / "log", ros_env) as cell:
        for name in ("a", "b"):
            assert ros.call(ListGoals, f"{name}/list", timeout_s=20.0).goals == []
        cell.check()
        processes = list(cell.processes.values())
        begin = time.monotonic()
    assert [process.returncode for process in processes] == [0, 0]
    assert time.monotonic() - begin < 5.0
    assert "ready" in (tmp_path / "log" / "a.log").read_text()


def test_an_optional_node_may_end(ros_env, tmp_path, capsys):
    player = NodeSpec("bag_player", parameters={"bags": [str(tmp_path / "none")]}, required=False)
    with Supervisor([player], tmp_path / "log", ros_env) as cell:
        assert cell.processes["bag_player"].wait() == 2
        cell.check()
        cell.check()
    assert capsys.readouterr().out.count("bag_player ended with exit code 2: ") == 1


def test_names_must_be_unique(tmp_path):
    with pytest.raises(AmRosError, match="node camera: listed twice"):
        Supervisor([NodeSpec("camera"), NodeSpec("camera")], tmp_path)


def test_a_node_that_ignores_signals_is_killed(ros_env, tmp_path, monkeypatch):
    from am_ros.cell import processes

    short = ((signal.SIGINT, 0.5), (signal.SIGTERM, 0.5), (signal.SIGKILL, 5.0))
    monkeypatch.setattr(processes, "STOP_TIMEOUTS_S", short)
    registry = NodeSpec("goal_registry", parameters={"folder": str(tmp_path / "goals")})
    with Supervisor([registry], tmp_path / "log", ros_env) as cell:
        process = cell.processes["goal_registry"]
        process.wait_for_line("ready")
        os.kill(process.pid, signal.SIGSTOP)  # it handles no signal any more
    assert process.returncode == -signal.SIGKILL


def test_a_list_without_bringup_is_up_as_it_is(ros, ros_env, tmp_path):
    registry = NodeSpec("goal_registry", parameters={"folder": str(tmp_path / "goals")})
    with Supervisor([registry], tmp_path / "log", ros_env) as cell:
        assert cell.wait_until_up() == ""
        assert ros.call(ListGoals, "goal_registry/list", timeout_s=20.0).goals == []
        cell.check()

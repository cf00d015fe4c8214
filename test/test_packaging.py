"""The package as pip and colcon install it: entry points, shared files, pinned requirements."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from importlib import metadata
from pathlib import Path

import pytest
from am_msgs.srv import ListGoals
from ament_index_python.packages import get_package_share_directory

import am_ros
from am_ros.cell.environment import child_environment, ros_environment, share_directory
from am_ros.cell.processes import die_with_parent

ROOT = Path(__file__).parents[1]
PREFIX = Path(sys.prefix)


def test_every_node_is_an_executable_and_a_module():
    scripts = {e.name: e.value for e in metadata.distribution("am_ros").entry_points if e.group == "console_scripts"}
    assert scripts.pop("am-ros") == "am_ros.cli:main"
    nodes = {p.stem for p in (ROOT / "am_ros" / "nodes").glob("*.py") if "def main(" in p.read_text()}
    assert {name: f"am_ros.nodes.{name}:main" for name in nodes} == scripts
    for name in (*scripts, "am-ros"):
        assert os.access(PREFIX / "bin" / name, os.X_OK)


def test_versions_agree():
    package = ElementTree.parse(ROOT / "package.xml").findtext("version")
    interfaces = ElementTree.parse(ROOT / "msg" / "package.xml").findtext("version")
    assert am_ros.__version__ == package == interfaces == metadata.version("am_ros")


def test_ament_index_knows_both_packages():
    share = Path(get_package_share_directory("am_ros"))
    for name in ("package.xml", "config/fastdds.xml", "launch/sim.launch.py", "urdf/workcell.urdf.xacro"):
        assert (share / name).is_file()
    assert (Path(get_package_share_directory("am_msgs")) / "action" / "ReachGoal.action").is_file()


def test_every_requirement_is_pinned():
    pins = {re.split(r"==", line)[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    normal = {re.sub(r"[-_.]+", "-", name).lower() for name in pins}
    required = {re.match(r"[A-Za-z0-9._-]+", text)[0] for text in metadata.requires("am_ros")}
    assert {re.sub(r"[-_.]+", "-", name).lower() for name in required} <= normal


def test_a_process_without_any_setting_finds_interfaces_and_transport():
    bare = {"PATH": os.environ["PATH"], "_ROS_WHEELS_BOOTSTRAP_COMPLETE": "1"}
    env = ros_environment(bare)
    assert str(PREFIX) in env["AMENT_PREFIX_PATH"].split(os.pathsep)
    assert Path(env["FASTRTPS_DEFAULT_PROFILES_FILE"]) == share_directory() / "config" / "fastdds.xml"
    assert env["ROS_LOG_DIR"]  # there is no HOME
    kept = ros_environment({**bare, "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET", "HOME": "/root"})
    assert kept["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "SUBNET"
    assert "ROS_LOG_DIR" not in kept

    code = (
        "from am_ros.ros.introspection.client import RosClient; from am_msgs.msg import Step; "
        "RosClient().close(); print(Step())"
    )
    done = subprocess.run([sys.executable, "-c", code], env=child_environment(bare), capture_output=True, text=True)
    assert done.stdout.startswith("am_msgs.msg.Step("), done.stderr


def test_a_process_whose_parent_is_gone_does_not_start():
    code = f"from am_ros.cell.processes import die_with_parent; die_with_parent({os.getpid()}); print('on')"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "on\n"
    orphan = subprocess.run([sys.executable, "-c", code.replace(str(os.getpid()), "1")], capture_output=True)
    assert (orphan.returncode, orphan.stdout) == (1, b"")
    assert callable(die_with_parent)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_colcon_builds_both_packages_and_a_node_starts_from_them(ros, ros_env, tmp_path):
    workspace = tmp_path / "workspace"
    subprocess.run(["git", "clone", "-q", ROOT, workspace / "src" / "am_ros"], check=True)
    prefix = {"AMENT_PREFIX_PATH": sys.prefix, "CMAKE_PREFIX_PATH": sys.prefix}
    env = child_environment(ros_env, PATH=f"{PREFIX}/bin:{os.environ['PATH']}", **prefix)
    env.pop("PYTHONPATH", None)
    command = ["colcon", "build", "--base-paths", "src/am_ros", "src/am_ros/msg", "--cmake-args", "-GNinja"]
    command += [f"-DPython3_EXECUTABLE={sys.executable}", "-DAM_MSGS_UNITY_BUILD=ON"]
    built = subprocess.run(command, cwd=workspace, env=env, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr

    install = workspace / "install" / "am_ros"
    assert {p.name for p in (install / "lib" / "am_ros").iterdir()} >= {"am-ros", "policy_server", "sim_workcell"}
    assert {p.name for p in (install / "share" / "am_ros").iterdir()} >= {"config", "launch", "urdf", "package.xml"}

    def sourced(line):
        return ["bash", "-c", f"source install/setup.bash && {line}"]

    where = sourced("python -c 'from am_ros.cell.environment import share_directory as f; print(f())'")
    assert subprocess.run(where, cwd=workspace, env=env, capture_output=True, text=True).stdout == (
        f"{install}/share/am_ros\n"
    )
    node = sourced(f"exec install/am_ros/lib/am_ros/goal_registry --ros-args -p folder:={tmp_path}/goals")
    process = subprocess.Popen(node, cwd=workspace, env=env)
    try:
        assert ros.call(ListGoals, "goal_registry/list", timeout_s=30.0).goals == []
    finally:
        process.terminate()
        assert process.wait(60) == 0

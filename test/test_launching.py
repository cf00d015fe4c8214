"""`ros2 launch` in a set-up from wheels, and arguments that nobody reads: launch takes any key without a word."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from ament_index_python.packages import get_package_share_directory

from am_ros import cli
from am_ros.cell.arguments import arguments_from_text
from am_ros.cell.environment import child_environment
from am_ros.cell.graph import GRAPHS
from am_ros.cell.launching import _typed
from am_ros.errors import AmRosError


def test_launch_files_and_executables_lie_where_launch_looks_for_them():
    share = Path(get_package_share_directory("am_ros"))
    found = {file for _, _, files in os.walk(share) for file in files}  # as ros2launch: into no folder that is a link
    assert {f"{cell}.launch.py" for cell in GRAPHS} <= found
    scripts = {e.name for e in metadata.distribution("am_ros").entry_points if e.group == "console_scripts"}
    missing = {name for name in scripts if not os.access(share.parents[1] / "lib" / "am_ros" / name, os.X_OK)}
    assert not missing


@pytest.mark.parametrize("cell", GRAPHS)
@pytest.mark.parametrize("folder", ["", "/opt/ros/share/am_ros/launch/"])
def test_a_mistyped_argument_is_named_under_launch_and_up(monkeypatch, capsys, cell, folder):
    argument = "params_fil" if cell in ("sim", "train") else "stak"
    meant = {"params_fil": "params_file", "stak": "stack"}[argument]
    argv = [f"{argument}:=sim", "namespace:=left"]
    monkeypatch.setattr(sys, "argv", ["ros2", "launch", "am_ros", f"{folder}{cell}.launch.py", *argv])
    typed = _typed(cell, argv)
    with pytest.raises(AmRosError, match=f"^argument {argument}: unknown; is {meant} meant\\?"):
        arguments_from_text(GRAPHS[cell][0], typed)
    for command in (["up", cell], ["check", cell]):
        assert cli.main([*command, f"{argument}:=sim"]) == 2
        assert f"am-ros: argument {argument}: unknown; is {meant} meant?" in capsys.readouterr().err


def test_a_launch_file_that_includes_ours_may_have_arguments_of_its_own(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ros2", "launch", "my_lab", "everything.launch.py", "lamp:=on"])
    assert _typed("workcell", ["lamp:=on"]) == {}


def test_launch_itself_refuses_what_it_would_not_read(ros_env):
    pytest.importorskip("ros2launch")
    command = ["ros2", "launch", "am_ros", "workcell.launch.py", "stak:=sim"]
    done = subprocess.run(command, env=child_environment(ros_env), capture_output=True, text=True, timeout=240)
    assert done.returncode != 0 and "argument stak: unknown; is stack meant?" in done.stdout + done.stderr

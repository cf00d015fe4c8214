"""The launch file of the simulated cell under launch_testing (launch_cell.py), wherever ROS 2's launch is installed.

    sudo apt install ros-jazzy-launch-testing

The wheels do not have it. Its own plugin for pytest does not go with every pytest, so its command is run.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from am_ros.cell.environment import child_environment

CELL = Path(__file__).with_name("launch_cell.py")


@pytest.mark.timeout(300)
def test_a_launched_cell_comes_up_records_a_goal_and_leaves_nothing(ros_env):
    pytest.importorskip("launch_testing")
    pytest.importorskip("launch_ros")
    command = [sys.executable, "-m", "launch_testing.launch_test", str(CELL)]
    done = subprocess.run(command, env=child_environment(ros_env), capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

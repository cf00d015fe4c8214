"""For launch_testing, run by test_launch.py: the cell comes up, a goal is recorded, and its end leaves nothing."""

import os
import tempfile
import unittest
from pathlib import Path

import psutil
from am_msgs.srv import ListGoals, RecordGoal
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_testing import post_shutdown_test
from launch_testing.actions import ReadyToTest
from launch_testing.asserts import assertExitCodes

from am_ros.cell.environment import share_directory
from am_ros.cell.graph import sim_nodes
from am_ros.faults.domain import claim_domain
from am_ros.ros.introspection.client import RosClient

NODES = {spec.label for spec in sim_nodes()}


def generate_test_description():
    """The cell in a domain and in folders of its own."""
    domain, lock = claim_domain()
    os.environ |= {"ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    folder = tempfile.mkdtemp(prefix="am_ros_launch_")
    cell = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(share_directory() / "launch" / "sim.launch.py")),
        launch_arguments={"goals": f"{folder}/goals", "bags": f"{folder}/bags", "variety": "0.0"}.items(),
    )
    return LaunchDescription([cell, ReadyToTest()]), {"folder": Path(folder), "lock": lock}


class TestCell(unittest.TestCase):
    """While it runs."""

    def test_it_comes_up_and_records_a_goal_by_service_call(self, proc_output, folder):
        proc_output.assertWaitFor("up: ", timeout=120, stream="stderr")
        with RosClient("operator") as client:
            recorded = client.call(RecordGoal, "goal_registry/record", goal_id="cup", timeout_s=60)
            assert recorded.success, recorded.message
            assert [goal.goal_id for goal in client.call(ListGoals, "goal_registry/list").goals] == ["cup"]
        assert (folder / "goals" / "cup.png").is_file()


@post_shutdown_test()
class TestEnd(unittest.TestCase):
    """After launch has stopped it as Ctrl-C does."""

    def test_every_node_ended_by_itself_and_nothing_is_left(self, proc_info):
        assertExitCodes(proc_info)
        names = {name for name in proc_info.process_names() if "am_ros" in name or any(n in name for n in NODES)}
        assert len(names) >= len(NODES), names
        left = [process for process in psutil.process_iter(["cmdline"]) if _of_the_cell(process)]
        assert not left, left


def _of_the_cell(process: psutil.Process) -> bool:
    words = process.info["cmdline"] or []
    return any("am_ros_launch_" in word for word in words)

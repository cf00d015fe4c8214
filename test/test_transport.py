"""The Fast DDS profile: whole images between processes, and more processes than Fast DDS looks for by default."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from am_msgs.srv import ListGoals
from conftest import wait_until
from sensor_msgs.msg import Image

from am_ros.cell.environment import child_environment
from am_ros.cell.shared_memory import MIN_AGE_S, SHARED_MEMORY, remove_stale_segments
from am_ros.ros.introspection.client import RosClient
from am_ros.ros.node.common import IMAGES_QOS, to_ns

TALKER = Path(__file__).with_name("image_talker.py")


@pytest.mark.needs_quiet(0.2)  # a segment holds nine images, which is 0.3 s
def test_no_camera_image_is_lost_between_two_processes(ros, ros_env):
    received = ros.receive(Image, "image_raw", IMAGES_QOS)
    command = [sys.executable, str(TALKER), "150", "30"]
    subprocess.run(command, env=child_environment(ros_env), check=True, timeout=240)

    assert [to_ns(image.header.stamp) for image in received] == list(range(150))
    assert all(len(image.data) == 3 * 472 * 472 for image in received)
    assert set(received[149].data) == {149}


def test_segments_of_killed_processes_are_removed_and_no_others(ros, start_node, tmp_path):
    killed = start_node("goal_registry", name="killed", folder=str(tmp_path / "a"), ready="ready")
    alive = start_node("goal_registry", name="alive", folder=str(tmp_path / "b"), ready="ready")
    stale, used = segments_of(killed.pid), segments_of(alive.pid)
    assert stale
    assert used
    killed.signal(signal.SIGKILL)
    killed.wait()
    time.sleep(MIN_AGE_S)

    assert remove_stale_segments() >= len(stale)
    assert not any(path.exists() for path in stale)
    assert all(path.exists() for path in used)
    assert ros.call(ListGoals, "alive/list").goals == []


def segments_of(pid):
    """The segments that a process holds the lock of."""
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    inodes = {int(line[5].rpartition(":")[2]) for line in lines if line[4] == str(pid)}
    locks = [path for path in SHARED_MEMORY.glob("fastrtps_*_el") if path.stat().st_ino in inodes]
    return [path.with_name(path.name.removesuffix("_el")) for path in locks if "_port" not in path.name]


def test_a_dozen_participants_discover_each_other(ros_env):
    clients = [RosClient(f"node_{i}") for i in range(12)]
    try:
        everyone = {f"node_{i}" for i in range(12)}
        names = [client.node.get_node_names for client in clients]
        wait_until(lambda: all(everyone <= set(seen()) for seen in names), 60, "that everyone sees everyone")
    finally:
        for client in clients:
            client.close()

"""The Fast DDS profile: whole images between processes, and more processes than Fast DDS looks for by default."""

import subprocess
import sys
from pathlib import Path

from conftest import wait_until
from sensor_msgs.msg import Image

from am_ros.environment import child_environment
from am_ros.nodes.client import RosClient
from am_ros.nodes.common import to_ns

TALKER = Path(__file__).with_name("image_talker.py")


def test_no_camera_image_is_lost_between_two_processes(ros, ros_env):
    received = ros.receive(Image, "image_raw")
    command = [sys.executable, str(TALKER), "150", "30"]
    subprocess.run(command, env=child_environment(ros_env), check=True, timeout=60)

    assert [to_ns(image.header.stamp) for image in received] == list(range(150))
    assert all(len(image.data) == 3 * 472 * 472 for image in received)
    assert set(received[149].data) == {149}


def test_a_dozen_participants_discover_each_other(ros_env):
    clients = [RosClient(f"node_{i}") for i in range(12)]
    try:
        everyone = {f"node_{i}" for i in range(12)}
        for client in clients:
            wait_until(lambda: everyone <= set(client.node.get_node_names()), 20.0, f"{client.node.get_name()} sees all")
    finally:
        for client in clients:
            client.close()

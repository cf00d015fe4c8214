"""What an actor sees: image and pose of one moment, however they arrive."""

import math
import time
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import wait_until
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import Image, JointState

from am_ros import images, topics
from am_ros.camera.watchdog import ImageWatchConfig
from am_ros.errors import AmRosError
from am_ros.ros.commanding.episode_runner import EpisodeRunner
from am_ros.ros.introspection.client import RosClient
from am_ros.ros.messages.acting import ActingConfig
from am_ros.ros.node.common import RELIABLE_QOS, SENSOR_QOS, from_ns, to_ns


class Cell:
    """What a cell publishes, one message at a time."""

    def __init__(self, node):
        self.node = node
        self._image = node.create_publisher(Image, topics.IMAGE, SENSOR_QOS)
        self._pose = node.create_publisher(PoseStamped, topics.EE_POSE, RELIABLE_QOS)
        self._joints = node.create_publisher(JointState, topics.JOINT_STATES, SENSOR_QOS)

    def now(self):
        return self.node.get_clock().now().nanoseconds

    def image(self):
        msg = Image()
        images.fill_image(msg, np.random.default_rng(self.now()).integers(0, 256, (8, 8, 3), dtype=np.uint8))
        msg.header.stamp = from_ns(self.now())
        self._image.publish(msg)

    def pose(self, x, stamp_ns):
        msg = PoseStamped()
        msg.pose.position.x, msg.header.stamp = x, from_ns(stamp_ns)
        self._pose.publish(msg)

    def joints(self):
        self._joints.publish(JointState(name=list(ActingConfig.finger_names), position=[0.045, 0.045]))


@pytest.fixture
def runner(ros):
    config = ActingConfig(images=ImageWatchConfig(image_timeout_s=0.5))
    with RosClient("actor") as client:
        runner = EpisodeRunner(client.node, config)
        runner._commander = SimpleNamespace(fault=lambda now_s: None, overdue_s=math.inf)
        yield runner


def test_the_gripper_is_heard_among_the_joint_states_of_a_fast_arm(ros, runner):
    """Arm and gripper publish by one topic; who reads now and then must not miss the rarer one."""
    cell = Cell(ros.node)
    wait_until(cell._joints.get_subscription_count)
    arm = JointState(name=["joint_a1"], position=[0.0])

    def heard():
        cell.joints()
        for _ in range(60):
            cell._joints.publish(arm)
        time.sleep(0.3)  # all have come before anybody looks
        runner._newest(0)
        return runner._opening is not None

    wait_until(heard, what="the gripper's joint state")


def test_a_pose_of_before_is_not_paired_with_an_image_of_after(ros, runner):
    cell = Cell(ros.node)
    wait_until(lambda: all(p.get_subscription_count() for p in (cell._image, cell._pose, cell._joints)))
    before = cell.now()
    pose = [0.1, before]  # what is published over and over: the first of a topic may come before its reader is ready
    for what in (cell.image, cell.joints, lambda: cell.pose(*pose)):
        ros.node.create_timer(0.05, what)
    with runner._watching(None):
        wait_until(lambda: runner._newest(0) is not None)
        with pytest.raises(AmRosError, match="pose_stale: topic ee_pose: no pose is stamped later than the motion"):
            runner._observe(before)
        pose[:] = 0.2, before + 1
        seen = runner._observe(before)
        assert seen.position_m == (0.2, 0.0, 0.0) and to_ns(seen.message.image_stamp) > before

"""Poses of other cells' robots: units, frames, offsets, and what was between two of them."""

import numpy as np
import pytest
from rosbags.typesys import Stores, get_typestore

from am_ros.ingest.mapping import PoseRole
from am_ros.ingest.poses import Sample, ToolPose, Track
from am_ros.ingest.sources import pose_source


def test_units_frames_and_offsets_are_those_of_the_mapping():
    store = get_typestore(Stores.ROS2_HUMBLE)
    point, rotation = store.types["geometry_msgs/msg/Point"], store.types["geometry_msgs/msg/Quaternion"]
    turned = PoseRole(topic="/p", unit="mm", base_offset=(1, 0, 0, 0, 0, np.pi / 2), tool_offset=(0, 0, 0.1, 0, 0, 0))
    down = rotation(x=1.0, y=0.0, z=0.0, w=0.0)
    message = store.types["geometry_msgs/msg/Pose"](position=point(x=300.0, y=0.0, z=400.0), orientation=down)
    [(stamp, pose, _)] = pose_source(turned, "geometry_msgs/msg/Pose").samples(message, 7)
    assert stamp == 7  # a type without a header has the time of its reception
    np.testing.assert_allclose(pose.position_m, [1.0, 0.3, 0.3], atol=1e-9)
    assert pose.yaw_rad == pytest.approx(np.pi / 2) and pose.tilt_rad == pytest.approx(0, abs=1e-6)
    message.orientation = rotation(x=0.0, y=0.0, z=0.0, w=0.0)  # a driver that has no pose yet
    source = pose_source(turned, "geometry_msgs/msg/Pose")
    assert source.samples(message, 8) == [] and source.missing() == "its quaternion is zero"


def test_poses_are_interpolated_the_short_way_round_and_not_across_gaps():
    track = Track(max_gap_s=0.1)
    for t, x, yaw in ((0, 0.0, 3.0), (100, 1.0, -3.0), (500, 2.0, -3.0)):
        track.add(Sample(t * 1_000_000, ToolPose(np.array([x, 0, 0]), yaw, 0.0)))
    pose = track.at(25_000_000)
    assert pose.position_m[0] == pytest.approx(0.25)
    assert pose.yaw_rad == pytest.approx(3.0 + 0.25 * (2 * np.pi - 6.0))
    assert track.at(300_000_000) is None and track.at(600_000_000) is None and track.at(-1) is None
    assert track.at(500_000_000).position_m[0] == 2.0 and not track.covers(500_000_001)

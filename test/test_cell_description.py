"""What RViz and Foxglove are told of a cell: the arm, where the camera stands; and what is drawn over its picture."""

import math
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header, String

from am_ros.cell.graph import sim_nodes, workcell_nodes
from am_ros.control.frames import fixed_pose, quaternion
from am_ros.control.robot import robot_description, with_joint_names
from am_ros.errors import AmRosError
from am_ros.nodes.sim_workcell import SimWorkcellConfig, camera_info, description
from am_ros.page.projection import Projection
from am_ros.page.source import Candidate, PursuitStep
from am_ros.page.views.overlay import overlay
from am_ros.ros.arm.description import DescriptionConfig, described, publish_static, state_publisher_command
from am_ros.ros.node.common import LATCHED_QOS
from am_ros.ros.page.eye import Eye

CAMERA = "camera_optical_frame"


def projection() -> Projection:
    """Of the simulated cell."""
    config = SimWorkcellConfig()
    info = camera_info(config)
    pose = fixed_pose(described(description(config)), CAMERA, "base_link")
    return Projection(np.reshape(info.k, (3, 3)), pose, info.width, info.height)


def test_the_simulated_cells_description_has_the_camera_where_the_simulator_has_it():
    camera = SimWorkcellConfig().sim.camera
    pose = fixed_pose(described(description(SimWorkcellConfig())), CAMERA, "base_link")
    assert np.allclose(pose[:3, 3], camera.camera_position_m, atol=1e-5)
    way = np.subtract(camera.camera_target_m, camera.camera_position_m)
    assert np.allclose(pose[:3, 2], way / np.linalg.norm(way), atol=1e-5)  # z looks at the target
    assert pose[2, 1] < -0.5 and abs(pose[2, 0]) < 1e-5  # y is down, x level


def test_frames_that_move_or_are_not_there_have_no_fixed_pose():
    urdf = robot_description()
    assert fixed_pose(urdf, "tcp", "base_link") is None and fixed_pose(urdf, "nothing", "base_link") is None
    assert np.allclose(fixed_pose(urdf, "base_link", "base_link"), np.eye(4))
    ring = '<robot name="r"><joint name="j" type="fixed"><parent link="b"/><child link="a"/></joint><joint name="k" type="fixed"><parent link="a"/><child link="b"/></joint></robot>'  # noqa: E501
    for text in ("", "<robot", "<robot><joint/></robot>", ring):
        with pytest.raises(AmRosError, match="robot_description cannot be read"):
            fixed_pose(text, "a", "b")


def test_joints_of_ros2_control_and_of_plugins_connect_no_links():
    more = '<ros2_control name="r"><joint name="joint_a1"/></ros2_control><gazebo><joint>a</joint></gazebo>'
    urdf = robot_description().replace("</robot>", f"{more}</robot>")
    assert np.allclose(fixed_pose(urdf, "base_link", "base_link"), np.eye(4))
    assert '<joint name="A1" type="revolute">' in with_joint_names(urdf, ["joint_a1"], ["A1"])


def test_a_quaternion_turns_as_its_matrix_does():
    rng = np.random.default_rng(0)
    for _ in range(50):
        q = rng.normal(size=4)
        x, y, z, w = q / np.linalg.norm(q)
        pose = np.eye(4)
        pose[:3, :3] = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
        assert abs(np.dot(quaternion(pose), (x, y, z, w))) == pytest.approx(1.0)


def test_a_real_cell_is_described_where_it_is_asked_for_with_its_own_joints_and_no_camera_that_is_not_known():
    assert not any(n.executable == "cell_description" for n in workcell_nodes(stack="lbr_fri"))
    (node,) = (n for n in workcell_nodes(stack="lbr_fri", description="true") if n.executable == "cell_description")
    assert not node.required and node.parameters["base_frame"] == "lbr_link_0"
    urdf = described(DescriptionConfig(joint_names=tuple(node.parameters["joint_names"])))
    assert 'name="lbr_A1"' in urdf and "joint_a1" not in urdf and "camera" not in urdf
    placed = described(DescriptionConfig(camera_xyz="1 0 1", camera_rpy="0 0 3.1"))
    assert fixed_pose(placed, CAMERA, "base_link")[0, 3] == 1.0
    assert described(DescriptionConfig(robot_description="<robot/>")) == "<robot/>"
    for nodes, wanted in ((sim_nodes(), True), (sim_nodes(description="false"), False),
                          (workcell_nodes(stack="sim", description="true"), True)):  # fmt: skip
        (simulator,) = (n for n in nodes if n.executable == "sim_workcell")
        assert simulator.parameters["description"] is wanted
        assert not any(n.executable == "cell_description" for n in nodes)
    with pytest.raises(AmRosError, match="description: 'maybe' is not one of auto, true, false"):
        sim_nodes(description="maybe")


def test_robot_state_publisher_hears_the_drivers_joints_and_leaves_the_text_to_us(tmp_path):
    own = ["x", "--ros-args", "--enclave", "/am_ros/sim_workcell"]
    words = state_publisher_command(tmp_path / "rsp", tmp_path / "p.yaml", "/left", "/lbr/joint_states", own)
    assert words[:2] == [str(tmp_path / "rsp"), "--ros-args"] and words[-1] == "/am_ros/sim_workcell"
    assert "joint_states:=/lbr/joint_states" in words and "__ns:=/left" in words
    assert "robot_description:=robot_state_publisher/robot_description" in words


def test_without_robot_state_publisher_the_cameras_frame_is_published_where_tf2_msgs_is_there(monkeypatch):
    published = []
    node = SimpleNamespace(
        get_clock=lambda: SimpleNamespace(now=lambda: SimpleNamespace(to_msg=lambda: Header().stamp)),
        create_publisher=lambda kind, topic, qos: SimpleNamespace(publish=lambda m: published.append((topic, qos, m))),
    )
    pose = np.eye(4)
    pose[:3, 3] = 1.0, 2.0, 3.0
    monkeypatch.setitem(sys.modules, "tf2_msgs.msg", None)
    assert publish_static(node, DescriptionConfig(), pose) is None and not published
    package, module = ModuleType("tf2_msgs"), ModuleType("tf2_msgs.msg")
    module.TFMessage = lambda transforms: transforms
    monkeypatch.setitem(sys.modules, "tf2_msgs", package)
    monkeypatch.setitem(sys.modules, "tf2_msgs.msg", module)
    publish_static(node, DescriptionConfig(), pose)
    ((topic, qos, (transform,)),) = published
    assert topic == "/tf_static" and qos is LATCHED_QOS and isinstance(transform, TransformStamped)
    assert (transform.header.frame_id, transform.child_frame_id) == ("base_link", CAMERA)
    assert transform.transform.translation.z == 3.0 and transform.transform.rotation.w == 1.0


def test_the_point_that_the_camera_looks_at_is_in_the_middle_of_its_picture_and_right_is_right():
    seen, camera = projection(), SimWorkcellConfig().sim.camera
    assert seen.share(camera.camera_target_m) == pytest.approx((0.5, 0.5), abs=1e-3)
    x, y, z = camera.camera_target_m
    assert seen.share((x, y, z + 0.05))[1] < 0.45  # up
    assert seen.share((x + 0.05, y - 0.02, z))[0] > 0.52  # away from the base lies to the right of this camera
    assert seen.share(camera.camera_position_m) is None
    assert seen.share((0.0, -3.0, 1.5)) is None  # behind it


def test_the_step_is_an_arrow_and_what_ends_or_grips_a_ring():
    seen = projection()
    step = PursuitStep(0, 0.5, 3.0, (0.05, 0.0, 0.0), 0.0, "", False, 1, (0.55, 0.0, 0.2))
    drawn = overlay(seen, step, [Candidate((0.6, 0.0, 0.2), 0.1), Candidate((0.5, 0.1, 0.2), math.nan)])
    assert drawn.count("<polygon") == 2 and drawn.count("<circle") == 1 and 'viewBox="0 0 100.0 100.0"' in drawn
    ends = PursuitStep(1, 0.5, 3.0, (0.0, 0.0, 0.0), 0.0, "", True, 1, (0.55, 0.0, 0.2))
    assert "<polygon" not in overlay(seen, ends) and overlay(seen, ends).count("<circle") == 2
    assert overlay(None, step) == "" and overlay(seen, None) == ""


def test_the_page_learns_the_cameras_pose_from_the_cell_and_does_without(monkeypatch):
    made, destroyed = {}, []

    def subscribe(_type, topic, callback, _qos):
        made[topic] = callback
        return topic

    node = SimpleNamespace(create_subscription=subscribe, destroy_subscription=destroyed.append)
    eye = Eye(node, "base_link")
    eye.adapt(False)
    assert not made
    eye.adapt(True)
    info = camera_info(SimWorkcellConfig())
    info.header.frame_id = CAMERA
    made["camera_info"](info)
    assert eye.projection is None
    made["robot_description"](String(data="no URDF"))
    assert eye.projection is None
    made["robot_description"](String(data=robot_description(camera=False)))
    assert eye.projection is None
    made["robot_description"](String(data=described(description(SimWorkcellConfig()))))
    assert eye.projection.width == 64
    eye.adapt(True)
    assert len(destroyed) == 2  # it is known now
    eye.adapt(False)
    eye.adapt(True)
    made["camera_info"](CameraInfo(header=info.header))  # a camera without a calibration
    assert eye.projection is None

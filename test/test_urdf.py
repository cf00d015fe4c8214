"""The robot description: dimensions and limits of the data sheets, read alike by Pinocchio and PyBullet."""

import math
from xml.etree import ElementTree

import numpy as np
import pytest

from am_ros.control.kinematics import Kinematics
from am_ros.control.robot import MODELS, robot_description, robot_model
from am_ros.errors import AmRosError

# d1, d3, d5, d7 [m] and velocity limits [deg/s] of the data sheets.
FACTS = {
    "iiwa14": ((0.36, 0.42, 0.40, 0.126), (85, 85, 100, 75, 130, 135, 135), 29.9),
    "iiwa7": ((0.34, 0.40, 0.40, 0.126), (98, 98, 100, 130, 140, 180, 180), 23.9),
}


def kinematics_of(model, tip):
    return Kinematics(robot_description(model), robot_model(model).joint_names, tip)


@pytest.mark.parametrize("model", MODELS)
def test_the_flange_is_where_the_link_lengths_put_it(model):
    d1, d3, d5, d7 = FACTS[model][0]
    flange = kinematics_of(model, "flange")
    right = math.pi / 2
    for degrees_2, degrees_4, degrees_6, expected in (
        (0, 0, 0, (0, 0, d1 + d3 + d5 + d7)),  # stretched up
        (right, 0, 0, (d3 + d5 + d7, 0, d1)),  # stretched forward from the shoulder
        (0, -right, 0, (d5 + d7, 0, d1 + d3)),  # bent at the elbow: A4 turns the other way
        (0, 0, right, (d7, 0, d1 + d3 + d5)),  # bent at the wrist
    ):
        position, _ = flange.forward(np.array([0, degrees_2, 0, degrees_4, 0, degrees_6, 0]))
        assert np.allclose(position, expected, atol=1e-9)


@pytest.mark.parametrize("model", MODELS)
def test_classic_dh_table_gives_the_same_flange(model):
    d1, d3, d5, d7 = FACTS[model][0]
    table = zip((-90, 90, 90, -90, -90, 90, 0), (d1, 0, d3, 0, d5, 0, d7), strict=True)
    table = [(math.radians(alpha), d) for alpha, d in table]
    flange = kinematics_of(model, "flange")
    for q in np.random.default_rng(0).uniform(-2, 2, (20, 7)):
        pose = np.eye(4)
        for theta, (alpha, d) in zip(q, table, strict=True):
            c, s, ca, sa = math.cos(theta), math.sin(theta), math.cos(alpha), math.sin(alpha)
            pose = pose @ [[c, -s * ca, s * sa, 0], [s, c * ca, -c * sa, 0], [0, sa, ca, d], [0, 0, 0, 1]]
        position, rotation = flange.forward(q)
        assert np.allclose(position, pose[:3, 3]) and np.allclose(rotation, pose[:3, :3])


@pytest.mark.parametrize("model", MODELS)
def test_limits_and_mass_are_those_of_the_data_sheet(model):
    _, velocity, mass = FACTS[model]
    facts = robot_model(model)
    assert facts.joint_names == tuple(f"joint_a{i}" for i in range(1, 8))
    assert facts.finger_names == ("finger_left_joint", "finger_right_joint") and facts.finger_stroke_m == 0.045
    assert np.allclose(np.degrees(facts.upper_rad), (170, 120, 170, 120, 170, 120, 175))
    assert np.allclose(facts.lower_rad, -np.array(facts.upper_rad))
    assert np.allclose(np.degrees(facts.velocity_rad_s), velocity)
    root = ElementTree.fromstring(robot_description(model))
    links = {link.get("name"): link for link in root.iter("link")}
    weights = [float(links[f"link_{i}"].find("inertial/mass").get("value")) for i in range(8)]
    assert sum(weights) == pytest.approx(mass)


def test_a_tool_that_points_down_reads_yaw_zero_at_a7_zero():
    tcp = kinematics_of("iiwa14", "tcp")
    flange = kinematics_of("iiwa14", "flange")
    q = np.array(robot_model("iiwa14").comfortable_rad)
    position, rotation = tcp.forward(q)
    assert np.allclose(rotation, np.diag([1, -1, -1]), atol=1e-9)  # z down, x away from the robot
    assert flange.forward(q)[0][2] - position[2] == pytest.approx(0.14)
    assert tcp.pose(q)[1] == pytest.approx(0)


@pytest.mark.parametrize("model", MODELS)
def test_pybullet_and_pinocchio_see_the_same_robot(model, tmp_path):
    pybullet = pytest.importorskip("pybullet")
    file = tmp_path / "robot.urdf"
    file.write_text(robot_description(model))
    client = pybullet.connect(pybullet.DIRECT)
    try:
        body = pybullet.loadURDF(str(file), useFixedBase=True, physicsClientId=client)
        count = pybullet.getNumJoints(body, physicsClientId=client)
        count = pybullet.getNumJoints(body, physicsClientId=client)
        info = [pybullet.getJointInfo(body, i, physicsClientId=client) for i in range(count)]
        joint = {i[1].decode(): i[0] for i in info}
        link = {i[12].decode(): i[0] for i in info}
        facts, rng = robot_model(model), np.random.default_rng(1)
        tips = {tip: kinematics_of(model, tip) for tip in ("tcp", "link_3", "finger_left", "camera_optical_frame")}
        for _ in range(10):
            q = rng.uniform(facts.lower_rad, facts.upper_rad)
            for name, angle in zip(facts.joint_names, q, strict=True):
                pybullet.resetJointState(body, joint[name], angle, physicsClientId=client)
            for tip, kinematics in tips.items():
                state = pybullet.getLinkState(body, link[tip], computeForwardKinematics=True, physicsClientId=client)
                position, rotation = kinematics.forward(q)
                matrix = np.reshape(pybullet.getMatrixFromQuaternion(state[5]), (3, 3))
                assert np.allclose(state[4], position, atol=1e-5) and np.allclose(matrix, rotation, atol=1e-5)
    finally:
        pybullet.disconnect(client)


def test_the_fingers_touch_when_closed_and_open_nine_centimetres(tmp_path):
    pybullet = pytest.importorskip("pybullet")
    file = tmp_path / "robot.urdf"
    file.write_text(robot_description())
    client = pybullet.connect(pybullet.DIRECT)
    try:
        body = pybullet.loadURDF(str(file), useFixedBase=True, physicsClientId=client)
        count = pybullet.getNumJoints(body, physicsClientId=client)
        info = [pybullet.getJointInfo(body, i, physicsClientId=client) for i in range(count)]
        joint = {i[1].decode(): i[0] for i in info}
        left, right = joint["finger_left_joint"], joint["finger_right_joint"]
        for opening, gap in ((0.0, 0.0), (0.045, 0.09)):
            for finger in (left, right):
                pybullet.resetJointState(body, finger, opening, physicsClientId=client)
            closest = pybullet.getClosestPoints(body, body, 0.2, left, right, physicsClientId=client)
            assert min(point[8] for point in closest) == pytest.approx(gap, abs=1e-3)
    finally:
        pybullet.disconnect(client)


def test_prefix_and_camera_pose_are_arguments():
    urdf = robot_description("iiwa7", prefix="left_", camera_xyz="1 2 3", camera_rpy="0 0 0")
    facts = robot_model("iiwa7", prefix="left_")
    assert facts.joint_names[0] == "left_joint_a1" and facts.tip_frame == "left_tcp"
    camera = Kinematics(urdf, facts.joint_names, "left_camera_optical_frame")
    position, rotation = camera.forward(np.zeros(7))
    assert np.allclose(position, (1, 2, 3))
    assert np.allclose(rotation @ [0, 0, 1], [1, 0, 0])  # the optical axis looks along x of camera_link


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"model": "iiwa99"}, "robot model 'iiwa99': use one of iiwa14, iiwa7"),
        ({"camera_xyz": "1 2"}, "camera_xyz '1 2': expected three numbers"),
        ({"camera_rpy": "0 0 ${pi}"}, "camera_rpy '0 0 .*': expected three numbers"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_by_name(arguments, message):
    with pytest.raises(AmRosError, match=message):
        robot_description(**arguments)


@pytest.mark.parametrize("text", ["<robot", "<robot xmlns:xacro='http://wiki'><xacro:nonsense/></robot>"])
def test_a_broken_description_file_is_named(text, tmp_path, monkeypatch):
    (tmp_path / "urdf").mkdir()
    (tmp_path / "urdf" / "workcell.urdf.xacro").write_text(text)
    monkeypatch.setattr("am_ros.control.robot.share_directory", lambda: tmp_path)
    with pytest.raises(AmRosError, match="workcell.urdf.xacro: "):
        robot_description.__wrapped__("iiwa14")

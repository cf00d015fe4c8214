"""Inverse kinematics: exact, repeatable, within limits, or refused by name."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from am_ros.control.cartesian import CartesianStepper
from am_ros.control.kinematics import Kinematics, tool_rotation
from am_ros.control.limits import MotionLimits
from am_ros.control.robot import MODELS, robot_description, robot_model
from am_ros.errors import AmRosError

KINEMATICS = {model: CartesianStepper.for_model(model).kinematics for model in MODELS}
LOW, HIGH = MotionLimits().box
in_box = st.tuples(*[st.floats(float(a), float(b)) for a, b in zip(LOW, HIGH, strict=True)])


@given(position=in_box, yaw=st.floats(-1.5, 1.5), model=st.sampled_from(MODELS))
@settings(max_examples=150, deadline=None)
def test_every_pose_of_the_workspace_is_reached_exactly(position, yaw, model):
    kinematics = KINEMATICS[model]
    q = kinematics.home(position, yaw)
    reached, rotation = kinematics.forward(q)
    assert np.abs(reached - position).max() < 1e-5
    assert np.abs(rotation - tool_rotation(yaw)).max() < 1e-5
    assert np.all((q > kinematics.lower) & (q < kinematics.upper))
    assert abs(q[2]) < 1e-3 and abs(q[4]) < 1e-3  # elbow in the vertical plane ...
    assert q[3] < -0.3  # ... and up
    assert kinematics.condition(q) < MotionLimits().max_condition


@given(position=in_box, yaw=st.floats(-1, 1), seed=st.integers(0, 10**6))
@settings(max_examples=100, deadline=None)
def test_a_disturbed_start_leads_back_to_the_same_arm(position, yaw, seed):
    kinematics = KINEMATICS["iiwa14"]
    home = kinematics.home(position, yaw)
    start = home + np.random.default_rng(seed).uniform(-0.15, 0.15, 7)
    q = kinematics.inverse(position, yaw, start, kinematics.comfortable)
    assert np.abs(q - home).max() < 1e-3


def test_home_is_a_pure_function():
    kinematics = KINEMATICS["iiwa14"]
    first = kinematics.home((0.6, 0.1, 0.2), 0.3)
    kinematics.home((0.45, -0.2, 0.05), -1.0)
    assert np.array_equal(kinematics.home((0.6, 0.1, 0.2), 0.3), first)


def test_the_elbow_stays_where_it_is_unless_a_posture_is_asked_for():
    kinematics = KINEMATICS["iiwa14"]
    position, yaw = (0.55, 0.05, 0.15), 0.2
    turned = kinematics.home(position, yaw)
    turned[[2, 4]] = 0.3, -0.2
    turned = kinematics.inverse(position, yaw, turned)
    assert turned[2] == pytest.approx(0.3, abs=0.05) and turned[4] == pytest.approx(-0.2, abs=0.05)
    assert np.abs(kinematics.pose(turned)[0] - position).max() < 1e-5


@pytest.mark.parametrize("position", [(1.5, 0, 0.2), (0.15, 0, 0.1), (0.3, 0, 2.0)])
def test_what_is_out_of_reach_is_refused_by_name(position):
    with pytest.raises(AmRosError, match=rf"^(unreachable|joint_limit): .*\({position[0]:.3f}, "):
        KINEMATICS["iiwa14"].home(position)


def test_a_turn_beyond_the_last_joint_is_a_joint_limit():
    kinematics = KINEMATICS["iiwa14"]
    start = kinematics.home((0.55, 0, 0.15), 0.0)
    for yaw in np.arange(0.3, 2.9, 0.3):  # A7 ends at 175 degrees
        start = kinematics.inverse((0.55, 0, 0.15), yaw, start)
    with pytest.raises(AmRosError, match="joint_limit: joint_a7"):
        kinematics.inverse((0.55, 0, 0.15), 3.3, start)


def test_the_stretched_arm_is_left_and_approached_without_a_jump():
    kinematics = KINEMATICS["iiwa14"]
    bent = np.array([0, np.pi / 2 - 0.1, 0, -0.2, 0, -0.1, 0])  # 12 degrees from stretched, where no solution is unique
    position, rotation = kinematics.forward(bent)
    for shift in (-0.02, 0.003):
        q = kinematics.inverse_rotation(position + [shift, 0, 0], rotation, bent)
        assert np.abs(kinematics.forward(q)[0] - position - [shift, 0, 0]).max() < 1e-5
        assert np.abs(q - bent).max() < 0.5
    with pytest.raises(AmRosError, match="unreachable"):
        kinematics.inverse_rotation(position + [0.05, 0, 0], rotation, bent)


def test_a_solve_takes_less_than_a_millisecond():
    kinematics, rng = KINEMATICS["iiwa14"], np.random.default_rng(0)
    poses = rng.uniform(LOW, HIGH, (100, 3))
    times = []
    for pose in poses:
        start = time.perf_counter()
        kinematics.home(pose)
        times.append(time.perf_counter() - start)
    assert np.median(times) < 1e-3  # measured 0.2 ms


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(urdf_text="<robot"), "robot description: "),
        (dict(joint_names=("joint_a1", "elbow")), "robot description: has no elbow"),
        (dict(tip="nose"), "robot description: has no frame nose"),
        (dict(joint_names=robot_model().joint_names[::-1]), "joint_names: expected the chain's order joint_a1, "),
    ],
)
def test_a_description_that_does_not_fit_is_refused_by_name(change, message):
    with pytest.raises(AmRosError, match="^" + message):
        arguments = dict(urdf_text=robot_description(), joint_names=robot_model().joint_names, tip="tcp")
        Kinematics(**{**arguments, **change})

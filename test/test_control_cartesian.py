"""Cartesian steps: straight, smooth, inside every limit, or refused by name."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from am_ros.action import ActionSpace, CartesianAction
from am_ros.control.cartesian import CartesianStepper
from am_ros.control.limits import MotionLimits
from am_ros.control.robot import MODELS, robot_model
from am_ros.control.trajectory import JointTrajectory
from am_ros.errors import AmRosError

STEPPERS = {model: CartesianStepper.for_model(model) for model in MODELS}
STEPPER = STEPPERS["iiwa14"]
LIMITS = MotionLimits()
LOW, HIGH = LIMITS.box
REASONS = ("action_not_finite", "action_too_large", "workspace_limit", "unreachable", "joint_limit", "singular")

step = st.floats(-0.08, 0.08)
actions = st.builds(CartesianAction, st.tuples(step, step, step), st.floats(-0.5, 0.5))


def check_trajectory(stepper, trajectory, q, action):
    """Every promise of a plan, on a fine grid between the knots."""
    facts = robot_model("iiwa14" if stepper is STEPPERS["iiwa14"] else "iiwa7")
    positions, velocities = trajectory.sample(np.linspace(0, trajectory.duration_s, 101))
    assert trajectory.times_s[0] == 0 and np.all(np.diff(trajectory.times_s) > 0)
    assert trajectory.duration_s >= stepper.limits.min_duration_s
    assert np.array_equal(positions[0], q) and not velocities[0].any() and not velocities[-1].any()
    assert np.all(positions > facts.lower_rad) and np.all(positions < facts.upper_rad)
    assert np.all(np.abs(velocities) <= 0.9 * np.array(facts.velocity_rad_s) * (1 + 1e-9))
    accelerations = np.diff(velocities[1:-1], axis=0) / (trajectory.duration_s / 100)
    assert np.abs(accelerations).max() <= 10.0 * 1.001
    peak_velocity, peak_acceleration = trajectory.peaks()
    assert np.all(peak_velocity >= np.abs(velocities).max(axis=0) - 1e-9)
    assert np.all(peak_acceleration >= np.abs(accelerations).max(axis=0) - 1e-6)

    tool = np.array([stepper.kinematics.pose(p)[0] for p in positions])
    line = tool[-1] - tool[0]
    length = np.linalg.norm(line)
    if length > 1e-6:
        offset = tool - tool[0] - np.outer((tool - tool[0]) @ line / length**2, line)
        assert np.linalg.norm(offset, axis=1).max() < 1e-4
    inside = np.all(tool[0] >= LOW) and np.all(tool[0] <= HIGH)
    if inside:
        assert np.all(tool >= LOW - 1e-4) and np.all(tool <= HIGH + 1e-4)


@given(start=st.integers(0, 10**6), walk=st.lists(actions, min_size=1, max_size=8), model=st.sampled_from(MODELS))
@settings(max_examples=100, deadline=None)
def test_random_walks_stay_within_every_limit(start, walk, model):
    stepper, rng = STEPPERS[model], np.random.default_rng(start)
    q = stepper.kinematics.home(rng.uniform(LOW, HIGH), rng.uniform(-1.5, 1.5))
    for action in walk:
        before, yaw = stepper.kinematics.pose(q)
        try:
            trajectory = stepper.plan(q, action)
        except AmRosError as error:
            assert str(error).startswith(REASONS)
            continue
        check_trajectory(stepper, trajectory, q, action)
        after, turned = stepper.kinematics.pose(trajectory.positions[-1])
        assert np.abs(after - before - action.translation_m).max() < 1e-4
        assert abs(math.remainder(turned - yaw - action.rotation_z_rad, 2 * math.pi)) < 1e-3
        q = trajectory.positions[-1]


def test_within_the_box_and_a_quarter_turn_no_step_is_refused():
    """Random walks of 2000 steps that respect box and yaw: the arm never paints itself into a corner."""
    for model, stepper in STEPPERS.items():
        rng = np.random.default_rng(5)
        q = stepper.kinematics.home((0.55, 0.0, 0.15))
        for _ in range(1000):
            position, yaw = stepper.kinematics.pose(q)
            move = np.clip(position + rng.uniform(-0.08, 0.08, 3), LOW, HIGH) - position
            turn = float(np.clip(yaw + rng.uniform(-0.5, 0.5), -math.pi / 2, math.pi / 2) - yaw)
            q = stepper.plan(q, CartesianAction(tuple(move), turn)).positions[-1]
            q = q + rng.normal(0, 2e-4, 7)  # tracking error
        assert abs(q[2]) < 0.02 and abs(q[4]) < 0.02, model


numbers = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([1e300, -1e300, 0.0801, 0.5001]))


@given(translation=st.tuples(numbers, numbers, numbers), turn=numbers)
@settings(max_examples=200, deadline=None)
def test_any_input_is_planned_or_refused_by_name(translation, turn):
    q = STEPPER.kinematics.home((0.55, 0.0, 0.15))
    try:
        trajectory = STEPPER.plan(q, CartesianAction(translation, turn))
    except AmRosError as error:
        assert str(error).startswith(REASONS)
    else:
        check_trajectory(STEPPER, trajectory, q, None)


@pytest.mark.parametrize(
    "action, message",
    [
        (CartesianAction((math.nan, 0, 0)), "action_not_finite: x"),
        (CartesianAction((0, math.inf, 0)), "action_not_finite: y"),
        (CartesianAction((0, 0, 0.081)), r"action_too_large: \|z\| = 0.081 above 0.080"),
        (CartesianAction((0, 0, 0), 0.6), r"action_too_large: \|rotation_z\|"),
        (CartesianAction((0, 0, -0.05)), "workspace_limit: z = 0.010 m below 0.020 m"),
        (CartesianAction((0.08, 0, 0)), "workspace_limit: x = 0.780 m above 0.720 m"),
    ],
)
def test_refusals_name_the_component(action, message):
    q = STEPPER.kinematics.home((0.70, 0.0, 0.06))
    with pytest.raises(AmRosError, match="^" + message):
        STEPPER.plan(q, action)


@pytest.mark.parametrize("q", [np.full(7, math.nan), np.zeros(6)])
def test_unusable_joint_angles_are_refused(q):
    with pytest.raises(AmRosError, match="^joint_state_not_finite"):
        STEPPER.plan(q, CartesianAction((0.01, 0, 0)))


def test_from_slightly_outside_the_box_the_arm_comes_back_but_goes_no_further():
    q = STEPPER.kinematics.home((0.722, 0.0, 0.018))
    for move in ((-0.05, 0, 0.03), (0, 0.05, 0)):
        end = STEPPER.kinematics.pose(STEPPER.plan(q, CartesianAction(move)).positions[-1])[0]
        assert np.all(end >= LOW - 1e-5) and np.all(end <= HIGH + 1e-5)
    with pytest.raises(AmRosError, match="workspace_limit: x = 0.727 m above"):
        STEPPER.plan(q, CartesianAction((0.005, 0, 0.01)))


def test_from_far_outside_the_box_only_a_step_into_it_is_planned():
    q = STEPPER.kinematics.home((0.60, 0.0, 0.38))
    with pytest.raises(AmRosError, match="workspace_limit: z = 0.360 m above"):
        STEPPER.plan(q, CartesianAction((0, 0, -0.02)))
    end = STEPPER.kinematics.pose(STEPPER.plan(q, CartesianAction((0, 0, -0.07))).positions[-1])[0]
    assert end[2] == pytest.approx(0.31, abs=1e-4)


def test_an_arm_near_singularity_is_refused():
    wide = CartesianStepper.for_model("iiwa14", MotionLimits(workspace_x_m=(0.4, 1.2)))
    q = wide.kinematics.home((0.72, 0.0, 0.22))
    with pytest.raises(AmRosError, match="^(singular|unreachable): "):
        for _ in range(5):
            q = wide.plan(q, CartesianAction((0.03, 0, 0))).positions[-1]


def test_a_tilted_tool_and_a_turned_elbow_come_back_over_the_next_steps():
    q = STEPPER.kinematics.home((0.55, 0.0, 0.15)) + [0, 0, 0.3, 0, -0.2, 0.02, 0]
    for sign in (1, -1) * 4:
        position = STEPPER.kinematics.pose(q)[0]
        move = np.clip(position + [0, sign * 0.03, 0], LOW, HIGH) - position
        trajectory = STEPPER.plan(q, CartesianAction(tuple(move)))
        check_trajectory(STEPPER, trajectory, q, None)
        q = trajectory.positions[-1]
        assert STEPPER.kinematics.forward(q)[1][2, 2] == pytest.approx(-1, abs=1e-6)
    assert abs(q[2]) < 0.01 and abs(q[4]) < 0.01


def test_nothing_to_do_stands_still_for_the_shortest_time():
    q = STEPPER.kinematics.home((0.55, 0.0, 0.15))
    for action in (CartesianAction(), CartesianAction((0.05, 0, 0), terminate=True)):
        trajectory = STEPPER.plan(q, action)
        assert trajectory.duration_s == LIMITS.min_duration_s
        assert np.array_equal(trajectory.at(0.05)[0], q) and not trajectory.at(0.05)[1].any()


def test_the_fastest_joint_or_acceleration_is_used_to_the_full():
    trajectory = STEPPER.plan(STEPPER.kinematics.home((0.55, 0.0, 0.15)), CartesianAction((0.08, 0.08, 0.08), 0.5))
    velocity, acceleration = trajectory.peaks()
    facts = robot_model("iiwa14")
    use = max((velocity / (0.9 * np.array(facts.velocity_rad_s))).max(), acceleration.max() / 10)
    assert use == pytest.approx(1, abs=1e-6)


def test_braking_stops_every_joint_within_the_acceleration_limit():
    q = STEPPER.kinematics.home((0.55, 0.0, 0.15))
    trajectory = STEPPER.plan(q, CartesianAction((0.08, -0.08, 0.08), 0.5))
    position, velocity = trajectory.at(trajectory.duration_s / 2)
    stop = STEPPER.brake(position, velocity)
    assert np.allclose(stop.at(1e-9)[1], velocity) and not stop.at(stop.duration_s)[1].any()
    assert stop.peaks()[1].max() <= 10 * 1.001
    assert stop.duration_s < trajectory.duration_s / 2


def test_a_trajectory_is_the_cubic_through_its_knots():
    times = np.array([0.0, 0.5, 1.5])
    cubic, slope = (lambda t: np.stack([t**3, 2 - t], 1)), (lambda t: np.stack([3 * t**2, -np.ones_like(t)], 1))
    trajectory = JointTrajectory(times, cubic(times), slope(times))
    grid = np.linspace(0, 1.5, 31)[1:-1]
    positions, velocities = trajectory.sample(grid)
    assert np.allclose(positions, cubic(grid)) and np.allclose(velocities, slope(grid))
    for t, position, velocity in zip(grid, positions, velocities, strict=True):
        assert np.allclose(trajectory.at(t)[0], position) and np.allclose(trajectory.at(t)[1], velocity)
    assert np.array_equal(trajectory.at(-1)[0], [0, 2]) and not trajectory.at(2)[1].any()
    assert trajectory.peaks()[0][0] == pytest.approx(6.75) and trajectory.peaks()[1][0] == pytest.approx(9)


def test_planning_takes_about_a_millisecond():
    rng, q = np.random.default_rng(0), STEPPER.kinematics.home((0.55, 0.0, 0.15))
    times = []
    for _ in range(100):
        move = rng.uniform(-0.08, 0.08, 3)
        start = time.perf_counter()
        STEPPER.plan(q, CartesianAction(tuple(move), rng.uniform(-0.5, 0.5)))
        times.append(time.perf_counter() - start)
    assert np.median(times) < 4e-3  # measured 0.7 ms


@pytest.mark.parametrize(
    "limits, message",
    [
        (dict(workspace_z_m=(0.3, 0.1)), "parameter workspace_z_m: 0.3 ... 0.1 is empty"),
        (dict(acceleration_rad_s2=(1.0,)), "parameter acceleration_rad_s2: expected 7 values"),
    ],
)
def test_limits_that_make_no_sense_are_refused_by_name(limits, message):
    with pytest.raises(AmRosError, match=message):
        CartesianStepper.for_model("iiwa14", MotionLimits(**limits))


def test_the_action_space_bounds_the_step():
    small = CartesianStepper.for_model("iiwa14", action_space=ActionSpace((0.01, 0.01, 0.01), 0.1))
    with pytest.raises(AmRosError, match="action_too_large"):
        small.plan(small.kinematics.home((0.55, 0, 0.15)), CartesianAction((0.02, 0, 0)))

"""The last look at a trajectory: whatever passes holds every limit, and everything else is refused by name."""

import dataclasses
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from am_ros.action import ActionSpace, CartesianAction
from am_ros.control.cartesian import CartesianStepper
from am_ros.control.controller import ControllerConfig, make_guard, make_stepper
from am_ros.control.guard import GuardConfig, TrajectoryGuard
from am_ros.control.limits import MotionLimits
from am_ros.control.robot import robot_model
from am_ros.control.trajectory import JointTrajectory
from am_ros.control.watch import ArmWatch
from am_ros.errors import AmRosError

STEPPER = make_stepper(ControllerConfig())
GUARD = make_guard(ControllerConfig(), STEPPER)
KINEMATICS = STEPPER.kinematics
FACTS = robot_model("iiwa14")
LOW, HIGH = MotionLimits().box
HOME = KINEMATICS.home((0.55, 0.0, 0.15))
REFUSALS = (
    "action_not_finite", "action_too_large", "workspace_limit", "unreachable", "joint_limit", "singular",
    "joint_state_not_finite", "trajectory_malformed", "trajectory_not_finite", "start_elsewhere", "not_at_rest",
    "joint_velocity_limit", "joint_acceleration_limit", "step_too_large", "self_collision", "table_collision",
)  # fmt: skip

# Actions as a network may give them: mostly a step, sometimes not normalised, huge or no number at all.
odd = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([0.0801, 0.5001, 1e300, -1e300]))
length, angle = st.floats(-0.08, 0.08), st.floats(-0.5, 0.5)
steps = st.builds(CartesianAction, st.tuples(length, length, length), angle)
odd_steps = st.builds(CartesianAction, st.tuples(st.one_of(length, odd), length, odd), st.one_of(angle, odd))
actions = st.integers(0, 9).flatmap(lambda k: odd_steps if k == 9 else steps)


@st.composite
def joint_angles(draw):
    """In the workspace, pushed off the plane by hand, anywhere within or beyond the limits, or no numbers."""
    kind = draw(st.sampled_from(["workspace", "workspace", "by hand", "by hand", "anywhere", "odd"]))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    if kind == "anywhere":
        return rng.uniform(-1.05, 1.05, 7) * FACTS.upper_rad
    q = KINEMATICS.home(rng.uniform(LOW, HIGH), rng.uniform(-1.5, 1.5))
    if kind == "by hand":
        return q + rng.uniform(-0.4, 0.4, 7)
    if kind == "odd":
        q[rng.integers(7)] = draw(odd)
    return q


def check_limits(trajectory, q, speed_m_s):
    """Every promise of the guard, on a grid finer than its own."""
    positions, velocities = trajectory.sample(np.linspace(0, trajectory.duration_s, 301))
    assert np.isfinite(positions).all() and np.isfinite(velocities).all() and trajectory.duration_s < 60
    assert np.abs(positions[0] - q).max() <= 0.02 and not velocities[0].any() and not velocities[-1].any()
    assert np.all(np.abs(positions) <= np.maximum(np.array(FACTS.upper_rad), np.abs(q)) + 1e-9)
    assert np.all(np.abs(positions) <= np.array(FACTS.upper_rad) + 0.0101)
    assert np.all(np.abs(velocities) <= 0.9 * np.array(FACTS.velocity_rad_s) * (1 + 1e-5))
    assert np.abs(np.diff(velocities[1:-1], axis=0)).max() <= 10.0 * trajectory.duration_s / 300 * 1.01
    tool, speeds, conditions = KINEMATICS.along(positions, velocities)
    assert np.all(tool >= np.minimum(LOW, tool[0]) - 2e-3) and np.all(tool <= np.maximum(HIGH, tool[0]) + 2e-3)
    assert np.abs(tool - tool[0]).max() <= 0.08 + 2e-3
    assert speeds.max() <= speed_m_s and conditions.max() <= max(40.0, conditions[0]) * 1.02
    if LOW[2] <= tool[0][2]:
        lowest = min(KINEMATICS.forward(p)[0][2] for p in positions[::10])
        assert lowest >= LOW[2] - 1e-3


@given(q=joint_angles(), walk=st.lists(actions, min_size=1, max_size=3), reduced=st.booleans())
@settings(max_examples=120, deadline=None)
def test_what_stepper_and_guard_let_pass_holds_every_limit_and_the_rest_is_refused_by_name(q, walk, reduced):
    guard = GUARD if not reduced else REDUCED
    for action in walk:
        try:
            trajectory = guard.check(STEPPER.plan(q, action), q)
        except AmRosError as error:
            assert str(error).split(":")[0] in REFUSALS, str(error)
            continue
        check_limits(trajectory, q, guard.config.speed_m_s)
        q = trajectory.positions[-1]


@st.composite
def trajectories(draw):
    """A step that somebody damaged: faster or slower, knots pushed aside, perhaps a number that is none."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    action = CartesianAction(tuple(rng.uniform(-0.08, 0.08, 3)), rng.uniform(-0.5, 0.5))
    plan = STEPPER.plan(KINEMATICS.home((0.55, 0.0, 0.15)), action)
    pace = draw(st.sampled_from([0.5, 0.9, 1.0, 1.5, 4.0]))
    aside = draw(st.sampled_from([0.0, 0.0, 1e-3, 0.02, 0.3, 3.0])) * rng.normal(size=plan.positions.shape)
    times, positions, velocities = plan.times_s * pace, plan.positions + aside, plan.velocities / pace
    if draw(st.integers(0, 3)) == 3:
        values = [times, positions, velocities][rng.integers(3)]
        values.flat[rng.integers(values.size)] = draw(odd)
    return JointTrajectory(times, positions, velocities)


@given(trajectories())
@settings(max_examples=150, deadline=None)
def test_a_trajectory_of_anybody_passes_within_every_limit_or_is_refused_by_name(trajectory):
    with np.errstate(all="ignore"):
        try:
            passed = GUARD.check(trajectory, trajectory.positions[0])
        except AmRosError as error:
            assert str(error).split(":")[0] in REFUSALS, str(error)
        else:
            check_limits(passed, trajectory.positions[0], GUARD.config.speed_m_s)


def step(**changes) -> JointTrajectory:
    """A step of 5 cm upwards, with something changed afterwards."""
    return dataclasses.replace(STEPPER.plan(HOME, CartesianAction((0, 0, 0.05))), **changes)


def shifted(joint, by, knots=slice(1, -1)):
    """The step with a joint elsewhere at some of its knots."""
    positions = step().positions.copy()
    positions[knots, joint] += by
    return step(positions=positions)


@pytest.mark.parametrize(
    "trajectory, refusal",
    [
        (step(times_s=np.zeros(7)), "trajectory_malformed: times do not increase from 0"),
        (step(positions=step().positions[:, :6]), "trajectory_malformed: expected two points or more of 7 joints"),
        (shifted(3, math.nan), "trajectory_not_finite"),
        (shifted(3, math.inf, -1), "trajectory_not_finite"),
        (shifted(3, 1e300, -1), "trajectory_not_finite: its largest|joint_velocity_limit: joint_a4"),
        (shifted(0, 0.03, slice(None)), "start_elsewhere: the trajectory starts 0.030 rad from where joint_a1 was"),
        (step(velocities=step().velocities + 0.01), "not_at_rest"),
        (step(times_s=step().times_s / 4), r"joint_velocity_limit: joint_a\d at \d.\d\d rad/s, limit \d.\d\d rad/s"),
        (step(times_s=step().times_s * 0.8), r"joint_acceleration_limit: joint_a6 at 39.96 rad/s\^2, limit 10.00"),
    ],
)
def test_a_damaged_trajectory_is_refused_by_name(trajectory, refusal):
    with pytest.raises(AmRosError, match=f"^{refusal}"), np.errstate(all="ignore"):
        GUARD.check(trajectory, HOME)


def slow(*points) -> JointTrajectory:
    """At rest at each of the points, so slowly that rates do not matter."""
    return JointTrajectory(np.arange(len(points)) * 5.0, np.array(points), np.zeros((len(points), 7)))


def test_the_path_counts_and_not_only_its_end():
    below = KINEMATICS.home((0.55, 0.0, 0.01))
    over = KINEMATICS.home((0.55, 0.0, 0.03))
    with pytest.raises(AmRosError, match="^workspace_limit: z = 0.010 m below 0.020 m on the way"):
        GUARD.check(slow(over, below, over), over)
    side = KINEMATICS.home((0.55, 0.1, 0.15))
    with pytest.raises(AmRosError, match="^step_too_large: the tool moves 0.100 m along y, limit 0.080 m"):
        GUARD.check(slow(HOME, side, HOME), HOME)
    turned = HOME + np.eye(7)[6] * 0.6
    with pytest.raises(AmRosError, match="^step_too_large: the tool turns 0.600 rad, limit 0.500 rad"):
        GUARD.check(slow(HOME, turned), HOME)
    with pytest.raises(AmRosError, match="^joint_limit: joint_a7 comes nearer to its limit than 0.02 rad"):
        GUARD.check(slow(HOME, HOME + np.eye(7)[6] * 3.04, HOME), HOME)


def test_a_step_from_an_arm_that_moves_is_refused():
    with pytest.raises(AmRosError, match="^not_at_rest: joint_a1 still moves at 0.30 rad/s"):
        GUARD.check(step(), HOME, np.eye(7)[0] * 0.3)


REDUCED = TrajectoryGuard(KINEMATICS, config=GuardConfig(reduced=True))


def test_reduced_mode_slows_the_tool_to_250_mm_per_second_on_the_same_path():
    plan = STEPPER.plan(HOME, CartesianAction((0.08, 0.08, 0.08)))
    usual, reduced = GUARD.check(plan, HOME), REDUCED.check(plan, HOME)
    assert usual is plan and np.array_equal(reduced.positions, plan.positions)
    for trajectory, low, high in ((usual, 0.4, 1.0), (reduced, 0.24, 0.25)):
        samples = trajectory.sample(np.linspace(0, trajectory.duration_s, 1001))
        tool, speeds, _ = KINEMATICS.along(*samples)
        assert low < speeds.max() <= high
        way = np.linalg.norm(np.diff(tool, axis=0), axis=1).max() / (trajectory.duration_s / 1000)
        assert way == pytest.approx(speeds.max(), rel=0.01)
    small = STEPPER.plan(HOME, CartesianAction((0.0, 0.0, 0.01)))
    assert REDUCED.check(small, HOME).duration_s >= small.duration_s


def test_a_step_slows_down_near_a_singularity_until_it_is_refused():
    wide = CartesianStepper.for_model("iiwa14", MotionLimits(workspace_x_m=(0.4, 1.2), max_condition=60.0))
    shares, q = [], wide.kinematics.home((0.76, 0.0, 0.1))
    with pytest.raises(AmRosError, match="^(singular|unreachable): "):
        for _ in range(20):
            trajectory = wide.plan(q, CartesianAction((0.005, 0, 0)))
            condition = wide.kinematics.condition(trajectory.positions[-1])
            velocity, acceleration = trajectory.peaks()
            used = max((velocity / (0.9 * np.array(FACTS.velocity_rad_s))).max(), np.sqrt(acceleration.max() / 10))
            shares.append((condition, wide.limits.near_singularity(condition), used))
            q = trajectory.positions[-1]
    near = [(share, used) for condition, share, used in shares if condition > 20]
    assert near and all(used <= share + 1e-9 < 1 for share, used in near)
    limits = wide.limits
    assert [limits.near_singularity(c) for c in (5, 20, 60, 1e9)] == [1, 1, pytest.approx(0.2), pytest.approx(0.2)]


def test_a_path_through_a_singularity_is_refused():
    limits = MotionLimits(workspace_x_m=(0.3, 1.2), workspace_z_m=(0.02, 1.2))
    guard = TrajectoryGuard(KINEMATICS, limits, ActionSpace((1.0, 1.0, 1.0), 4.0))
    bent, stretched = HOME.copy(), HOME.copy()
    stretched[3] = -0.01
    with pytest.raises(AmRosError, match=r"^singular: near \(.*\) m the arm is stretched or folded"):
        guard.check(slow(bent, stretched, bent), bent)
    guard.check(slow(stretched, bent), stretched)  # away from it


def test_the_look_at_an_ordinary_step_takes_some_milliseconds():
    plan, times = STEPPER.plan(HOME, CartesianAction((0.08, 0.08, -0.08), 0.5)), []
    for _ in range(20):
        start = time.perf_counter()
        GUARD.check(plan, HOME)
        times.append(time.perf_counter() - start)
    assert min(times) < 10e-3  # measured 1.5 ms


def test_refusals_name_joints_as_the_driver_does():
    """Our description has names of its own."""
    config = ControllerConfig(joint_names=tuple(f"lbr_A{i}" for i in range(1, 8)))
    stepper = make_stepper(config)
    guard, kinematics = make_guard(config, stepper), stepper.kinematics
    trajectory = stepper.plan(HOME, CartesianAction((0.02, 0.0, 0.0)))
    moving = np.array([0, 0, 0, 0.3, 0, 0, 0])
    fast = dataclasses.replace(trajectory, times_s=trajectory.times_s / 4)
    with pytest.raises(AmRosError, match=r"^joint_velocity_limit: lbr_A\d at "):
        guard.check(fast, HOME, np.zeros(7))
    with pytest.raises(AmRosError, match="^not_at_rest: lbr_A4 still moves"):
        guard.check(trajectory, HOME, moving)
    start = kinematics.home((0.55, 0.0, 0.15), 0.0)
    for yaw in np.arange(0.3, 2.9, 0.3):  # A7 ends at 175 degrees
        start = kinematics.inverse((0.55, 0.0, 0.15), yaw, start)
    with pytest.raises(AmRosError, match="^joint_limit: lbr_A7 at its limit"):
        kinematics.inverse((0.55, 0.0, 0.15), 3.3, start)
    high = kinematics.position_limits[1]
    watch = ArmWatch(kinematics, config.watch)
    assert watch.fault(high + 0.1, np.zeros(7), 0.0).startswith("joint_position: lbr_A1")

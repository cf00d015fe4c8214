"""The simulated driver without ROS and physics: its controller with trajectories, its arm with commands."""

import numpy as np
import pytest

from am_ros.action import CartesianAction
from am_ros.control.cartesian import CartesianStepper
from am_ros.control.robot import robot_model
from am_ros.errors import AmRosError
from am_ros.sim.driver import CONTROLLER, Driver, DriverConfig
from am_ros.sim.trajectory_controller import TrajectoryCommand

NAMES = robot_model().joint_names
STEPPER = CartesianStepper.for_model()
HOME = STEPPER.kinematics.home((0.55, 0.0, 0.2))
PERIOD_S = 0.01


def driver(**settings):
    made = Driver(DriverConfig(driver=CONTROLLER, **settings), NAMES, lambda q: STEPPER.kinematics.jacobian(q)[2])
    made.reset(HOME)
    return made


def command(positions, times_s=(1.0,), velocities=None, accelerations=None, names=NAMES, **fields):
    nothing = ((),) * len(times_s)
    return TrajectoryCommand(
        tuple(names), tuple(times_s), tuple(positions), velocities or nothing, accelerations or nothing, **fields
    )


def step(y=0.05, start=HOME):
    """A step of the controller as the driver gets it."""
    planned = STEPPER.plan(start, CartesianAction((0.0, y, 0.0)))
    return planned, command(planned.positions, planned.times_s, tuple(planned.velocities))


def run(made, seconds, q=HOME):
    """An arm that is where its motors shall be; returns its angles and the commands, [periods, joints] each."""
    arm, sent = [np.array(q)], []
    for _ in range(round(seconds / made.period_s)):
        before = arm[-2] if len(arm) > 1 else arm[-1]
        arm.append(made.update(arm[-1], (arm[-1] - before) / made.period_s))
        sent.append(made.sent)
    return np.array(arm[1:]), np.array(sent)


def test_the_arm_follows_a_step_period_by_period_and_holds_its_end():
    planned, asked = step()
    made = driver()
    made.accept(asked)
    assert made.motion_left_s == planned.duration_s
    arm, _sent = run(made, planned.duration_s + 0.1)
    expected = planned.sample(PERIOD_S * np.arange(1, len(arm) + 1))[0]
    np.testing.assert_allclose(arm, expected, atol=1e-12)
    assert made.motion_left_s == 0


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (command([HOME], names=[f"lbr_A{i}" for i in range(1, 8)]), "joints are lbr_A1"),
        (command([HOME[:3]], names=NAMES[:3]), "joints are joint_a1, joint_a2, joint_a3, expected"),
        (command([], ()), "it has no points"),
        (command([HOME], efforts=True), "efforts"),
        (command([HOME[:3]]), "every point needs 7 positions"),
        (command([HOME], velocities=((0.0,) * 3,)), "every point needs 7 velocities"),
        (command([np.full(7, np.nan)]), "positions are not finite"),
        (command([HOME, HOME], (0.5, 0.5)), "time_from_start does not increase"),
        (command([HOME], velocities=((0.1,) * 7,)), "the velocity of the last point is not zero"),
        (command([HOME], stamp_s=-1.5), "ends 0.500 s in the past"),
    ],
)
def test_what_the_controller_refuses_is_named_and_the_motion_under_way_goes_on(asked, why):
    planned, under_way = step()
    made = driver()
    made.accept(under_way)
    run(made, 0.2)
    with pytest.raises(AmRosError, match=why):
        made.accept(asked)
    arm, _sent = run(made, planned.duration_s, q=made.sent)
    np.testing.assert_allclose(arm[-1], planned.positions[-1], atol=1e-12)


def test_settings_allow_what_is_refused_otherwise():
    made = driver(driver_partial_joints=True, driver_end_velocity=True)
    made.accept(command([HOME[:2] + 0.1], names=NAMES[:2], velocities=((0.1, 0.1),)))
    arm, _sent = run(made, 1.1)
    np.testing.assert_allclose(arm[-1] - HOME, [0.1, 0.1, 0, 0, 0, 0, 0], atol=1e-12)


def test_a_stamp_says_when_the_trajectory_starts():
    late, early, now = driver(), driver(), driver()
    late.accept(command([HOME + 0.1], stamp_s=0.5))
    early.accept(command([HOME, HOME + 0.1], (0.0, 1.0), stamp_s=-0.5))
    now.accept(command([HOME + 0.1]))
    assert abs(run(late, 1.0)[0][-1] - HOME).max() == pytest.approx(0.1 * 1.01 / 1.5, rel=0.02)
    assert abs(run(early, 0.3)[0][-1] - HOME).max() == pytest.approx(0.08, rel=0.05)
    assert abs(run(now, 1.0)[0][-1] - HOME).max() == pytest.approx(0.1)


@pytest.mark.parametrize("from_desired", [False, True])
def test_a_trajectory_that_replaces_another_is_entered_from_the_measured_state_or_the_last_command(from_desired):
    made = driver(driver_lag_s=0.05, driver_from_desired=from_desired)
    planned, asked = step()
    made.accept(asked)
    arm, sent = run(made, planned.duration_s / 2)
    behind = np.abs(sent[-1] - arm[-1]).max()
    assert behind > 5e-3
    made.accept(command([sent[-1]], (1.0,), velocities=((0.0,) * 7,)))  # its first point lies in the future
    _arm, after = run(made, PERIOD_S, q=arm[-1])
    jump = np.abs(after[0] - sent[-1]).max()
    assert jump < 0.1 * behind if from_desired else jump > 0.5 * behind


def test_velocities_and_accelerations_of_points_are_kept_to():
    """Positions alone: straight lines. With velocities: cubics. With accelerations too: quintics."""
    rise, still = 0.2, ((0.0,) * 7,) * 2
    for more, half_way_of_half in (({}, 0.25), ({"velocities": still}, 0.15625),
                                   ({"velocities": still, "accelerations": still}, 0.103515625)):  # fmt: skip
        made = driver()
        made.accept(command([HOME, HOME + rise], (0.0, 1.0), **more))
        arm, _sent = run(made, 0.25)
        np.testing.assert_allclose(arm[-1] - HOME, rise * half_way_of_half, rtol=1e-9)


def test_the_arm_lags_by_the_time_that_is_asked_for():
    planned, asked = step()
    made = driver(driver_lag_s=0.04)
    made.accept(asked)
    arm, sent = run(made, planned.duration_s + 0.2)
    np.testing.assert_allclose(arm[4:], sent[:-4], atol=1e-12)


def test_an_arm_hangs_by_a_constant_or_by_its_load():
    sag = (0.0, 0.004, 0.0, 0.004, 0.0, 0.0, 0.0)
    made = driver(driver_sag_rad=sag)
    arm, _sent = run(made, 0.1)
    np.testing.assert_allclose(arm[-1], HOME, atol=1e-12)  # where it was put
    made.accept(command([HOME]))
    np.testing.assert_allclose(run(made, 1.1)[0][-1], HOME + sag, atol=1e-12)
    loaded = driver(driver_load_kg=1.0, driver_stiffness_nm_rad=1500.0)
    loaded.accept(command([HOME]))
    arm, _sent = run(loaded, 1.1)
    height = [STEPPER.kinematics.forward(q)[0][2] for q in (HOME, arm[-1])]
    # The load's torque about A2 is 9.81 N times the reach of 0.55 m.
    assert abs(arm[-1] - HOME)[1] == pytest.approx(9.81 * 0.55 / 1500, rel=0.05)
    assert height[1] < height[0] - 1e-3


def test_a_driver_that_adds_a_share_of_the_way_arrives_in_spite_of_sag():
    made = driver(driver_follow=0.1, driver_sag_rad=(0.0, 0.004, 0.0, 0.004, 0.0, 0.0, 0.0))
    made.accept(command([HOME + 0.05]))
    arm, _sent = run(made, 2.0)
    np.testing.assert_allclose(arm[-1], HOME + 0.05, atol=1e-5)
    assert np.abs(arm[50] - HOME - 0.05 * 0.52).max() > 3e-3  # behind on its way


def test_behind_an_emergency_stop_the_controller_goes_on_and_the_release_moves_the_arm():
    planned, asked = step(0.08)
    made = driver()
    made.accept(asked)
    arm, _sent = run(made, planned.duration_s / 2)
    made.set_emergency_stop(True)
    stands, sent = run(made, 0.5, q=arm[-1])
    assert np.abs(stands - arm[-1]).max() == 0 and np.abs(sent[-1] - arm[-1]).max() > 0.03
    made.set_emergency_stop(False)
    released, _sent = run(made, PERIOD_S, q=stands[-1])
    assert np.abs(released[0] - stands[-1]).max() > 0.03


def test_a_deactivated_controller_holds_and_forgets():
    made = driver()
    planned, asked = step()
    made.accept(asked)
    run(made, planned.duration_s / 2)
    held = made.command
    made.set_active(False)
    made.accept(step()[1])
    np.testing.assert_array_equal(run(made, 0.3)[1][-1], held)
    made.set_active(True)
    np.testing.assert_array_equal(run(made, 0.3)[1][-1], held)
    assert made.motion_left_s == 0


def test_joint_states_come_late_in_order_with_the_stamps_and_velocities_that_are_asked_for():
    made = driver(driver_delay_s=0.05, driver_jitter_s=0.03, driver_noise_rad=1e-4)
    said = []
    for tick in range(200):
        stamp_ns = tick * 10_000_000
        for report in made.report(HOME, np.zeros(7), stamp_ns, tick * 0.01):
            said.append((stamp_ns - report.stamp_ns, report))
    ages = np.array([age for age, _ in said]) * 1e-9
    assert ages.min() >= 0.05 - 1e-9 and ages.max() <= 0.09 and ages.std() > 2e-3
    assert (np.diff([report.stamp_ns for _, report in said]) > 0).all()
    assert 5e-5 < np.std([report.positions - HOME for _, report in said]) < 2e-4
    (late,) = driver(driver_stamps="late", driver_stamp_late_s=0.8, driver_velocities="empty").report(
        HOME, np.zeros(7), 10**9, 1.0
    )
    assert late.stamp_ns == 200_000_000 and len(late.velocities) == 0
    (nothing,) = driver(driver_stamps="zero", driver_velocities="nan").report(HOME, np.ones(7), 10**9, 1.0)
    assert nothing.stamp_ns == 0 and np.isnan(nothing.velocities).all()

"""The controller before a driver that lags, sags, stops and is somebody else's, without ROS, on a clock of its own."""

import math

import numpy as np
import pytest

from am_ros.action import CartesianAction
from am_ros.control.controller import ControllerConfig
from am_ros.control.guard import GuardConfig
from am_ros.control.limits import MotionLimits
from am_ros.faults.following import Cell, study
from am_ros.sim.driver import CONTROLLER, DriverConfig
from am_ros.sim.trajectory_controller import TrajectoryCommand

SLOW = ControllerConfig(limits=MotionLimits(velocity_scale=0.3), guard=GuardConfig(reduced=True))
FAST = ControllerConfig()
LEFT, RIGHT = CartesianAction((0.0, 0.05, 0.0)), CartesianAction((0.0, -0.05, 0.0))
FAR = CartesianAction((0.0, 0.08, 0.0))


def cell(config=SLOW, seed=0, **driver):
    """A controller and its driver, running for a second."""
    values = {"driver": CONTROLLER, "driver_lag_s": 0.03, "driver_from_desired": True, **driver}
    made = Cell(config, DriverConfig(**values), seed)
    made.run(1.0)
    return made


def sag(a2_rad, a4_rad):
    """As the driver's parameter."""
    return (0.0, -a2_rad, 0.0, -a4_rad, 0.0, 0.0, 0.0)


def start(here, action, seconds):
    """Begin a step and let that time pass."""
    here.ended = None
    here.steps.begin("operator", here.steps.plan(action).result(), None, here._on_end)
    here.run(seconds)


def reason(here, action, cancel_after_s=math.inf):
    """How a step ended: its end and the name of the reason."""
    end, why = here.step(action, cancel_after_s)
    return end, ": ".join(why.split(": ")[: 2 if why.startswith("protective_stop: ") else 1])


# -- where a step begins -----------------------------------------------------------------------------------------------


def test_an_arm_that_hangs_below_its_command_does_not_sink_with_every_step():
    here = cell(driver_sag_rad=sag(0.004, 0.004))
    before = here.tool()
    for _ in range(10):
        assert here.step(LEFT) == here.step(RIGHT) == ("DONE", "")
    assert np.abs(here.tool() - before).max() < 3e-3
    assert here.said == ["the step begins at the measured joint angles: no step since the start"]


def test_an_arm_that_hangs_too_far_is_named_and_then_refused_and_nothing_drifts():
    here = cell(driver_sag_rad=sag(0.025, 0.025))
    assert reason(here, LEFT) == ("STALLED", "state_offset")
    end, why = here.step(LEFT)
    assert end == "REFUSED" and why.startswith("state_offset: joint_a2 is -0.025 rad from where it was told to be, ")
    told = here.driver.command
    here.steps.forget("the controller was activated")
    here.driver.config = DriverConfig(driver=CONTROLLER)  # mended
    here.run(1.0)
    assert here.step(LEFT) == ("DONE", "") and not np.array_equal(told, here.driver.command)


@pytest.mark.parametrize("follow", [1.0, 0.3])
def test_random_steps_and_cancels_stay_within_every_limit_and_end_where_they_add_up(follow):
    here = cell(FAST, driver_lag_s=0.04, driver_sag_rad=sag(0.004, 0.004) if follow == 1 else sag(0, 0),
                driver_follow=follow)  # fmt: skip
    result = study(here, 60, 0.4)
    assert result.velocity <= 1.0 and result.acceleration <= 1.2, result
    assert result.tool_off_mm < 3.0 and result.cancelled > 5, result
    assert set(result.ended) <= {"DONE", "STOPPED", "joint_limit", "workspace_limit"}, result  # and never not_at_rest


@pytest.mark.parametrize("from_desired", [False, True])
def test_no_command_jumps_where_trajectories_reach_the_driver_a_tick_late(from_desired):
    settings = DriverConfig(driver=CONTROLLER, driver_lag_s=0.04, driver_from_desired=from_desired)
    config = ControllerConfig(limits=MotionLimits(velocity_scale=0.9))
    result = study(Cell(config, settings, latency_s=(0.0005, 0.014)), 40, 0.5)
    assert result.velocity <= 0.92 and result.acceleration <= 1.05, result
    assert result.tool_off_mm < 2.0 and result.cancelled > 5, result


def test_an_arm_that_is_moved_by_hand_is_taken_where_it_stands_and_that_is_said():
    here = cell()
    assert here.step(LEFT) == ("DONE", "")
    goal = here.kinematics.home((0.55, 0.05, 0.25))
    way = iter(np.linspace(here.q, goal, 200))
    here.contact = lambda q: next(way, goal)
    here.run(0.5)
    end, why = here.step(LEFT)
    assert end == "REFUSED" and why.startswith("foreign_motion: joint_a") and "no step is under way" in why
    here.run(2.5)
    here.contact = lambda q: q
    here.driver.reset(goal)
    before = here.tool()
    assert here.step(LEFT) == ("DONE", "")
    assert "the next step will begin at the measured joint angles: the arm was moved by" in here.said[-2]
    assert np.allclose(here.tool() - before, [0, 0.05, 0], atol=1e-3)


def test_contact_ends_a_step_and_the_command_is_led_back_to_the_arm():
    here = cell()
    first = here.q[0]
    here.contact = lambda q: np.append(min(q[0], first + 0.06), q[1:])
    assert reason(here, FAR) == ("STALLED", "stalled")
    assert np.abs(here.driver.command - here.q).max() < 1e-3 and here.rates()[1] <= 1.2
    assert here.said[-1].startswith("the command is led to the arm, which stands 0.0")
    assert here.step(RIGHT) == ("DONE", "")


# -- brakes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("from_desired", [True, False])
@pytest.mark.parametrize("config", [SLOW, FAST])
def test_the_command_never_steps_back_when_it_is_braked(config, from_desired):
    for k in range(12):
        here = cell(config, seed=k, driver_from_desired=from_desired)
        assert here.step(FAR, 0.15 + 0.03 * k)[0] in ("STOPPED", "DONE")
        tool = [here.kinematics.forward(q)[0][1] for q in here.commands]
        assert np.diff(tool).min() > -1e-6  # along its own way
        velocity, acceleration = here.rates()
        assert velocity <= 1.0 and acceleration <= 1.2


def test_a_brake_without_joint_states_is_as_smooth():
    here = cell(FAST)
    start(here, FAR, 0.25)
    here.silent = True
    here.run(1.0)
    assert here.ended[1].startswith("protective_stop: joint_states_stale")
    assert here.rates()[1] <= 1.2
    here.silent = False
    here.run(0.5)
    here.reset()
    assert here.step(RIGHT) == ("DONE", "")


def test_a_cancelled_step_ends_when_the_arm_stands_and_the_next_one_may_come_at_once():
    here = cell(FAST, driver_lag_s=0.1)
    for k in range(20):
        end, _ = here.step(LEFT if k % 2 else RIGHT, 0.05 + 0.02 * k)
        assert end in ("STOPPED", "DONE") and np.abs(here.qd).max() < 0.05, k


# -- an arm that does not move, and one that others move ---------------------------------------------------------------


def stop_of(here, how):
    """Emergency stop, or a controller that is deactivated; returns what releases it."""
    if how == "estop":
        here.driver.set_emergency_stop(True)
        return lambda: here.driver.set_emergency_stop(False)
    here.driver.set_active(False)
    return lambda: here.driver.set_active(True)


@pytest.mark.parametrize("how", ["estop", "inactive"])
def test_an_arm_that_does_not_move_at_all_is_a_protective_stop_and_nothing_waits_for_the_release(how):
    here = cell()
    assert here.step(LEFT) == ("DONE", "")
    release, began_s = stop_of(here, how), here.now_s
    assert reason(here, RIGHT) == ("STOPPED", "protective_stop: no_motion")
    assert here.now_s - began_s < 2.0
    assert reason(here, RIGHT) == ("REFUSED", "protective_stop: call ~/reset first (no_motion")
    stood = here.q
    release()
    here.run(1.0)
    assert np.abs(here.q - stood).max() < 2e-3
    here.reset()
    assert here.step(RIGHT) == ("DONE", "")


@pytest.mark.parametrize("pressed_s", [0.1, 0.3, 0.5])
def test_an_emergency_stop_in_mid_motion_ends_that_step_and_the_next_one_latches(pressed_s):
    here = cell()
    start(here, FAR, pressed_s)
    release = stop_of(here, "estop")
    here.run(3.0)
    assert here.ended[0].name in ("STALLED", "STOPPED")
    if not here.safety.stop.cause:
        assert reason(here, FAR) == ("STOPPED", "protective_stop: no_motion")
    stood = here.q
    release()
    here.run(0.5)
    assert np.abs(here.q - stood).max() < 5e-3


def test_a_short_step_of_a_dead_arm_is_not_done():
    here = cell()
    here.driver.set_emergency_stop(True)
    assert reason(here, CartesianAction((0.0, 0.006, 0.0))) == ("STOPPED", "protective_stop: no_motion")


def test_another_program_that_moves_the_arm_in_mid_motion_is_named_within_a_third_of_a_second():
    here = cell()
    start(here, FAR, 0.2)
    q, there = here.q, here.kinematics.inverse((0.55, -0.2, 0.08), 0.0, here.q)
    here.driver.accept(
        TrajectoryCommand(here.config.joint_names, (0.05, 2.0), (tuple(q), tuple(there)), ((0.0,) * 7,) * 2, ((),) * 2)
    )
    began_s = here.now_s
    while here.steps.moving:
        here.spin()
    assert here.now_s - began_s < 0.35
    assert here.safety.stop.cause.startswith("foreign_motion: the arm moves at ")


# -- what drivers say --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "driver",
    [
        {},
        {"driver_velocities": "nan"},
        {"driver_velocities": "empty", "driver_noise_rad": 1e-4},
        {"driver_velocities": "nan", "driver_noise_rad": 2e-5, "driver_jitter_s": 0.003},
        {"driver_velocities": "nan", "driver_noise_rad": 2e-5, "driver_rate_hz": 500},
        {"driver_velocities": "nan", "driver_stamps": "zero"},
        {"driver_velocities": "zero"},
    ],
)
def test_steps_end_as_they_should_whatever_a_driver_says_of_velocities(driver):
    here = cell(**driver)
    for k in range(5):
        began_s = here.now_s
        assert here.step(LEFT if k % 2 else RIGHT) == ("DONE", ""), k
        assert here.now_s - began_s < 1.5
    notes = [note.partition(":")[0] for note in here.safety.state.notes()]
    assert ("velocities" in notes) == (driver.get("driver_velocities") == "zero")


def test_velocities_of_zero_are_named_with_what_they_hide():
    here = cell(driver_velocities="zero")
    here.step(FAR)
    note = here.safety.state.velocities.fault
    assert note.startswith("velocities: joint_a") and "say +0.000 rad" in note
    assert here.safety.state.qd_measured is None


@pytest.mark.parametrize("stamps, said", [("zero", "carry no stamp"), ("late", "are 0.80 s behind our clock")])
def test_stamps_that_mean_nothing_give_way_to_the_time_of_reception(stamps, said):
    here = cell(driver_stamps=stamps)
    assert here.step(LEFT) == ("DONE", "")
    assert abs(here.safety.state.stamp_ns * 1e-9 - here.now_s) < 0.01
    assert said in here.safety.state.stamps.fault
    assert np.abs(here.qd).max() < 0.01  # a picture that is taken later shows an arm at rest

"""What plans a step and moves the arm, without ROS: the planner's process, what it may not get away with, and Servo."""

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pinocchio as pin
import pytest

from am_ros.action import CartesianAction
from am_ros.configuration import from_dict
from am_ros.control.backends import BackendConfig, moveit
from am_ros.control.backends.moveit import MoveItBackend
from am_ros.control.backends.planner_config import PlannerConfig
from am_ros.control.backends.servo import ServoConfig, ServoStream, tool_measure
from am_ros.control.backends.servo_settings import ServoSettings
from am_ros.control.backends.trajectory import TrajectoryBackend
from am_ros.control.braking import brake_along
from am_ros.control.controller import ControllerConfig, make_guard, make_stepper
from am_ros.control.limits import MotionLimits
from am_ros.control.motion import End, MotionMonitor
from am_ros.control.tool import tcp_in_tip, tip_of
from am_ros.errors import AmRosError

STEP = CartesianAction((0.05, -0.03, -0.04), 0.3)
PLANNER = PlannerConfig(planner="pinocchio", planner_timeout_s=1.0, planner_start_s=20.0)
CONFIG = ControllerConfig(backend=BackendConfig("moveit", PLANNER))
STEPPER = make_stepper(CONFIG)
GUARD = make_guard(CONFIG, STEPPER)
TCP = tcp_in_tip(PLANNER.tip_to_tcp)
HOME = STEPPER.kinematics.home((0.55, 0.0, 0.15))
ACCELERATION = np.array(MotionLimits().acceleration_rad_s2)


@pytest.fixture
def fault(tmp_path, monkeypatch):
    """A function that makes the planner's process fail in some way from now on; started processes read it too."""
    file = tmp_path / "fault"
    monkeypatch.setenv("CROOKED_PLANNER", str(file))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setitem(moveit.MODULES, "pinocchio", "crooked_planner")
    return file.write_text


@pytest.fixture
def backend():
    """Starts a MoveItBackend; the trajectories that it commands are in `followed`."""
    started = []

    def start(config=CONFIG):
        started.append(MoveItBackend(config, make_stepper(config), [].append, "/joint_states"))
        return started[-1]

    yield start
    for each in started:
        each.close()


def plan(backend, q=HOME, action=STEP):
    return backend.plan(q, action).result(10)


def refusal(backend, q=HOME, action=STEP) -> str:
    with pytest.raises(AmRosError) as error:
        plan(backend, q, action)
    return str(error.value)


def wait_for_planner(backend, timeout_s=60.0):
    """The plan after a restart; meanwhile it is said that the planner starts."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        try:
            return plan(backend)
        except AmRosError as error:
            assert str(error) == "backend_gone: the planner is still starting"
            time.sleep(0.05)
    pytest.fail("the planner was not started again")


def test_the_planners_process_plans_the_same_line_as_the_stepper(backend):
    there = backend()
    assert there.name == "pinocchio, iiwa14"
    ours = TrajectoryBackend(STEPPER, CONFIG.tolerance, CONFIG.joint_names, [].append)
    for action in (STEP, CartesianAction((0.0, 0.08, 0.0)), CartesianAction(rotation_z_rad=-0.5)):
        theirs, expected = plan(there, action=action), plan(ours, action=action)
        assert np.allclose(theirs.positions, expected.positions, atol=1e-4)
        assert theirs.duration_s == pytest.approx(expected.duration_s, rel=1e-3)
        GUARD.check(theirs, HOME)
    assert np.array_equal(plan(there, action=CartesianAction(terminate=True)).positions, [HOME, HOME])
    assert refusal(there, action=CartesianAction((0.0, 0.0, -0.2))).startswith("action_too_large: |z|")
    low = STEPPER.kinematics.home((0.55, 0.0, 0.05))
    assert refusal(there, low, CartesianAction((0.0, 0.0, -0.06))).startswith("workspace_limit: z = -0.010 m")


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("dies", "backend_gone: the planner was ended by SIGKILL"),
        ("hangs", "backend_gone: the planner hung for 1 s and was killed"),
        ("babbles", "backend_gone: planner_malformed: the planner answered 'here is your plan"),
    ],
)
@pytest.mark.needs_quiet(0.3)
def test_a_planner_that_dies_hangs_or_babbles_costs_a_step_and_is_started_again(fault, backend, kind, sentence):
    there = backend()
    plan(there)
    fault(kind)
    began_s = time.monotonic()
    assert refusal(there).startswith(sentence)
    assert time.monotonic() - began_s < 3.0
    fault("")
    again = refusal(there)
    assert again.startswith(sentence) and again.endswith("; it is started again")
    assert wait_for_planner(there).positions.shape == (7, 7)


def test_an_answer_that_comes_too_late_is_not_taken_for_another_one(fault, backend):
    there = backend()
    expected = plan(there)
    fault("late")
    assert np.array_equal(plan(there).positions, expected.positions)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("nan", "trajectory_not_finite: "),
        ("short", "planner_elsewhere: the plan ends "),
    ],
)
def test_a_plan_that_must_not_be_executed_is_refused_by_name(fault, backend, kind, sentence):
    there = backend()
    fault(kind)
    with pytest.raises(AmRosError, match=sentence):
        GUARD.check(plan(there), HOME)


def test_a_plan_that_is_faster_than_our_limits_is_slowed(fault, backend):
    there = backend()
    expected = plan(there)
    fault("fast")
    slowed = plan(there)
    assert np.array_equal(slowed.positions, expected.positions)
    assert slowed.duration_s == pytest.approx(expected.duration_s, rel=1e-6)
    GUARD.check(slowed, HOME)


def test_a_planner_that_speaks_of_another_tool_is_found_out(backend):
    longer = replace(CONFIG, tool_length_m=0.18)
    sentence = r"tip_to_tcp: is \[0.0, 0.0, 0.14, .*but the description \(tool_length_m\) has \[0.0, 0.0, 0.18, "
    with pytest.raises(AmRosError, match=sentence):
        make_stepper(longer)
    fits = replace(PLANNER, tip_to_tcp=(0.0, 0.0, 0.18, 0.0, 0.0, np.pi))
    there = backend(replace(longer, backend=BackendConfig("moveit", fits)))
    there._kinematics = STEPPER.kinematics  # as if the other program's description were 4 cm shorter
    assert "beside the goal (do planner_tip and tip_to_tcp fit the tool?)" in refusal(there)


def test_a_planner_that_does_not_start_says_why(fault):
    fault("silent")
    slow = replace(CONFIG, backend=replace(CONFIG.backend, planner=replace(PLANNER, planner_start_s=0.5)))
    with pytest.raises(AmRosError, match="backend_gone: the planner was not ready within 0.5 s"):
        MoveItBackend(slow, STEPPER, [].append, "/joint_states")
    real = replace(CONFIG, backend=replace(CONFIG.backend, planner=replace(PLANNER, planner="moveit")))
    with pytest.raises(AmRosError, match="moveit_py is not installed: apt install ros-jazzy-moveit-py"):
        MoveItBackend(real, STEPPER, [].append, "/joint_states")


def test_the_tool_is_where_the_description_has_it_beyond_flange_and_extension():
    for extension in (0.0, 0.026):
        kinematics = make_stepper(replace(CONFIG, flange_extension_m=extension)).kinematics
        position, _ = tip_of(*kinematics.forward(np.zeros(7)), TCP)
        assert position == pytest.approx([0, 0, 0.36 + 0.42 + 0.40 + 0.126 + extension], abs=1e-9)
    longer = make_stepper(ControllerConfig(tool_length_m=0.2)).kinematics
    assert longer.forward(HOME)[0][2] == pytest.approx(STEPPER.kinematics.forward(HOME)[0][2] - 0.06, abs=1e-6)
    with pytest.raises(AmRosError, match="parameter tip_to_tcp: expected x, y, z, roll, pitch, yaw, got 3 numbers"):
        tcp_in_tip((0.0, 0.0, 0.1))


# -- Servo -------------------------------------------------------------------------------------------------------------


class IdealServo:
    """Moves the joints as Servo does with a twist of the tip: by the pseudo-inverse, every 20 ms."""

    def __init__(self, stream, q, drift=(0.0, 0.0, 0.0)):
        self.stream, self.q, self.drift, self.speeds = stream, q.copy(), np.array(drift), []

    def run(self, now_s, seconds):
        for t in np.arange(now_s, now_s + seconds, 0.02):
            command = self.stream.command(self.q, t)
            if command is None:
                continue
            to_tip = STEPPER.kinematics.forward(self.q)[1] @ TCP.inverse().translation
            linear = command.linear - np.cross(command.angular, to_tip)  # of the tool, beyond the tip
            self.speeds.append(np.linalg.norm(linear))
            twist = np.append(linear + self.drift, command.angular)
            self.q += np.linalg.pinv(STEPPER.kinematics.jacobian(self.q)) @ twist * 0.02
        return self.q


def servo_stream(speed_m_s=0.25, **options):
    return ServoStream(ServoConfig(**options), STEPPER.kinematics, TCP, speed_m_s, ACCELERATION)


def reference(action=STEP, velocity_scale=0.3):
    config = ControllerConfig(limits=MotionLimits(velocity_scale=velocity_scale))
    return make_stepper(config).plan(HOME, action)


def test_servo_is_led_to_the_goal_though_it_strays():
    line, stream = reference(), servo_stream()
    stream.begin(line, 100.0)
    servo = IdealServo(stream, HOME, drift=(0.01, -0.01, 0.0))
    servo.run(100.0, line.duration_s + 0.1)
    servo.drift[:] = 0
    end = servo.run(100.0 + line.duration_s + 0.1, 2.0)
    measure = tool_measure(STEPPER.kinematics, HOME)
    assert np.abs(measure(end) - measure(line.positions[-1])).max() < 1e-3
    assert np.abs(end - line.positions[-1]).max() > 0.01  # in joint angles of its own
    tolerance = replace(CONFIG.tolerance, position_tolerance_rad=0.003)
    monitor = MotionMonitor(HOME, line.positions[-1], line.duration_s, None, tolerance, "xyzt", measure, "m")
    assert monitor.update(0.0, HOME, np.zeros(7), 1.0) is None
    monitor.update(3.0, end, np.zeros(7), 1.0)
    assert monitor.update(4.0, end, np.zeros(7), 1.0) == (End.DONE, "")


def test_an_arm_that_is_as_late_as_servo_plans_it_is_not_driven_beyond_its_line():
    stream = servo_stream(1.0, servo_gain_1_s=5.0)
    line = reference(CartesianAction((0.0, 0.08, 0.0)), velocity_scale=0.5)
    line = stream.fit(line, ServoSettings(latency_s=0.1))
    stream.begin(line, 0.0)
    fastest = 0.0
    for t in np.arange(0.0, line.duration_s, 0.01):
        own = np.linalg.norm((STEPPER.kinematics.jacobian(line.at(t)[0]) @ line.at(t)[1])[:3])
        sent = np.linalg.norm(stream.command(line.at(t - 0.1)[0], t).linear)
        assert sent == pytest.approx(own, abs=1e-6)
        fastest = max(fastest, own)
        if t > 0.2:
            assert stream.halted(4, "Close to a collision, decelerating", line.at(t - 0.1)[0], t) == ""
    assert fastest > 0.2  # so that the arm is 20 mm late


def test_servo_is_sent_no_faster_than_allowed_whatever_it_has_to_make_up():
    stream = servo_stream(speed_m_s=0.1, servo_gain_1_s=20.0)
    stream.begin(reference(CartesianAction((0.08, 0.08, 0.08)), velocity_scale=0.9), 0.0)
    servo = IdealServo(stream, HOME)
    servo.run(0.0, 3.0)
    assert 0.09 < max(servo.speeds) <= 0.1 + 1e-9


def test_servo_is_led_to_rest_within_the_joints_acceleration_and_then_told_nothing():
    stream, line = servo_stream(servo_halt_s=0.3), reference(velocity_scale=0.9)
    assert stream.command(HOME, 0.0) is None
    stream.begin(line, 0.0)
    middle_s = line.duration_s / 2
    q, qd = line.at(middle_s)
    assert np.linalg.norm(stream.command(q, middle_s).linear) > 0.1 and stream.moving
    stream.halt(q, qd, brake_along(line, middle_s, ACCELERATION), middle_s)
    assert not stream.moving
    twists = [stream.command(q, middle_s + t) for t in np.arange(0.0, 0.5, 0.01)]
    braking = [np.append(c.linear, c.angular) for c in twists if c]
    tip_twist = np.linalg.norm(braking, axis=1)
    assert (np.diff(tip_twist) <= 1e-12).all() and not tip_twist[-25:].any()
    pull = np.linalg.pinv(STEPPER.kinematics.jacobian(q)) @ np.diff(braking, axis=0).T / 0.01
    assert 0.3 < (np.abs(pull).max(axis=1) / ACCELERATION).max() < 1.0
    assert not stream.braking and stream.command(q, middle_s + 1.0) is None


def test_a_command_that_comes_late_while_servo_is_led_to_rest_is_no_jerk():
    stream, line = servo_stream(), reference(velocity_scale=0.9)
    middle_s = line.duration_s / 2
    q, qd = line.at(middle_s)
    stream.begin(line, 0.0)
    speeds = [np.linalg.norm(stream.command(q, middle_s).linear)]
    stream.halt(q, qd, brake_along(line, middle_s, ACCELERATION), middle_s)
    for late_s in (0.01, 0.02, 0.12, 0.13, 0.3, 0.31):  # a busy machine
        speeds.append(np.linalg.norm(stream.command(q, middle_s + late_s).linear))
    assert -min(np.diff(speeds)) < 0.25 * speeds[0] and stream.braking


def test_an_arm_that_stands_is_told_to_stay_where_it_is():
    for command in ("twist", "pose"):
        stream, line = servo_stream(servo_command=command), reference()
        stream.begin(line, 0.0)
        stream.command(HOME, 0.5)
        # Held up by something, while the line went on.
        stream.halt(HOME, np.zeros(7), brake_along(line, 0.5, ACCELERATION), 0.5)
        held = stream.command(HOME, 0.5)
        if command == "twist":
            assert not held.linear.any() and not held.angular.any()
        else:
            assert held.position_m == pytest.approx(tip_of(*STEPPER.kinematics.forward(HOME), TCP)[0])


def test_servo_in_pose_mode_gets_the_line_of_its_own_tip_and_comes_to_rest_on_it():
    stream, line = servo_stream(servo_command="pose"), reference(velocity_scale=0.9)

    def tool(command):
        return (pin.XYZQUATToSE3(np.array([*command.position_m, *command.quaternion])) * TCP).translation

    stream.begin(line, 0.0)
    for share in (0.0, 0.5, 1.0):
        command = stream.command(HOME, share * line.duration_s)
        expected = STEPPER.kinematics.forward(line.at(share * line.duration_s)[0])[0]
        assert np.allclose(tool(command), expected, atol=1e-9)
        assert command.position_m[2] == pytest.approx(expected[2] + 0.14, abs=1e-6)
    middle_s = line.duration_s / 2
    stream.halt(*line.at(middle_s - 0.03), brake_along(line, middle_s, ACCELERATION), middle_s)  # the arm lags
    goal = STEPPER.kinematics.forward(line.positions[-1])[0]
    left = [np.linalg.norm(goal - tool(stream.command(HOME, middle_s + t))) for t in np.arange(0.0, 0.4, 0.01)]
    assert (np.diff(left) <= 1e-9).all()  # never back, though the arm lags
    speed = -np.diff(left) / 0.01
    assert speed[0] > 0.1 and not speed[-5:].any() and left[-1] > 0.01


def test_a_motion_that_has_arrived_stays_at_its_end_and_one_that_has_not_goes_no_further():
    line = reference()
    for elapsed_s, further in ((line.duration_s + 0.5, 0.0), (line.duration_s / 2, 0.05)):
        stream = servo_stream(servo_command="pose")
        stream.begin(line, 0.0)
        stream.finish(elapsed_s)
        held = stream.command(HOME, elapsed_s + 0.29)
        ends = tip_of(*STEPPER.kinematics.forward(line.at(elapsed_s)[0]), TCP)[0]
        assert np.linalg.norm(np.subtract(held.position_m, ends)) <= further


def test_a_line_is_slowed_to_the_speed_that_servo_takes():
    for action in (CartesianAction((0.08, 0.08, 0.0)), CartesianAction(rotation_z_rad=0.5)):
        line, stream = reference(action, velocity_scale=0.9), servo_stream(speed_m_s=1.0)
        assert stream.fit(line, ServoSettings()).duration_s <= max(line.duration_s, 0.5 / 0.9 * 2)
        slow = stream.fit(line, ServoSettings(speed_m_s=0.1, turn_rad_s=0.2))
        assert np.array_equal(slow.positions, line.positions) and slow.duration_s > 2 * line.duration_s
        stream.begin(slow, 0.0)
        for t in np.linspace(0, slow.duration_s, 80):
            command = stream.command(slow.at(t)[0], t)
            assert np.linalg.norm(command.linear) < 0.095 and np.linalg.norm(command.angular) < 0.19


def test_a_status_at_which_servo_does_not_go_on_is_named_in_motion_only():
    stream, line = servo_stream(), reference()
    stop = "Collision detected, emergency stop"
    assert stream.halted(5, stop, HOME, 0.0) == ""
    stream.begin(line, 10.0)
    assert stream.halted(5, "of the motion before", HOME, 10.05) == ""
    there = line.at(0.5)[0]
    assert stream.halted(1, "slower near a singularity", there, 10.5) == ""
    assert stream.halted(5, stop, there, 10.5) == f"servo_halted: {stop}"
    assert stream.halted(2, "", there, 10.5) == "servo_halted: near a singularity"
    late_s = 10.0 + line.duration_s
    assert stream.halted(4, "Close to a collision, decelerating", HOME, late_s) == (
        "servo_halted: Close to a collision, decelerating; the tool is 71 mm behind its line"
    )


def test_a_single_cycle_without_joint_angles_ends_no_motion():
    stream = servo_stream()
    stream.begin(reference(), 0.0)
    codes = [-1, 0, -1, -1, 0, *[-1] * 30]
    said = [stream.halted(code, "Invalid", HOME, 0.2 + 0.01 * k) for k, code in enumerate(codes)]
    first = next(k for k, text in enumerate(said) if text)
    assert first == 5 + 21 and said[first].startswith("servo_halted: Servo takes the command for invalid")


def test_turns_are_measured_across_the_seam_of_the_angle():
    turned, beyond = HOME.copy(), HOME.copy()
    turned[6] = beyond[6] = -3.0
    beyond[0] = 0.4
    assert STEPPER.kinematics.pose(turned)[1] > 0 > STEPPER.kinematics.pose(beyond)[1]
    assert tool_measure(STEPPER.kinematics, turned)(beyond)[3] == pytest.approx(0.3 * 0.4, abs=1e-6)


def test_a_backend_is_chosen_by_name():
    with pytest.raises(AmRosError, match="parameter backend: 'magic' is not one of trajectory, moveit, servo"):
        from_dict(BackendConfig, {"backend": "magic"})

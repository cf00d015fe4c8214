"""What is watched while the arm moves, who may command it, and the latch that a fault ends in."""

import numpy as np
import pytest

from am_ros.action import CartesianAction
from am_ros.control.command import CommandConfig, Heartbeats, Lease, check_age, commander_name
from am_ros.control.controller import ControllerConfig, make_stepper
from am_ros.control.robot import robot_model
from am_ros.control.supervision import Supervision
from am_ros.control.watch import ArmWatch, PathWatch, ProtectiveStop, SuspensionWatch, WatchConfig
from am_ros.errors import AmRosError

CONFIG = ControllerConfig()
STEPPER = make_stepper(CONFIG)
FACTS = robot_model("iiwa14")
HOME = STEPPER.kinematics.home((0.55, 0.0, 0.15))
STEP = STEPPER.plan(HOME, CartesianAction((0.0, 0.06, 0.0)))
JOINT_4, STILL = np.eye(7)[3], np.zeros(7)
WATCH = WatchConfig()


def test_a_joint_beyond_its_limit_is_named():
    watch = ArmWatch(STEPPER.kinematics, WATCH, ["one", "two", "three", "four", "five", "six", "seven"])
    limit = FACTS.upper_rad[3]
    assert watch.fault(HOME, STILL, 0.0) == watch.fault(JOINT_4 * (limit + 0.009), STILL, 0.0) == ""
    assert watch.fault(JOINT_4 * (limit + 0.02), STILL, 0.0) == "joint_position: four is at 2.114 rad, limit 2.094 rad"
    assert watch.fault(-JOINT_4 * (limit + 0.02), None, 0.0).endswith("is at -2.114 rad, limit -2.094 rad")


def test_a_joint_that_stays_too_fast_is_named_and_a_short_blow_is_not():
    watch = ArmWatch(STEPPER.kinematics, WATCH)
    fast = JOINT_4 * FACTS.velocity_rad_s[3] * 1.25
    assert watch.fault(HOME, fast, 1.0) == watch.fault(HOME, fast, 1.09) == watch.fault(HOME, STILL, 1.1) == ""
    assert watch.fault(HOME, -fast, 2.0) == watch.fault(HOME, None, 2.05) == watch.fault(HOME, -fast, 2.1) == ""
    assert watch.fault(HOME, -fast, 2.21) == "joint_velocity: joint_a4 moves at 1.64 rad/s, limit 1.31 rad/s"


def test_a_jump_is_what_the_time_between_two_joint_states_cannot_explain():
    watch = ArmWatch(STEPPER.kinematics, WATCH)
    assert watch.jump(HOME, HOME + 0.3 * JOINT_4, 0.01) == ""  # a simulator that catches up
    jump = watch.jump(HOME, HOME - 0.5 * JOINT_4, 0.01)
    assert jump == "joint_jump: joint_a4 turned by 0.50 rad between two joint states"
    assert watch.jump(HOME, HOME - 0.5 * JOINT_4, 0.3) == ""


def test_an_arm_may_be_anywhere_on_the_path_at_any_time_but_not_beside_it():
    watch = PathWatch(STEP, WATCH, FACTS.joint_names)
    for time_s in np.linspace(-0.1, 1.2, 14) * STEP.duration_s:
        q = STEP.at(time_s)[0]
        assert watch.fault(q) == watch.fault(q + 0.19 * JOINT_4) == ""
        assert watch.fault(q + 0.22 * JOINT_4).startswith("tracking_error: joint_a4 is 0.2")


def test_a_process_that_did_not_run_for_a_while_was_suspended():
    watch = SuspensionWatch(0.5)
    assert [watch.look(t) for t in (100.0, 100.02, 100.52, 103.0)] == [
        "", "", "", "suspended: the controller did not run for 2.5 s"
    ]  # fmt: skip
    assert watch.look(103.02) == ""


def test_the_first_cause_of_a_protective_stop_counts_until_it_is_gone():
    stop = ProtectiveStop()
    assert not stop.cause and stop.age_s(5.0) == 0
    assert stop.latch("joint_jump: far", 10.0) and not stop.latch("second_publisher: x", 11.0)
    assert stop.cause == "joint_jump: far" and stop.age_s(12.5) == 2.5 and stop.count == 1
    assert stop.reset("joint_position: joint_a1") == "joint_position: joint_a1" and stop.cause == "joint_jump: far"
    assert stop.reset("") == "" and not stop.cause
    assert stop.latch("another", 20.0) and stop.count == 2


def test_a_commander_holds_the_arm_until_a_while_after_its_last_step():
    lease = Lease(2.0)
    lease.check("policy", 0.0)
    assert lease.holder(0.0) == ""
    lease.take("policy")
    assert lease.holder(1e9) == "policy"  # as long as the step takes
    lease.ended(10.0)
    lease.check("policy", 10.5)
    with pytest.raises(AmRosError, match=r"^not_commander: policy holds the arm \(asked by expert\)$"):
        lease.check("expert", 11.9)
    lease.check("expert", 12.0)
    assert lease.holder(12.0) == ""


def test_a_commander_without_a_name_is_the_operator_and_a_name_is_short_and_printable():
    assert commander_name("") == "operator" and commander_name("/cell/policy server") == "/cell/policy server"
    for name in ("x" * 65, "a\nb", "\x00"):
        with pytest.raises(AmRosError, match="^commander_invalid: "):
            commander_name(name)


@pytest.mark.parametrize("age_s, when", [(2.14, "2.1 s ago"), (-3.0, "3.0 s in the future"), (1e6, "1000000.0 s ago")])
def test_a_step_decided_long_ago_or_in_the_future_is_stale(age_s, when):
    now_ns = 1_700_000_000_000_000_000
    with pytest.raises(AmRosError, match=f"^command_stale: decided {when}$"):
        check_age(now_ns - round(age_s * 1e9), now_ns, 1.0)


def test_a_fresh_step_or_one_without_stamp_is_not_stale():
    for decided_s in (0.0, 99.1, 100.0, 100.9):
        check_age(round(decided_s * 1e9), 100_000_000_000, 1.0)


def test_only_who_has_ever_sent_a_heartbeat_is_missed():
    hearts = Heartbeats(0.5)
    assert hearts.fault("operator", 0.0, 1e6) == ""
    hearts.beat("policy", 10.0)
    assert hearts.fault("policy", 9.9, 10.5) == ""
    assert hearts.fault("policy", 9.9, 10.7) == "commander_gone: policy was not heard for 0.7 s"
    assert hearts.fault("policy", 20.0, 20.4) == ""  # the step itself was a sign of life
    assert hearts.fault("policy", 20.0, 20.6).startswith("commander_gone")
    for number in range(3000):
        hearts.beat(f"made up {number}", 30.0 + number)
    # Names that somebody makes up do not fill the memory: the oldest are forgotten.
    assert hearts.fault("made up 0", 0.0, 1e6) == "" != hearts.fault("made up 2999", 0.0, 1e6)


class Arm:
    """A Supervision with a motion under way, and the joint states that it gets."""

    def __init__(self):
        self.safety = Supervision(CONFIG, STEPPER.kinematics)
        self.take(HOME, 0.0)
        self.safety.begin("policy", STEP, 0.0)

    def take(self, q, now_s, stamp_s=None, velocity=STILL):
        fingers = [0.045, 0.045]
        names = [*CONFIG.joint_names, *CONFIG.finger_names]
        stamp_ns = round((now_s if stamp_s is None else stamp_s) * 1e9)
        self.safety.take(names, [*q, *fingers], [*velocity, 0.0, 0.0], stamp_ns, now_s)
        return self.safety.fault(now_s)


def test_the_clock_tells_where_the_command_is_unless_the_arm_moves_in_another_time():
    arm, (late, late_velocity) = Arm(), STEP.at(0.16)
    arm.take(late, 0.2, velocity=late_velocity)
    assert arm.safety.path_time_s(0.2, 0.203, 0.2) == 0.2  # the lag of a driver
    assert arm.safety.path_time_s(0.2, 0.22, 0.2) == 0.2  # ticks that were late, and which the driver counts
    assert arm.safety.path_time_s(0.14, 0.16, 0.2) == 0.16  # ticks that were left out: no arm is before its command
    fast = STEP.at(0.18)
    arm.take(fast[0], 0.21, velocity=fast[1])
    assert arm.safety.path_time_s(0.08, 0.08, 0.21) == pytest.approx(0.18, abs=0.02)  # a simulator three times as fast
    arm.take(fast[0], 0.22)
    assert arm.safety.path_time_s(0.08, 0.08, 0.22) == 0.08  # an arm that stands tells nothing


def test_after_a_suspension_the_arm_is_held_where_it_is_by_then_and_not_where_it_was():
    arm = Arm()
    assert arm.safety.look(0.0, 0) == [] and not arm.safety.hold_now(0.0)
    assert arm.safety.look(2.0, 2_000_000_000) == ["suspended: the controller did not run for 2.0 s"]
    arm.take(STEP.at(0.1)[0], 2.001, stamp_s=0.1)  # from the queue
    assert not arm.safety.hold_now(2.001)
    arm.take(STEP.positions[-1], 2.002, stamp_s=2.001)
    assert arm.safety.hold_now(2.002) and not arm.safety.hold_now(2.003)
    assert arm.safety.suspensions == 1


def test_stamps_of_another_clock_do_not_keep_the_arm_from_being_held():
    arm = Arm()
    arm.safety.look(0.0, 0)
    arm.safety.look(2.0, 2_000_000_000)
    arm.take(HOME, 2.1, stamp_s=0.0)
    assert not arm.safety.hold_now(2.1) and arm.safety.hold_now(2.21)


def test_a_jump_of_the_clock_is_counted_and_disturbs_no_motion():
    arm = Arm()
    arm.safety.look(0.0, 1_000_000_000)
    events = arm.safety.look(0.02, 3_601_020_000_000)
    assert events == ["clock_jump: the ROS clock jumped by +3600.0 s"] and arm.safety.clock_jumps == 1
    assert arm.take(STEP.at(0.1)[0], 0.1, stamp_s=3601.1) == ""


def test_a_fault_of_one_motion_does_not_outlast_it_and_one_of_the_arm_does():
    arm = Arm()
    assert arm.take(HOME + 0.3 * JOINT_4, 0.01).startswith("tracking_error")
    arm.safety.end(0.02)
    assert arm.safety.fault(0.02) == "" and arm.safety.lease.holder(1.0) == "policy"
    assert arm.take(JOINT_4 * 2.2, 0.5).startswith("joint_position")
    arm.safety.end(0.6)
    assert arm.safety.fault(0.6).startswith("joint_position")
    assert arm.take(HOME, 0.61) == ""  # no motion: it may be anywhere, a simulator was reset


def test_a_commander_that_falls_silent_is_missed_in_its_motion_only():
    arm = Arm()
    arm.safety.heartbeats.beat("policy", 0.1)
    assert arm.safety.commander_fault(0.5) == "" and arm.safety.commander_fault(0.7).startswith("commander_gone")
    arm.safety.end(0.8)
    assert arm.safety.commander_fault(2.0) == ""


def test_a_step_is_admitted_by_stop_age_and_lease_in_this_order():
    arm, second = Arm(), 1_000_000_000
    safety = arm.safety
    safety.end(0.5)
    safety.admit("policy", 0, 1.0, 10 * second)
    safety.stop.latch("joint_jump: x", 1.0)
    with pytest.raises(AmRosError, match=r"^protective_stop: call ~/reset first \(joint_jump: x\)"):
        safety.admit("expert", 1, 1.0, 10 * second)
    safety.stop.reset("")
    with pytest.raises(AmRosError, match="^command_stale"):
        safety.admit("expert", 8 * second, 1.0, 10 * second)
    with pytest.raises(AmRosError, match="^not_commander"):
        safety.admit("expert", 10 * second, 1.0, 10 * second)
    safety.admit("expert", 10 * second, 0.5 + CommandConfig().lease_s, 10 * second)

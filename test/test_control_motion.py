"""Arrival and stall, judged from joint states as a driver delivers them."""

import numpy as np
import pytest

from am_ros.control.controller import ControllerConfig, make_stepper
from am_ros.control.joint_states import JointStateBuffer
from am_ros.control.motion import ArrivalTolerance, End, MotionMonitor
from am_ros.control.robot import robot_model
from am_ros.errors import AmRosError

NAMES = robot_model().joint_names
GOAL = np.array([0.1, 0, 0, -0.2, 0, 0.1, 0])
REST, FAST = np.zeros(7), np.full(7, 0.5)


def monitor(goal=GOAL, duration_s=0.4, gripper=None, **tolerance):
    return MotionMonitor(np.zeros(7), goal, duration_s, gripper, ArrivalTolerance(**tolerance), NAMES)


def feed(motion, seconds, q, qd, opening=1.0, start=0.0, rate=100):
    """Constant state for a time; returns (time, end) of the end or None."""
    for i in range(int(seconds * rate)):
        end = motion.update(start + i / rate, q, qd, opening)
        if end:
            return start + i / rate, end
    return None


def test_done_when_near_slow_and_the_gripper_still():
    motion = monitor()
    assert feed(motion, 0.4, GOAL / 2, FAST) is None and motion.fraction == pytest.approx(0.5)
    assert feed(motion, 0.1, GOAL, FAST, start=0.4) is None  # there, but still moving
    at, end = feed(motion, 1.0, GOAL + 0.001, REST, start=0.5)
    assert at == 0.5 and end == (End.DONE, "") and motion.fraction == 1.0


def test_a_fast_simulator_may_arrive_early_but_a_small_step_is_not_done_before_it_began():
    assert feed(monitor(gripper=1.0), 0.2, GOAL, REST)[1] == (End.DONE, "")
    tiny = monitor(goal=GOAL / 100, gripper=1.0)  # all of it within the tolerance
    assert tiny.update(0.0, np.zeros(7), REST, 1.0) is None
    assert tiny.update(0.1, GOAL / 200, REST + 0.02, 1.0) is None
    assert tiny.update(0.2, GOAL / 100, REST, 1.0) == (End.DONE, "")


def test_an_arm_pushed_aside_a_little_by_contact_has_arrived_once_it_rests():
    motion = monitor()
    feed(motion, 0.4, GOAL / 2, FAST)
    at, end = feed(motion, 5.0, GOAL + 0.005, REST, start=0.4)
    assert end == (End.DONE, "") and 0.49 <= at <= 0.52


def test_an_arm_that_stands_still_away_from_its_goal_has_stalled():
    motion = monitor()
    feed(motion, 0.3, GOAL / 2, FAST)
    at, (end, reason) = feed(motion, 5.0, GOAL / 2, REST, start=0.3)
    assert end == End.STALLED and 0.8 < at < 1.0
    assert reason == "stalled: joint_a4 is 0.1000 rad from its goal and the arm stands still (contact?)"


def test_a_slow_simulator_has_time():
    motion = monitor()
    for i in range(400):  # ten times slower than planned
        assert motion.update(i / 100, GOAL * i / 400, np.full(7, 0.02), 1.0) is None
    assert feed(motion, 1.0, GOAL, REST, start=4.0)[1] == (End.DONE, "")


def test_an_arm_that_never_comes_to_rest_reaches_the_time_limit():
    at, (end, reason) = feed(monitor(), 20.0, GOAL, FAST)
    assert end == End.STALLED and at == pytest.approx(7.0, abs=0.05) and reason.startswith("time_limit: after 7.0 s")


def test_a_gripper_that_holds_something_has_settled_when_it_stops():
    motion = monitor(gripper=0.0)
    openings = [max(0.55, 1 - i / 25) for i in range(200)]  # closes on a cube within 0.12 s
    ends = [motion.update(i / 100, GOAL, REST, opening) for i, opening in enumerate(openings)]
    first = next(i for i, end in enumerate(ends) if end)
    assert ends[first] == (End.DONE, "") and 36 <= first <= 40  # a quarter of a second after it stopped


def test_a_gripper_that_reaches_its_goal_needs_no_waiting():
    motion = monitor(gripper=0.0)
    assert motion.update(0.1, GOAL, REST, 0.5) is None
    assert motion.update(0.2, GOAL, REST, 0.01) == (End.DONE, "")


def buffer(**options):
    return JointStateBuffer(NAMES, ("left", "right"), (0.04, 0.0), options.get("timeout_s", 0.5))


def test_joint_states_are_mapped_by_name_in_any_order():
    state = buffer()
    names = ["right", *NAMES[::-1], "left", "wheel"]
    assert state.update(names, [0.01, *range(7), 0.03, 9.0], [0.0, *range(7), 0, 0], 5, now_s=1.0)
    assert state.q.tolist() == [6, 5, 4, 3, 2, 1, 0] and state.qd[0] == 6
    assert state.opening == pytest.approx(0.5) and state.stamp_ns == 5
    assert state.fault(1.4) is None
    assert state.fault(1.6) == "joint_states_stale: last arm state on joint_states is 0.6 s old"


def test_arm_and_gripper_may_come_in_messages_of_their_own():
    state = buffer()
    assert state.fault(0.0).startswith("joint_states_stale: joint_a1, ")
    assert state.update(NAMES, np.zeros(7), np.zeros(7), 0, now_s=0.0)
    assert state.fault(0.1) == "joint_states_stale: left, right never came on joint_states"
    assert not state.update(["left", "right"], [0.04, 0.04], [], 0, now_s=0.1)
    assert state.opening == 1.0 and state.fault(0.2) is None
    with pytest.raises(AmRosError, match="joint_states_stale: last arm state"):
        state.check(0.55)


def test_what_is_not_finite_or_incomplete_is_not_taken():
    state = buffer()
    state.update(NAMES, np.zeros(7), np.zeros(7), 0, now_s=0.0)
    assert not state.update(NAMES, [float("nan")] * 7, np.zeros(7), 1, now_s=0.4)
    assert not state.update(NAMES[:6], np.ones(6), np.ones(6), 1, now_s=0.4)
    assert not state.update(NAMES, [], [], 1, now_s=0.4)
    assert state.q.tolist() == [0] * 7 and "arm state" in state.fault(0.6)


def test_velocities_that_a_driver_leaves_out_are_differences():
    state = buffer()
    state.update(NAMES, np.zeros(7), [], 0, now_s=0.0)
    state.update(NAMES, np.full(7, 0.02), [], 10_000_000, now_s=0.01)
    assert np.allclose(state.qd, 2.0)


def test_a_real_cell_brings_its_own_description_and_names():
    from am_ros.control.robot import robot_description

    urdf = robot_description("iiwa7", prefix="lbr_")
    names = tuple("lbr_" + name for name in NAMES)
    stepper = make_stepper(ControllerConfig(robot_description=urdf, joint_names=names, tip_frame="lbr_tcp"))
    assert stepper.kinematics.joint_names == names
    # With our own description the names in messages may still be those of another driver.
    assert make_stepper(ControllerConfig(joint_names=names)).kinematics.joint_names == NAMES


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(joint_names=("a", "b")), "parameter joint_names: expected 7 names, got 2"),
        (dict(finger_names=()), "parameter finger_names: expected at least one name"),
        (dict(robot_description="<robot name='x'/>"), "robot description: "),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused_by_name(change, message):
    with pytest.raises(AmRosError, match="^" + message):
        make_stepper(ControllerConfig(**change))

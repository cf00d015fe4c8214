"""Jumps of the ROS clock, told from clocks that stand still or run at another rate."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from am_ros.clock import MAX_RATE, ClockWatch, SimulatedClock

START_NS = 1_700_000_000_000_000_000


def jumps(steps, watch=None, ros_ns=START_NS):
    """What the watch says to steps of (seconds of the ROS clock, seconds of the monotonic clock)."""
    watch, monotonic_s = watch or ClockWatch(), 100.0
    said = [watch.update(ros_ns, monotonic_s)]
    for ros_s, real_s in steps:
        ros_ns, monotonic_s = ros_ns + round(ros_s * 1e9), monotonic_s + real_s
        said.append(watch.update(ros_ns, monotonic_s))
    return said


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_jump_is_told_once_with_its_size(hours):
    said = jumps([(0.05, 0.05), (3600 * hours + 0.05, 0.05), (0.05, 0.05), (0.05, 0.05)])
    assert said == [0.0, 0.0, pytest.approx(3600 * hours), 0.0, 0.0]


def test_a_second_back_is_a_jump_and_a_correction_of_the_clock_is_none():
    assert jumps([(-0.95, 0.05)])[-1] == pytest.approx(-1.0)
    assert jumps([(0.051, 0.05), (0.03, 0.05), (-0.1, 0.05)]) == [0.0] * 4


@given(st.floats(0, MAX_RATE), st.lists(st.floats(0, 2.0), max_size=20))
def test_a_clock_at_any_rate_or_at_rest_never_jumps(rate, intervals):
    assert not any(jumps([(rate * interval, interval) for interval in intervals]))


def test_simulated_time_that_stalls_may_catch_up_in_one_step():
    assert not any(jumps([(0.1, 0.1), *[(0.0, 0.1)] * 30, (3.1, 0.1), (0.1, 0.1)]))


def test_a_stopped_process_and_the_first_simulated_time_are_no_jumps():
    assert not any(jumps([(0.05, 0.05), (30.0, 30.0), (0.05, 0.05)]))
    assert not any(jumps([(0.0, 0.1), (START_NS / 1e9, 0.1), (0.1, 0.1)], ros_ns=0))


def test_a_simulated_clock_is_missing_then_runs_then_stands():
    clock = SimulatedClock(timeout_s=1.0)
    assert clock.fault(0.0).startswith("clock_missing: ")
    clock.look(0, 0.0)
    assert clock.fault(5.0).startswith("clock_missing: ")
    clock.look(7_000_000_000, 6.0)
    assert not clock.runs and not clock.fault(6.9)
    clock.look(7_010_000_000, 7.0)
    assert clock.runs and not clock.fault(7.9)
    clock.look(7_010_000_000, 8.5)
    assert clock.fault(8.5) == "clock_stopped: use_sim_time is set, and topic /clock has stood at 7.010 s for 1.5 s"
    clock.look(7_020_000_000, 9.0)
    assert not clock.fault(9.0)

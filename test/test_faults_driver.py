"""The short version of the faults in front of a driver that lags, sags and stops: those that share a cell."""

import pytest

from am_ros.faults import suite
from am_ros.faults.bench import Bench

# A driver's period is 10 ms. Beside other tests a brake is taken one or two of them late, which is what is measured:
# that one needs the machine to itself. benchmarks/following.py looks at the same logic tick by tick, without ROS.
ALONE_ON_THE_MACHINE = pytest.param("driver_brakes", marks=pytest.mark.slow)
# And a trajectory that is under way for longer than its 20 ms at rest (LATE_S of am_ros/control/execution.py) begins in
# its middle.
IN_TIME = pytest.param("driver_follows", marks=pytest.mark.needs_quiet(0.02))
SHARED = ("driver_cancels",)
# test_controller_safety.py has the same as the first, test_sim_node.py some of the other.
LONG = [pytest.param(name, marks=pytest.mark.slow) for name in ("driver_foreign", "driver_states")]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    with Bench(tmp_path_factory.mktemp("faults") / "driver", short=True) as shared:
        yield shared


@pytest.mark.parametrize("name", [IN_TIME, *SHARED, *LONG, ALONE_ON_THE_MACHINE])
def test_a_fault_of_the_driver_ends_as_required(name, bench):
    results = suite.run_on(bench, name)
    assert results and all(result.ok for result in results), suite.table(results)

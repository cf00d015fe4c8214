"""The short version of the faults of a cell, one cell for all: each ends as required."""

import pytest

from am_ros.faults import suite
from am_ros.faults.bench import Bench

# Starting a cell takes longer than most faults. Cheaper tests have the same as the long ones: of a killed process
# test_supervisor.py, of a suspended controller test_controller_safety.py, of a camera test_policy_faults.py, of wrong
# input test_security.py and test_policy_server.py, of outputs test_policy_numbers.py, of poses test_control_guard.py.
SHORT = ("two_commanders", "messages_dropped")
LONG = ("controller_suspended", "malformed_input", "process_killed", "camera_broken", "network_outputs", "unsafe_poses")
FAULTS = (*SHORT, *LONG)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    with Bench(tmp_path_factory.mktemp("faults") / "shared", short=True) as shared:
        yield shared


@pytest.mark.parametrize("name", [*SHORT, *(pytest.param(name, marks=pytest.mark.slow) for name in LONG)])
def test_a_fault_of_the_cell_ends_as_required(name, bench):
    results = suite.run_on(bench, name)
    assert results and all(result.ok for result in results), suite.table(results)

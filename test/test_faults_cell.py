"""The short version of the faults of a cell, one cell for all: each ends as required."""

import pytest

from am_ros.faults import suite
from am_ros.faults.bench import Bench

# Starting a cell takes longer than most faults.
SHARED = (
    "process_killed", "controller_suspended", "two_commanders", "messages_dropped", "camera_broken", "malformed_input",
    "network_outputs", "unsafe_poses",
)  # fmt: skip


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    with Bench(tmp_path_factory.mktemp("faults") / "shared", short=True) as shared:
        yield shared


@pytest.mark.parametrize("name", SHARED)
def test_a_fault_of_the_cell_ends_as_required(name, bench):
    results = suite.run_on(bench, name)
    assert results and all(result.ok for result in results), suite.table(results)

"""The short version of the faults in front of a driver that lags, sags and stops; those of one cell share it."""

import pytest

from am_ros.faults import suite
from am_ros.faults.bench import Bench

SHARED = ("driver_follows", "driver_states", "driver_foreign", "driver_cancels")
ALONE = ("driver_stops", "driver_clock", "driver_clients", "driver_second_cell")


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    with Bench(tmp_path_factory.mktemp("faults") / "driver", short=True) as shared:
        yield shared


@pytest.mark.parametrize("name", SHARED)
def test_a_fault_of_the_driver_ends_as_required(name, bench):
    results = suite.run_on(bench, name)
    assert results and all(result.ok for result in results), suite.table(results)


@pytest.mark.parametrize("name", ALONE)
def test_a_fault_in_front_of_the_driver_ends_as_required(name, tmp_path):
    results = suite.run_fault(name, short=True, folder=tmp_path / name)
    assert results and all(result.ok for result in results), suite.table(results)

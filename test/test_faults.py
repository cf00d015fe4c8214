"""The short version of the faults that need a cell of their own or none, and the suite's command."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from conftest import wait_until
from test_faults_cell import FAULTS as SHARED
from test_faults_driver import SHARED as DRIVER_SHARED

from am_ros import cli
from am_ros.faults import suite

# Those of test_faults_cell.py and test_faults_driver.py share a cell.
ELSEWHERE = (*SHARED, *DRIVER_SHARED, "driver_brakes", "driver_foreign", "node_killed")
# Each takes ten to thirty seconds, and cheaper tests have the same: of a clock that jumps test_policy_faults.py, of a
# trainer that is killed test_learning_checkpoint.py, of the driver test_sim_driver.py and test_controller_safety.py,
# of clients that go test_goal_clients.py, of a second cell test_bringup.py, of an object store test_storage_s3.py.
LONG = (
    "clock_jump", "trainer_killed", "driver_stops", "driver_clock", "driver_clients", "driver_second_cell", "soak",
    "object_store", "cache_full",
)  # fmt: skip
ALONE = [
    pytest.param(name, marks=pytest.mark.slow if name in LONG else ())
    for name in suite.names()
    if name not in ELSEWHERE
]


@pytest.mark.parametrize("name", ALONE)
def test_a_fault_ends_as_required(name, tmp_path):
    results = suite.run_fault(name, short=True, folder=tmp_path / name)
    assert results and all(result.ok for result in results), suite.table(results)


@pytest.mark.slow
def test_a_machine_that_joins_a_training_and_dies_loses_no_update(tmp_path):
    results = suite.run_fault("node_killed", short=True, folder=tmp_path)
    assert results and all(result.ok for result in results), suite.table(results)


def test_the_command_writes_the_list_of_results_and_the_machine(tmp_path, capsys):
    assert cli.main(["faults", "--short", "--only", "bag_damage", "--out", str(tmp_path)]) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [set(result) for result in summary] == [{"fault", "required", "measured", "ok"}] * 2
    assert json.loads((tmp_path / "machine.json").read_text())["cores"] >= 1
    assert "2 of 2 as required" in capsys.readouterr().out


def test_what_fails_is_a_result_that_is_not_ok(tmp_path, monkeypatch):
    from am_ros.faults import bags

    def broken(bench):
        """0 damaged bags silently different"""
        raise TimeoutError("the machinery is not there\nat all")

    monkeypatch.setattr(bags, "bag_damage", broken)
    (result,) = suite.run_fault("bag_damage", True, tmp_path / "x")
    assert (result.ok, result.measured) == (False, "TimeoutError: the machinery is not there")
    assert cli.main(["faults", "--only", "bag_damage", "--out", str(tmp_path / "out")]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_suite_that_is_stopped_leaves_no_process_and_no_mount(number, tmp_path):
    command = [sys.executable, "-m", "am_ros.cli", "faults", "--only", "disk_full", "--out", str(tmp_path)]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    log = tmp_path / "disk_full" / "log" / "episode_logger.log"
    wait_until(lambda: log.exists() and "ready" in log.read_text(), 60, "a node")
    children = psutil.Process(run.pid).children(recursive=True)
    assert children
    run.send_signal(number)
    assert run.wait(60) == 128 + number
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert str(tmp_path) not in Path("/proc/mounts").read_text()


def test_a_fault_that_does_not_exist_is_named(tmp_path, capsys):
    assert cli.main(["faults", "--only", "nonsense", "--out", str(tmp_path)]) == 2
    assert "nonsense: there is no such fault" in capsys.readouterr().err

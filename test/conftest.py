"""Fixtures for tests that use real nodes: a ROS domain of one's own, nodes as processes, a client in the test.

def test_registry_lists_what_it_recorded(ros, start_node):
    start_node("goal_registry", folder="/tmp/goals")
    response = ros.call(ListGoals, "goal_registry/list")
"""

import os
import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest
from quiet import pytest_runtest_call  # noqa: F401  (for the marker needs_quiet)

from am_ros.cell.environment import enter_ros_environment
from am_ros.cell.shared_memory import remove_stale_segments
from am_ros.faults.domain import claim_domain

enter_ros_environment()
os.environ.setdefault("OMP_NUM_THREADS", "1")
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, and so it would be by what the tests start
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so it is for what a shell script starts with &
    signal.signal(signal.SIGINT, signal.default_int_handler)


# For a node to start, and for what a browser waits for. On a machine that is overrun, AM_ROS_PATIENCE_S=300 gives five
# times as long, and so it does to tests that have a time limit.
PATIENCE_S = float(os.environ.get("AM_ROS_PATIENCE_S", 60))

# The files that take longest, by `--durations`. They come first, or at the end one process has them all to itself.
LONGEST = (
    "test_page_disk", "test_goal_clients", "test_page_cell", "test_ingest_fuzz", "test_sim_tasks", "test_trainer_node",
    "test_policy_server", "test_evaluation_ros", "test_supervisor", "test_graph", "test_learning_parallel",
    "test_learning_baselines", "test_page_guard", "test_reach", "test_policy_faults", "test_start_check",
    "test_collect", "test_learning_checkpoint", "test_improve", "test_cartesian_controller_sim",
    "test_learning_edge_cases", "test_preflight_node", "test_faults_cell", "test_evaluation_command",
    "test_cartesian_controller", "test_learning_method", "test_controller_safety", "test_security", "test_workers",
    "test_ingest", "test_ingest_odd", "test_ingest_clocks", "test_faults_driver", "test_pretrained",
    "test_page_browsers", "test_goal_registry", "test_sim_parity", "test_episode_logger",
)  # fmt: skip


# Tests make and delete tens of thousands of files, and the recorder waits for the disk at each: 4 ms per file on
# a virtual disk. Killed processes lose no more in memory than on a disk.
IN_MEMORY, ENOUGH_BYTES = Path("/dev/shm"), 10e9


def pytest_configure():
    """Folders of tests lie in memory where there is plenty of it; PYTEST_DEBUG_TEMPROOT names another place."""
    free = shutil.disk_usage(IN_MEMORY).free if IN_MEMORY.is_dir() else 0
    if min(free, psutil.virtual_memory().available) > ENOUGH_BYTES and "PYTEST_DEBUG_TEMPROOT" not in os.environ:
        folder = IN_MEMORY / f"am_ros_tests_{os.getuid()}"
        folder.mkdir(exist_ok=True)
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(folder)


def pytest_collection_modifyitems(items):
    """Sort by file as LONGEST says; the others keep their order."""
    for item in items if PATIENCE_S > 60 else ():
        if limit := item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(limit.args[0] * PATIENCE_S / 60), append=False)
    rank = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


def pytest_sessionfinish():
    """Tests kill nodes; a machine that runs many of them must not fill its shared memory with what they leave."""
    remove_stale_segments()


NODES: list = []  # that the test under way has started
SHOWN_LINES = 40


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """A test that fails shows what its nodes said last."""
    report = (yield).get_result()
    if report.failed:
        for node in NODES:
            report.sections.append((f"output of {node.spec.label}", "\n".join(node.output.splitlines()[-SHOWN_LINES:])))


def wait_until(condition, timeout_s: float = 30.0, what: str = "the condition") -> None:
    """Poll until `condition()` is true; fail with `what` after the timeout."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not come about within {timeout_s} s")
        time.sleep(0.02)


@pytest.fixture
def ros_env(monkeypatch, tmp_path):
    """The environment of this test's nodes: a ROS domain that no other test run on this machine uses meanwhile."""
    domain, lock = claim_domain()
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "ros_log"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield dict(os.environ)
    lock.close()


@pytest.fixture
def start_node(ros_env):
    """A function `start_node(executable, **parameters)` that starts a node as a process and returns a NodeProcess.

    Other arguments: `name`, `namespace`, `remap={"from": "to"}`, `params_file`, `env` (changes), `ready` (wait until
    a line of output contains it). All are stopped when the test ends, whether it passed or not.
    """
    from am_ros.cell.graph import NodeSpec
    from am_ros.cell.processes import NodeProcess, stop_all

    started = []

    def start(executable, *, name="", namespace="", remap=None, params_file=None, env=None, ready=None, **parameters):
        files = (params_file,) if params_file else ()
        spec = NodeSpec(executable, name, namespace, parameters, files, remap or {})
        process = NodeProcess(spec, env={**ros_env, **(env or {})})
        started.append(process)
        NODES.append(process)
        if ready:
            process.wait_for_line(ready, PATIENCE_S)
        return process

    yield start
    stop_all(started)
    NODES.clear()


@pytest.fixture
def ros(start_node):
    """A RosClient in the test's own process: call services, send goals, receive and publish messages.

    It is closed before the nodes are stopped, while the graph is quiet.
    """
    from am_ros.ros.introspection.client import RosClient

    with RosClient("test_client") as client:
        yield client

"""Jobs on a Ray cluster of several nodes on this host: dead workers and nodes cost no result; the end ends all."""

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from conftest import wait_until
from learning_data import random_episodes
from ray_nodes import add_nodes, ray_cluster

from am_ros import ray_jobs
from am_ros.action import ActionSpace
from am_ros.bags.finder import find_bags
from am_ros.cell.environment import share_directory
from am_ros.cli import main
from am_ros.errors import AmRosError
from am_ros.ingest.conversion import BagReport
from am_ros.ingest.naming import Planned
from am_ros.ingest.writing import Writer
from am_ros.ray_jobs import ATTEMPTS, Cluster
from am_ros.sim.environment import Environment
from am_ros.sim.episodes import fixed_noise
from am_ros.sim.foreign_cell import drive, write_bag
from am_ros.sim.tasks import find_task, train_seed
from am_ros.workers import run_in_order, run_jobs

NODES, JOBS, BEFORE = 2, 24, 12  # jobs that are done before a node dies
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray: `make slow` installs it")


def square(number):
    return number * number


def fail(number):
    raise AmRosError(f"file_{number}: is damaged")


def stumble(number):
    return [][number]


def die(_number):
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(number, marks):
    """The first attempt of every third job takes its worker down."""
    mark = Path(marks) / str(number)
    if number % 3 == 0 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def where(number, marks):
    """Which node did it; the later ones so long that a node dies in their middle: its worker ends a second after it."""
    import ray

    (Path(marks) / f"{number}_{time.monotonic_ns()}").touch()
    time.sleep(0.3 if number < BEFORE else 3.0)
    return number, ray.get_runtime_context().get_node_id()


def rest(marks):
    (Path(marks) / str(os.getpid())).touch()
    time.sleep(600)


# ----------------------------------------------------------------------------------------------- without a cluster


def test_without_ray_one_sentence_says_how_to_have_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(AmRosError, match=r"--ray: needs Ray, .* pip install 'am_ros\[cluster\]'"):
        list(run_jobs(square, [(1,)], Cluster("127.0.0.1:6379"), "test"))


@needs_ray
def test_where_no_cluster_answers_it_is_said_at_once(capsys):
    assert main(["collect", "--task", "reach", "--episodes", "1", "--out", "runs/none", "--ray", "127.0.0.1:9"]) == 2
    assert "--ray 127.0.0.1:9: no Ray cluster answers there" in capsys.readouterr().err


def test_a_cluster_takes_no_cell_and_no_empty_address(tmp_path, capsys):
    assert main(["evaluate", "expert", "--ray", "auto", "--through-ros"]) == 2
    assert main(["bags", "verify", str(tmp_path), "--ray", ""]) == 2
    said = capsys.readouterr().err
    assert "--ray: needs trials without --through-ros" in said


def test_what_a_killed_ingest_left_unfinished_is_written_anew(tmp_path):
    episode = random_episodes(1, steps=3, size=16)[0]
    left = tmp_path / f"{episode.info.episode_id}.unfinished"
    left.mkdir()
    (left / "half_0.mcap").touch()
    writer = Writer(tmp_path, Planned(tmp_path / "bag", "bag", "abc"), ActionSpace())
    assert len(list(writer.write(iter([episode]), BagReport(tmp_path / "bag")))) == 1
    assert find_bags(tmp_path) == [tmp_path / episode.info.episode_id] and not left.exists()


# -------------------------------------------------------------------------------------------------- with a cluster


@pytest.fixture(scope="module")
def cluster():
    """A head that does no jobs, and nodes of one processor each."""
    with ray_cluster(NODES) as nodes:
        yield nodes


@pytest.fixture
def whole(cluster):
    """The same with all its nodes, of which a test may kill some."""
    add_nodes(cluster, NODES)
    return Cluster(cluster.address)


def slow(test):
    return pytest.mark.slow(pytest.mark.timeout(900)(needs_ray(test)))


@slow
def test_every_job_has_its_result_in_order_where_asked(whole):
    assert sorted(run_jobs(square, ((i,) for i in range(20)), whole, "test")) == [i * i for i in range(20)]
    assert list(run_in_order(square, ((i,) for i in range(20)), whole, "test")) == [i * i for i in range(20)]


@slow
def test_an_error_is_one_sentence_that_names_the_job(whole):
    def name(job):
        return f"bag {job[0]}"

    with pytest.raises(AmRosError, match=r"^test: bag 7: file_7: is damaged$"):
        list(run_jobs(fail, [(7,)], whole, "test", name))
    with pytest.raises(AmRosError, match=r"^test: bag 7: a fault of this program on .*: IndexError .*test_ray.py"):
        list(run_jobs(stumble, [(7,)], whole, "test", name))
    with pytest.raises(AmRosError, match=rf"^test: bag 7: given up, its worker died {ATTEMPTS} times"):
        list(run_jobs(die, [(7,)], whole, "test", name))


@slow
def test_a_dead_workers_job_is_run_again(whole, tmp_path):
    assert list(run_in_order(die_once, [(i, str(tmp_path)) for i in range(9)], whole, "test")) == list(range(9))
    assert len(list(tmp_path.iterdir())) == 3


@slow
def test_a_dead_nodes_jobs_are_run_again(cluster, whole, tmp_path):
    results = []
    for number, node in run_jobs(where, [(i, str(tmp_path)) for i in range(JOBS)], whole, "test"):
        results.append((number, node))
        if len(results) == BEFORE:
            wait_until(lambda: len(list(tmp_path.iterdir())) >= BEFORE + NODES, 60, "a long job on each node")
            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    assert sorted(number for number, _ in results) == list(range(JOBS))
    nodes = [node for _, node in results]
    assert len(set(nodes[:BEFORE])) == NODES and len(set(nodes[-6:])) == NODES - 1
    assert len(list(tmp_path.iterdir())) > JOBS  # those that were under way there were begun twice


@slow
def test_a_folder_that_a_node_does_not_see_is_named(whole, tmp_path, monkeypatch):
    import ray

    monkeypatch.setattr(ray_jobs, "SHARED_S", 1.0)
    monkeypatch.chdir(tmp_path)  # back afterwards: a worker goes to its caller's folder, and here it is this process
    hidden = ray_jobs._Caller(str(tmp_path), ray_jobs.__version__, (str(tmp_path / "nowhere" / "token"),))
    ray.init(address=whole.address, log_to_driver=False, logging_level="error")
    try:
        problem, _ = ray_jobs._work(square, (1,), hidden)
    finally:
        ray.shutdown()
    assert f"does not see folder {tmp_path / 'nowhere'} of the caller" in problem


@slow
def test_who_stops_listening_ends_the_jobs_in_their_middle(whole, tmp_path):
    results = run_jobs(rest, [(str(tmp_path),)] * NODES, whole, "test")

    def stop():
        wait_until(lambda: len(list(tmp_path.iterdir())) == NODES, 120, "jobs under way")
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=stop).start()
    with pytest.raises(KeyboardInterrupt):
        next(results)
    pids = [int(path.name) for path in tmp_path.iterdir()]
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in pids), 30, "the end of the workers")


@slow
def test_collect_makes_the_same_bags_though_a_node_is_killed(cluster, whole, tmp_path):
    """And the same command goes on where one was interrupted, as here by SIGTERM."""
    arguments = ["--task", "reach,pick_place", "--episodes", "60", "--seed", "3"]
    command = [sys.executable, "-m", "am_ros.cli", "collect", *arguments, "--ray", whole.address, "--out"]
    out = tmp_path / "ray"

    def begin():
        process = subprocess.Popen([*command, str(out)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        before = len(find_bags(out)) if out.exists() else 0
        wait_until(lambda: out.exists() and len(find_bags(out)) > before + 5, 200, "some bags")
        return process

    process = begin()
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM and "Traceback" not in said
    process = begin()
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    printed, said = process.communicate(timeout=300)
    assert process.returncode == 0 and "s left" in said and "120/" not in printed
    assert main(["collect", *arguments, "--out", str(tmp_path / "local"), "--workers", "2"]) == 0
    assert _contents(out) == _contents(tmp_path / "local")
    assert main(["bags", "verify", str(out), "--ray", whole.address]) == 0


@slow
def test_evaluate_and_ingest_give_what_the_local_pool_gives(whole, tmp_path, capsys):
    spreads = {"local": ["--workers", "2"], "ray": ["--ray", whole.address]}
    foreign = tmp_path / "foreign"
    with Environment(find_task("pick_place")) as environment:
        for number in range(3):
            drives = [drive(environment, train_seed(number), fixed_noise(0.0), image_rate_hz=0)]
            write_bag(foreign / f"bag_{number}", "lbr_fri", drives)
    mapping = share_directory() / "config" / "ingest" / "lbr_fri.yaml"
    said = {}
    for name, spread in spreads.items():
        figures = ["--json", str(tmp_path / f"{name}.json")]
        assert main(["evaluate", "expert", "--task", "reach", "--trials", "6", *spread, *figures]) == 0
        capsys.readouterr()
        out = ["--out", str(tmp_path / name), "--mapping", str(mapping)]
        main(["bags", "ingest", str(foreign), *out, *spread])
        said[name] = capsys.readouterr().out.replace(str(tmp_path / name), "OUT")
    assert (tmp_path / "local.json").read_text() == (tmp_path / "ray.json").read_text()
    assert said["local"] == said["ray"] and "3 bags" in said["ray"]
    assert _contents(tmp_path / "local") == _contents(tmp_path / "ray") and len(find_bags(tmp_path / "ray")) == 3


def _contents(folder):
    """Each bag's files, byte by byte; the card tells when it was made."""
    return {path.relative_to(folder): path.read_bytes() for bag in find_bags(folder) for path in bag.iterdir()}

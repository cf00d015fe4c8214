"""Jobs in several processes: every result once, and no process left behind whatever ends them."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import wait_until

from am_ros.bags.finder import find_bags
from am_ros.errors import AmRosError
from am_ros.workers import NICE, ProgressLine, run_jobs


def square(number):
    return number * number


def fail(number):
    raise AmRosError(f"job {number} failed")


def die(number):
    os.kill(os.getpid(), signal.SIGKILL)


def sleep_long(number):
    time.sleep(60)


def children():
    return [p for p in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(p.cmdline())]


@pytest.mark.parametrize("workers", [1, 3])
def test_every_job_has_its_result(workers):
    assert sorted(run_jobs(square, ((i,) for i in range(20)), workers, "test")) == [i * i for i in range(20)]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_in_a_job_comes_through_and_nothing_runs_on(workers):
    with pytest.raises(AmRosError, match="job 0 failed"):
        list(run_jobs(fail, [(0,)], workers, "test"))
    wait_until(lambda: not children(), 5, "the end of the workers")


def test_a_dead_worker_is_one_sentence():
    with pytest.raises(AmRosError, match="test: a worker process died"):
        list(run_jobs(die, [(i,) for i in range(8)], 2, "test"))
    wait_until(lambda: not children(), 5, "the end of the workers")


def test_who_stops_listening_does_not_wait_for_the_jobs():
    results = run_jobs(mixed, [(i,) for i in range(8)], 2, "test")
    assert next(results) == 0
    began = time.monotonic()
    results.close()
    assert time.monotonic() - began < 10
    wait_until(lambda: not children(), 5, "the end of the workers")


def mixed(number):
    return square(number) if number == 0 else sleep_long(number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_all_at_once_is_the_parents_who_ends_the_workers(number, tmp_path):
    """As a terminal, systemd or `ros2 launch` sends it."""
    command = [sys.executable, "-m", "am_ros.cli", "collect", "--task", "reach", "--episodes", "400", "--workers", "2"]
    parent = subprocess.Popen(
        [*command, "--out", str(tmp_path)], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_until(lambda: find_bags(tmp_path), 150, "a first bag")
    os.killpg(parent.pid, number)
    _, said = parent.communicate(timeout=120)
    assert parent.returncode == 128 + number and "Traceback" not in said and "died" not in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_their_parent_in_the_middle_of_a_job(number):
    code = "import test_workers as t; list(t.run_jobs(t.sleep_long, [(i,) for i in range(4)], 2, 'test'))"
    parent = subprocess.Popen(
        [sys.executable, "-c", code], cwd=os.path.dirname(__file__), env={**os.environ, "PYTHONPATH": os.getcwd()},
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    family = psutil.Process(parent.pid)

    def busy():
        workers = [p for p in family.children(recursive=True) if "spawn_main" in " ".join(p.cmdline())]
        return workers if len(workers) == 2 and all(p.num_threads() >= 2 for p in workers) else []

    wait_until(busy, 60, "two workers at their jobs")
    workers = busy()
    parent.send_signal(number)
    parent.wait(10)
    gone, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive and len(gone) == 2


def test_no_workers_is_no_number_of_workers():
    with pytest.raises(AmRosError, match="parameter workers: 0 is not a positive number"):
        run_jobs(square, [(1,)], 0, "test")


def test_progress_says_how_far_it_is_and_the_time_left(monkeypatch):
    stream, clock = io.StringIO(), [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    progress = ProgressLine(stream, "count", "sheep")
    for seconds, done in ((0, 2), (4, 3), (8, 4), (2, 5), (1, 9), (5, 10)):
        clock[0] += seconds
        progress.show(done, 10, "asleep" if done == 10 else "")
    # The first says nothing of the speed; the others come every ten seconds, and the last one always.
    assert stream.getvalue().splitlines() == [
        "count: 2/10 sheep", "count: 4/10 sheep, 36 s left", "count: 10/10 sheep, asleep, 0 s left"
    ]  # fmt: skip


@pytest.mark.parametrize("leads", [True, False])
def test_what_comes_second_does_so_among_sessions_too_and_leaves_others_as_they_are(leads):
    code = "from am_ros.workers import come_second; come_second(); come_second(); print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], start_new_session=leads, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "1\n"
        assert psutil.Process(process.pid).nice() == max(NICE, os.nice(0))
        group, mine = (Path(f"/proc/{pid}/autogroup") for pid in (process.pid, "self"))
        if group.exists() and leads:
            assert group.read_text().endswith(f"nice {NICE}\n")
        elif group.exists():
            assert group.read_text() == mine.read_text()
        process.stdin.write("\n")

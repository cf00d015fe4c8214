"""benchmarks/flaky.py on a suite in which one test fails now and then."""

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "flaky.py"
SUITE = """
from pathlib import Path

def test_holds():
    pass

def test_fails_every_second_time():
    mark = Path(__file__).with_name("mark")
    if mark.exists():
        mark.unlink()
        raise ValueError("the second time")
    mark.touch()
"""


def measure(tmp_path, *arguments, runs=2):
    command = [sys.executable, str(SCRIPT), "--runs", str(runs), "--out", str(tmp_path / "out"), *arguments]
    # Without plugins, whose import takes longer than the suite; so without options of theirs, too.
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
    return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env, check=False)


def test_what_fails_now_and_then_is_counted_and_its_first_lines_are_kept(tmp_path):
    (tmp_path / "test_suite.py").write_text(SUITE)
    ended = measure(tmp_path, "--load", "1", "--", "test_suite.py")
    assert ended.returncode == 1, ended.stderr
    assert ended.stdout.splitlines()[-1].split() == ["1", "of", "2", "test_suite::test_fails_every_second_time"]
    assert "beside 1 busy processes" in ended.stdout and "test_holds" not in ended.stdout
    (kept,) = (tmp_path / "out").glob("*/test_suite_test_fails_every_second_time.txt")
    assert kept.read_text().startswith("run 2:\nValueError: the second time\n")
    runs = [json.loads(line) for line in (tmp_path / "out" / "runs.jsonl").read_text().splitlines()]
    assert [run["load"] for run in runs] == [1, 1]
    assert [run["failed"] for run in runs] == [[], ["test_suite::test_fails_every_second_time"]]


def test_a_suite_that_does_not_begin_is_a_failure(tmp_path):
    (tmp_path / "test_suite.py").write_text("raise SystemExit(3)\n")
    ended = measure(tmp_path, "--", "test_suite.py", runs=1)
    assert ended.returncode == 1 and "1 of 1" in ended.stdout
    ended = measure(tmp_path, "--", "no_such_file.py", runs=1)
    assert ended.returncode == 1 and "1 of 1  pytest itself" in ended.stdout

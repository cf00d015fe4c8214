"""The scripts that measure loader and GPU run where there is none."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_gpu_script_runs_on_a_cpu(tmp_path):
    out = tmp_path / "gpu.json"
    command = [sys.executable, "benchmarks/bench_gpu.py", "--device", "cpu", "--tiny", "--json", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    results = json.loads(out.read_text())["results"]
    assert [result["preset"] for result in results] == ["qt_opt", "small"]
    assert all(0 <= r["data_wait"] < 1 and r["items_per_s"] > 0 and r["gflop_per_item"] > 0 for r in results)


@pytest.mark.slow
def test_the_loader_script_measures_shares_of_the_limit(tmp_path):
    out = tmp_path / "loader.json"
    sizes = ["--image-size", "64", "--batch-size", "16", "--rows", "42", "--threads", "2", "--json", str(out)]
    command = [sys.executable, "benchmarks/bench_loader.py", *sizes]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert result["shifted on the way"]["of_the_limit"] > 0 and result["threads"] == 2

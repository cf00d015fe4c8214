"""benchmarks/all.py: what is found in an output, what is said of a ratio that fell, and what the page holds."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "all.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_all", SCRIPT)
    module = sys.modules["bench_all"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_figures_are_found_and_a_ratio_that_fell_by_more_than_a_fifth_is_named(bench, monkeypatch):
    said = "pick_place                      250     88%    1.00\n"
    monkeypatch.setattr(bench, "run", lambda words, limit_s: (said, ""))
    sim = next(b for b in bench.BENCHMARKS if b.name == "sim")
    yardsticks, notes = {bench.MATMUL: 2.0, bench.COPY: 2.0, bench.LOOP: 0.4}, []
    rows = bench.of_output(sim, 1, yardsticks, notes)
    (name,) = rows
    assert rows[name]["value"] == 250 and rows[name]["ratio"] == pytest.approx(0.1) and not notes
    assert bench.compare(rows, {name: {"ratio": 0.12, "commit": "abc"}}) == []
    (sentence,) = bench.compare(rows, {name: {"ratio": 0.13, "commit": "abc"}})
    assert "FELL" in sentence and "abc" in sentence and name in sentence
    page = bench.page({"machine": bench.machine(), "commit": "c", "yardsticks": yardsticks, "rows": rows}, ["a: b"])
    assert f"| {name} | 250 steps/s |" in page and "- a: b" in page


def test_what_does_not_end_or_fails_is_a_note(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "HERE", tmp_path)
    (tmp_path / "slow.py").write_text("import time; time.sleep(60)")
    (tmp_path / "bad.py").write_text("raise SystemExit('the reason')")
    assert bench.run(("slow.py",), 0.5) == ("", "slow.py: did not end within 0 s")
    assert bench.run(("bad.py",), 60)[1] == "bad.py: exit code 1: the reason"
    assert bench.run(("none.py",), 60)[1] == "none.py: is not there"


def test_ratios_of_another_processor_are_not_compared(bench, tmp_path, monkeypatch, capsys):
    """Each processor multiplies, copies and decodes at its own ratios."""
    monkeypatch.setattr(bench, "DATA", tmp_path / "benchmarks.json")
    monkeypatch.setattr(bench, "PAGE", tmp_path / "benchmarks.md")
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    monkeypatch.setattr(bench, "run", lambda words, limit_s: ("pick_place   250 \n", ""))
    monkeypatch.setattr(sys, "argv", ["all.py", "--only", "sim"])
    old = {"simulated steps with bags": {**bench.row(900, "steps/s", bench.LOOP, 0.4, 0.36), "commit": "abc"}}
    for processor, code in ((bench.machine()["processor"], 1), ("another one", 0)):
        before = {"machine": {"processor": processor}, "yardsticks": {bench.LOOP: 0.4}, "rows": old}
        bench.DATA.write_text(json.dumps(before))
        assert bench.main() == code
        said = capsys.readouterr().out
        assert ("FELL: simulated steps" in said) == bool(code)
        assert ("not compared: the committed ones are of another one" in said) == (not code)


@pytest.mark.slow
def test_every_figure_is_found_in_what_its_benchmark_prints(bench):
    notes = []
    for benchmark in bench.BENCHMARKS:
        if benchmark.figures:
            bench.of_output(benchmark, 300, {}, notes)
    assert notes == []

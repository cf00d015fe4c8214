"""Good foreign bags with faults, alone and in pairs: what is learned from is true, or named (foreign_faults.py)."""

import json
import os
from collections import Counter
from pathlib import Path

import pytest
from foreign_faults import FAULTS, judged, mutated
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recordings import rules

FEW, MANY = 100, 2000
RESULTS = ("whole", "in part", "refused", "not told")
SEEDED = {"deadline": None, "derandomize": True, "database": None, "suppress_health_check": list(HealthCheck)}
faults = st.lists(st.sampled_from(list(FAULTS)), min_size=1, max_size=2, unique=True)


def _holds(tmp_path_factory, came: Counter, names, seed: int) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    path, rec = mutated(names, seed, folder / "in")
    result = judged(path, rec, rules(folder))
    for name in names:
        came[name, result] += 1
    for file in sorted(folder.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() and not file.is_symlink() else file.unlink()


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_alone(tmp_path, name):
    for seed in range(2):
        path, rec = mutated([name], seed, tmp_path / str(seed))
        judged(path, rec, rules(tmp_path))


def test_good_recordings_come_whole(tmp_path):
    path, rec = mutated([], 0, tmp_path)
    assert judged(path, rec, rules(tmp_path)) == "whole"


@pytest.mark.timeout(600)
def test_a_hundred_mutations(tmp_path_factory):
    came: Counter = Counter()
    run = given(faults, st.integers(0, 2**32 - 1))(lambda names, seed: _holds(tmp_path_factory, came, names, seed))
    settings(max_examples=FEW, **SEEDED)(run)()
    assert sum(came.values()) >= FEW


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_two_thousand_mutations(tmp_path_factory):
    """Prints the table of docs/ingest.md; AM_ROS_FUZZ_TABLE names a file for it."""
    came: Counter = Counter()
    run = given(faults, st.integers(0, 2**32 - 1))(lambda names, seed: _holds(tmp_path_factory, came, names, seed))
    settings(max_examples=MANY, **SEEDED)(run)()
    lines = ["| fault | mutations | whole | in part, with reasons | refused by name | not told |", "|---" * 6 + "|"]
    for name in FAULTS:
        counts = [came[name, result] for result in RESULTS]
        lines.append(f"| {name} | {sum(counts)} | {' | '.join(map(str, counts))} |")
    print("\n".join(lines))
    if os.environ.get("AM_ROS_FUZZ_TABLE"):
        Path(os.environ["AM_ROS_FUZZ_TABLE"]).write_text("\n".join(lines) + "\n")
        print(json.dumps(sum(came.values())))
    assert all(sum(came[name, result] for result in RESULTS) > 10 for name in FAULTS)
    assert sum(n for (_, result), n in came.items() if result == "not told") < MANY / 100

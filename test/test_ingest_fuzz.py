"""Good foreign bags with faults, alone and in pairs: what is learned from is true, or named (foreign_faults.py)."""

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from foreign_faults import FAULTS, judged, mutated
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recordings import rules

FEW, MANY = 40, 2000
RESULTS = ("whole", "in part", "refused", "not told")
SEEDED = {"deadline": None, "derandomize": True, "database": None, "suppress_health_check": list(HealthCheck)}
faults = st.lists(st.sampled_from(list(FAULTS)), min_size=1, max_size=2, unique=True)


class Mutations:
    """Runs them all, and keeps what came of each."""

    def __init__(self, tmp_path_factory, count: int):
        self._folders, self.came, self.broken = tmp_path_factory, Counter(), []
        settings(max_examples=count, **SEEDED)(given(faults, st.integers(0, 2**32 - 1))(self._run))()

    def _run(self, names: list[str], seed: int) -> None:
        folder = self._folders.mktemp("fuzz")
        path, rec = mutated(names, seed, folder / "in")
        try:
            result = judged(path, rec, rules(folder))
        except AssertionError as error:  # all of them are told, not the first alone
            result = "BROKEN"
            self.broken.append((names, seed, str(error)))
        for name in names:
            self.came[name, result] += 1
        shutil.rmtree(folder)


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_alone(tmp_path, name):
    for seed in range(2):
        path, rec = mutated([name], seed, tmp_path / str(seed))
        judged(path, rec, rules(tmp_path))


def test_a_type_whose_definition_is_damaged_in_the_file_costs_the_messages_of_its_topic(tmp_path):
    path, rec = mutated(["byte flipped"], 80242266, tmp_path)  # the flipped byte is in the word "height"
    judged(path, rec, rules(tmp_path))


# What two thousand mutations found, and what came of it since.
FOUND = [
    (["arm clock differs"], 6385, "refused"),  # stamps 0.1 s after their reception
    (["clock is set", "late messages"], 12, "refused"),  # a second before the end
    (["log times all zero", "arm clock differs"], 134217728, "in part"),
    (["log times all zero", "camera clock differs"], 114813, "in part"),
    (["log times all zero", "camera clock differs"], 15, "in part"),  # by 0.98 of a frame
]


@pytest.mark.parametrize(("names", "seed", "result"), FOUND)
def test_what_was_once_wrong_without_a_word(tmp_path, names, seed, result):
    path, rec = mutated(names, seed, tmp_path)
    assert judged(path, rec, rules(tmp_path)) == result


def test_good_recordings_come_whole(tmp_path):
    path, rec = mutated([], 0, tmp_path)
    assert judged(path, rec, rules(tmp_path)) == "whole"


@pytest.mark.timeout(900)
def test_some_mutations(tmp_path_factory):
    mutations = Mutations(tmp_path_factory, FEW)
    assert not mutations.broken and sum(mutations.came.values()) >= FEW


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_two_thousand_mutations(tmp_path_factory):
    """AM_ROS_FUZZ_TABLE names a file for the table of docs/ingest.md."""
    mutations = Mutations(tmp_path_factory, MANY)
    lines = ["| fault | mutations | whole | in part, with reasons | refused by name | not told |", "|---" * 6 + "|"]
    for name in FAULTS:
        counts = [mutations.came[name, result] for result in RESULTS]
        lines.append(f"| {name} | {sum(counts)} | {' | '.join(map(str, counts))} |")
    if os.environ.get("AM_ROS_FUZZ_TABLE"):
        broken = [f"{names} {seed} {error}" for names, seed, error in mutations.broken]
        Path(os.environ["AM_ROS_FUZZ_TABLE"]).write_text("\n".join([*lines, *broken]) + "\n")
    assert not mutations.broken
    assert all(sum(mutations.came[name, result] for result in RESULTS) > 10 for name in FAULTS)
    assert sum(n for (_, result), n in mutations.came.items() if result == "not told") < MANY / 40

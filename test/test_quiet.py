"""The marker needs_quiet: a test that fails is skipped only where the machine was late."""

import pytest
from quiet import Lateness

pytest_plugins = ["pytester"]
SUITE = """
import pytest

@pytest.mark.needs_quiet(LIMIT_S)
def test_fails():
    assert 1 + 1 == 3
"""


def test_lateness_is_measured():
    assert 0 <= Lateness().stop() < 60


@pytest.mark.parametrize(("limit_s", "outcome"), [(-1.0, "skipped"), (60.0, "failed")])
def test_a_failure_counts_unless_the_machine_was_late(pytester, limit_s, outcome):
    pytester.makeini("[pytest]\nmarkers = needs_quiet: as in this project\n")
    pytester.makepyfile(SUITE.replace("LIMIT_S", str(limit_s)))
    result = pytester.runpytest_inprocess("-p", "quiet", "-p", "no:cacheprovider", "-rs")
    result.assert_outcomes(**{outcome: 1})
    if outcome == "skipped":
        result.stdout.fnmatch_lines(["*needs a processor within -1 s, and this machine took *"])

"""benchmarks/failures.py: how a failed trial ended, which step decided, and why."""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from am_ros.sim.scene import ObjectState, SceneState, tool_down, upright

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
PLACE, FAR = (0.55, 0.1, 0.025), (0.55, -0.1, 0.025)


@pytest.fixture(scope="module")
def bench():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location("bench_failures", BENCHMARKS / "failures.py")
        module = sys.modules["bench_failures"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(BENCHMARKS))


def scene(block, tool=(0.4, 0.2, 0.3), opening=1.0) -> SceneState:
    tool, block = tool_down(tool), ObjectState("block", upright(block), upright(PLACE))
    return SceneState("pick_place", 0, tool, tool, opening, 1.0, (block,))


def walk(bench, *scenes, same=True, kind="agrees", distance=0.0, head=False):
    step = bench.Step(kind, 0.5, 0.5, 0.5, distance, same, False)
    moments = [bench.Moment(s, step, head) for s in scenes[:-1]]
    return bench.Walk(False, "block", moments, scenes[-1])


def up(place):
    return (*place[:2], 0.2)


def test_how_a_failed_trial_ended(bench):
    held = scene(up(FAR), tool=up(FAR), opening=0.4)
    beside = (PLACE[0] + 0.06, *PLACE[1:])
    assert bench.fate(walk(bench, scene(FAR), scene(FAR))) == "not taken up"
    assert bench.fate(walk(bench, scene(FAR), held)) == "in the hand"
    assert bench.fate(walk(bench, scene(FAR), held, scene((0.5, 0.0, 0.025)))) == "elsewhere"
    assert bench.fate(walk(bench, scene(FAR), scene(beside))) == "beside"
    assert bench.fate(walk(bench, scene(FAR), scene(PLACE))) == "near miss"


def test_what_slips_out_of_closed_fingers_was_lost_in_motion(bench):
    held, slipped = scene(up(FAR), tool=up(FAR), opening=0.4), scene(FAR, tool=up(FAR), opening=0.0)
    opened = replace(slipped, gripper_opening=1.0)
    assert bench.lost_in_motion(walk(bench, held, slipped))
    assert not bench.lost_in_motion(walk(bench, held, slipped, same=False))  # it was the policy's wish
    assert not bench.lost_in_motion(walk(bench, held, opened))


def test_the_first_other_choice_decides_else_the_largest_deviation(bench):
    moments = walk(bench, scene(FAR), scene(FAR)).moments * 3
    assert bench.decisive(moments) is None
    moments[2] = replace(moments[2], step=replace(moments[2].step, same_choice=False, kind="q"))
    moments[0] = replace(moments[0], step=replace(moments[0].step, distance=2.0, kind="search"))
    assert bench.decisive(moments) is moments[2]
    assert bench.decisive(moments[:2]) is moments[0]


def test_the_cause_is_that_of_the_decisive_step(bench):
    def cause(**how):
        return bench.cause(walk(bench, scene(FAR), scene(FAR), same=False, **how))

    assert (cause(kind="search"), cause(kind="search", head=True)) == ("search", "search")
    assert (cause(kind="q", head=True), cause(kind="q")) == ("q", "both")
    assert bench.cause(walk(bench, scene(FAR), scene(FAR))) == "motion"


def test_trials_of_a_checkpoint_are_counted_by_fate_and_cause(bench, tmp_path, monkeypatch, capsys):
    out = tmp_path / "failures.json"
    words = ["failures.py", "pick_place", "--task", "pick_place", "--trials", "2", "--json", str(out)]
    monkeypatch.setattr(sys, "argv", words)
    assert bench.main() == 0
    found = json.loads(out.read_text())["tasks"]["pick_place"]
    failed = found["trials"] - found["successes"]
    assert found["trials"] == 2 and sum(found["fates"].values()) == sum(found["causes"].values()) == failed
    assert f"| pick_place | {failed} of 2 |" in capsys.readouterr().out

"""benchmarks/failures.py: how a failed trial ended, which step decided, and what the probe reads."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
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


def walk(bench, *scenes, same=True, kind="agrees", distance=0.0):
    step = bench.Step(kind, 0.5, 0.5, 0.5, distance, same, False)
    moments = [bench.Moment(s, step, np.zeros(3, np.float32)) for s in scenes[:-1]]
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


def test_the_probe_reads_what_is_there_and_the_cause_follows_from_it(bench):
    rng = np.random.default_rng(0)
    features, mixing = rng.normal(size=(400, 3)), rng.normal(size=(3, 4))
    probe = bench.Probe(features, features @ mixing)
    assert probe.errors_m(features, features @ mixing).mean() < 0.1  # the ridge costs a little
    told = walk(bench, scene(FAR), scene(FAR), kind="search", same=False)
    seen = bench.places(told.moments[0].scene, "block")
    sure = bench.Probe(np.zeros((10, 3)), np.tile(seen, (10, 1)))
    blind = bench.Probe(np.zeros((10, 3)), np.tile(seen + 0.1, (10, 1)))
    assert bench.cause(told, sure, 0.012) == "search" and bench.cause(told, blind, 0.012) == "seeing"
    assert bench.cause(walk(bench, scene(FAR), scene(FAR)), sure, 0.012) == "motion"

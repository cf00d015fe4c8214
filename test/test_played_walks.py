"""The rule for stopping from trials that the policy plays."""

import numpy as np
import pytest

from am_ros.cli import main
from am_ros.errors import AmRosError
from am_ros.evaluation.actors import ActorConfig, PolicyActor, searching
from am_ros.evaluation.played_walks import WatchedActor, calibrate_by_trials
from am_ros.evaluation.trials import TrialPlan, kept_environment, run_trial
from am_ros.learning import checkpoint
from am_ros.learning.stopping import StopRule
from am_ros.pretrained import find_checkpoint
from am_ros.sim.camera import CameraConfig
from am_ros.sim.workcell import SimConfig

TASK, SCENES = "pick_place", range(4)
QUICK = searching(samples=32, iterations=1)


def _trials(actor):
    cell = kept_environment(TASK, SimConfig(variety=0.0, camera=CameraConfig(image_size=actor.image_size)), True)
    for scene in SCENES:
        yield run_trial(cell, actor, scene)


def test_a_watched_policy_acts_as_ever_and_tells_where_its_goal_was_reached():
    watched = WatchedActor(ActorConfig("pick_place", search=(*QUICK, ("stop_sum", 0.05))))
    plain = list(_trials(PolicyActor(ActorConfig("pick_place", search=(*QUICK, ("terminate", False))))))
    reached = 0
    for trial, other in zip(_trials(watched), plain, strict=True):
        assert (trial.steps, trial.success, trial.end) == (other.steps, other.success, other.end), "no rule ends it"
        assert len(watched.walk) == trial.steps and all(0 <= q <= 1 for q, _ in watched.walk)
        if any(at_goal for _, at_goal in watched.walk):
            assert trial.success_once
            reached += 1
    assert reached >= 1, "where none is reached nothing is tested"


def test_the_rule_of_its_trials_is_kept_in_a_copy_of_the_checkpoint(tmp_path, capsys):
    flags = ["--task", TASK, "--trials", "4", "--variety", "0", "--wrong-share", "0.5"]
    assert main(["model", "calibrate-by-trials", "pick_place", str(tmp_path / "out"), *flags]) == 0
    said, shown = capsys.readouterr()
    assert "calibrate: 4/4 trials" in shown and "at most 20% elsewhere: stop_" in said
    assert "of 4 trials, " in said and f"checkpoint: {tmp_path / 'out'}" in said
    kept, given = checkpoint.load(tmp_path / "out"), checkpoint.load(find_checkpoint("pick_place"))
    plan = TrialPlan(ActorConfig("pick_place"), (TASK,), 4, 20_000, variety=0.0)
    assert kept.meta["stopping"] == vars(calibrate_by_trials(plan, 0.5)[0]) and kept.meta["stopping"]["played"]
    assert all(np.array_equal(value, given.weights[name]) for name, value in kept.weights.items())
    assert main(["model", "calibrate-by-trials", "pick_place", str(tmp_path / "out"), *flags]) == 2
    assert f"out {tmp_path / 'out'}: is there already" in capsys.readouterr().err


def test_only_a_checkpoint_has_a_rule():
    with pytest.raises(AmRosError, match="expert: is no checkpoint, and has no Q of terminating"):
        calibrate_by_trials(TrialPlan(ActorConfig("expert"), (TASK,), 1))


def test_a_rule_that_is_none_says_so():
    rule = StopRule(0.0, 0.0, 0.0, walks=280, held_out=True, played=True)
    assert str(rule).startswith("no rule, from 280 trials: no level of Q ends at least 5% of those that come to their ")

"""The checkpoint that comes with am_ros: found by its name, small, and able to do what it says."""

import pytest

from am_ros.evaluation.actors import ActorConfig
from am_ros.evaluation.trials import TrialPlan, run_trials
from am_ros.graph import sim_nodes
from am_ros.learning.policy import Policy
from am_ros.pretrained import FOLDER, checkpoint_names, find_checkpoint


def test_it_picks_and_places_in_scenes_it_never_saw():
    """75 % of 150 scenes when it was made (docs/results.md); fewer than 11 of 20 would be a chance of 1 in 100."""
    plan = TrialPlan(ActorConfig("pick_place"), ("pick_place",), trials=20, seed=7000, variety=0.0)
    assert sum(trial.success for trial in run_trials([plan])) >= 11


def test_it_is_small_and_searches_as_it_was_measured():
    assert sum(f.stat().st_size for f in FOLDER.rglob("*") if f.suffix != ".pyc") < 6_000_000
    cem = Policy.load("pick_place").cem
    assert (cem.objective, cem.samples, cem.iterations) == ("logit", 128, 3)


def test_every_name_that_is_listed_can_be_loaded():
    assert checkpoint_names() == ["pick_place", "seven_tasks"]
    assert all(Policy.load(name) for name in checkpoint_names())


def test_a_folder_of_that_name_comes_first(tmp_path, monkeypatch):
    assert find_checkpoint("pick_place") == FOLDER / "pick_place"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pick_place").mkdir()
    assert find_checkpoint("pick_place").resolve() == tmp_path / "pick_place"


@pytest.mark.parametrize("given", ["pick_place", str(FOLDER / "pick_place")])
def test_the_cell_takes_it_by_name(given):
    server = next(node for node in sim_nodes(policy=given) if node.executable == "policy_server")
    assert server.parameters["checkpoint"] == str(FOLDER / "pick_place")

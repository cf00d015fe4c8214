"""The checkpoints that come with am_ros: found by their names, small, and able to do what they say."""

import pytest

from am_ros.cell.graph import sim_nodes
from am_ros.evaluation.actors import ActorConfig
from am_ros.evaluation.trials import TrialPlan, run_trials
from am_ros.learning.policy import Policy
from am_ros.pretrained import FOLDER, checkpoint_names, find_checkpoint


# Of 300 and 90 scenes when they were made (docs/results_pictures.md) 75 % and 69 %; fewer has a chance of 1 in 100.
@pytest.mark.parametrize(
    "name, task, least",
    [
        ("pick_place", "pick_place", 11),
        pytest.param("seven_tasks", "container_placing", 8, marks=pytest.mark.slow),
    ],
)
def test_they_reach_goals_in_scenes_they_never_saw(name, task, least):
    plan = TrialPlan(ActorConfig(name), (task,), trials=20, seed=7000, variety=0.0)
    assert sum(trial.success for trial in run_trials([plan])) >= least


def test_they_are_small_and_search_as_was_measured():
    assert sum(f.stat().st_size for f in FOLDER.rglob("*") if f.suffix != ".pyc") < 6_000_000
    searches = [(c.objective, c.samples, c.iterations) for c in (Policy.load(n).cem for n in checkpoint_names())]
    assert searches == [("logit", 256, 3), ("q", 256, 3)]  # pick_place, seven_tasks


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

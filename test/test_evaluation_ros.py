"""Trials through the nodes are the trials without them: same scenes, same steps, same ends."""

import math

import numpy as np
import pytest

from am_ros.errors import AmRosError
from am_ros.evaluation import trials as direct_trials
from am_ros.evaluation.actors import ActorConfig, searching
from am_ros.evaluation.trials import TrialPlan, run_trials
from am_ros.learning import checkpoint
from am_ros.learning.networks import NetworkConfig, make_network
from am_ros.ros.messages.acting import ActingConfig
from am_ros.ros.trials import RosTrials, load_checkpoint, run_trials_through_ros


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """A checkpoint of an untrained network: it moves, aimlessly."""
    network = make_network(NetworkConfig(width=32, channels=4))
    meta = {
        "update": 5, "image_size": 64, "action_space": {"max_translation_m": [0.08] * 3, "max_rotation_rad": 0.5},
        "config": {"network": {"width": 32, "channels": 4}},
    }  # fmt: skip
    return checkpoint.save(tmp_path_factory.mktemp("policy") / "checkpoint", meta, {"model": network.state_dict()})


# An untrained network answers a shade of grey with another step: of a busy machine's millimetre it makes centimetres.
AIMLESS_M, EXPERT_M = 0.03, 0.01


def assert_same(through, direct, tolerance_m):
    assert (through.task, through.seed) == (direct.task, direct.seed)
    assert (through.steps, through.end, through.success) == (direct.steps, direct.end, direct.success)
    assert through.success_once == direct.success_once and through.reason == direct.reason
    assert math.isclose(through.distance_m, direct.distance_m, abs_tol=tolerance_m)
    assert math.isclose(through.best_distance_m, direct.best_distance_m, abs_tol=tolerance_m)
    assert len(through.frames) == len(direct.frames)
    assert np.abs(through.goal_image.astype(int) - direct.goal_image).mean() < 0.5


def by_scene(trials):
    return sorted(trials, key=lambda t: (t.actor, t.task, t.seed))


# The simulated time runs on while a node waits, and an aimless policy goes elsewhere.
@pytest.mark.needs_quiet(0.1)
@pytest.mark.parametrize(
    ("aimless", "expert"),
    [
        (("reach",), ("reach",)),
        pytest.param(("reach", "pick_place"), ("reach", "pick_place", "grasp_milk"), marks=pytest.mark.slow),
    ],
    ids=["reach", "tasks"],
)
def test_one_cell_runs_policy_and_expert_as_without_nodes(ros_env, untrained, aimless, expert):
    plans = [
        TrialPlan(ActorConfig(str(untrained), search=searching(samples=8)), aimless, 1, frames_px=64),
        TrialPlan(ActorConfig("expert"), expert, 1, frames_px=64),
        TrialPlan(ActorConfig("expert"), ("reach",), 1, seed=7, frames_px=64),
    ]
    through, direct = list(run_trials_through_ros(plans, 3.0)), list(run_trials(plans))
    assert len(through) == len(direct) == len(aimless) + len(expert) + 1
    for one, other in zip(by_scene(through), by_scene(direct), strict=True):
        assert one.actor == other.actor
        assert_same(one, other, EXPERT_M if one.actor == "expert" else AIMLESS_M)
    assert all(t.success and t.end == "terminated" for t in through if t.actor == "expert")
    assert not any(t.decision_ms for t in through if t.actor == "expert")
    assert all(t.decision_ms and 0 < t.final_q < 1 for t in through if t.actor != "expert")


def test_a_task_without_goal_image_gives_the_policy_zeros_on_both_ways(ros, start_node, untrained):
    for name, parameters in (("sim_workcell", {"real_time_factor": 3.0}), ("cartesian_controller", {})):
        start_node(name, **parameters)
    start_node("policy_server", checkpoint=str(untrained), samples=8, ready="serving")
    through = RosTrials(ros).run("grasp_milk", 2)  # no registry runs: none is asked
    plan = TrialPlan(ActorConfig(str(untrained), search=searching(samples=8)), ("grasp_milk",), 1, seed=2, frames_px=64)
    (direct,) = run_trials([plan])
    assert not through.goal_image.any() and not direct.goal_image.any()
    assert_same(through, direct, AIMLESS_M)


def test_the_server_loads_relative_folders_and_names(ros, start_node, untrained, monkeypatch):
    start_node("policy_server", checkpoint_folder=str(untrained.parent))
    monkeypatch.chdir(untrained.parent)
    for name in ("checkpoint", "pick_place"):
        load_checkpoint(ros, name)
    with pytest.raises(AmRosError, match=r"policy_server/load_checkpoint: \S+nowhere"):
        load_checkpoint(ros, "nowhere")


def test_both_ways_give_up_after_as_many_refused_steps():
    assert ActingConfig.max_refusals == direct_trials.MAX_REFUSALS


@pytest.mark.parametrize(
    ("actor", "sentence"),
    [("random", "through-ros: random actions have no node"), ("/nowhere", "/nowhere: is neither a checkpoint")],
)
def test_an_actor_without_a_node_is_refused_before_a_cell_starts(actor, sentence):
    with pytest.raises(AmRosError, match=sentence):
        run_trials_through_ros([TrialPlan(ActorConfig(actor), ("reach",), 1)])

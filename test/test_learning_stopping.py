"""The level of Q from which terminating ends an episode: found on walks of the data, kept in the checkpoint."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from am_ros.cli import main
from am_ros.learning import checkpoint
from am_ros.learning.methods import MethodConfig
from am_ros.learning.networks import NetworkConfig
from am_ros.learning.policy import Policy
from am_ros.learning.stopping import StopRule, calibrate, choose_level, draw_walks, teaches_stopping
from am_ros.learning.trainer import Trainer
from am_ros.learning.trainer_config import LearnerConfig, TrainerConfig
from am_ros.replay.sampling import GoalConfig
from am_ros.replay.store import ReplayStore


def _walk(count, steps=5):
    """Walks of so many steps that come to their goal at the last one."""
    walk = np.repeat(np.arange(count), steps)
    return walk, np.arange(count * steps) % steps == steps - 1


def test_the_level_is_the_lowest_that_ends_few_enough_walks_away_from_their_goal():
    walk, at_goal = _walk(100)
    q = np.where(at_goal, 0.8, 0.02)
    q[[0, 6]] = 0.9  # two walks of a hundred have one step that looks like the goal
    rule = choose_level(q, at_goal, walk, wrong_share=0.02)
    assert 0.08 < rule.stop_sum < 0.09 and (rule.wrong_share, rule.ended_share, rule.walks) == (0.02, 0.98, 100)
    q[12] = 0.7  # a third one: the level has to be above what it adds up to
    rule = choose_level(q, at_goal, walk, wrong_share=0.02)
    assert 0.74 < rule.stop_sum < 0.8 and rule.ended_share == 0.98


def test_a_short_likeness_on_the_way_is_told_from_a_goal_that_lasts():
    walk = np.repeat(np.arange(50), 8)
    at_goal = np.arange(len(walk)) % 8 >= 4
    q = np.where(at_goal, 0.3, 0.0)
    q[1::8] = 0.5  # higher than ever at the goal, in every walk
    rule = choose_level(q, at_goal, walk, wrong_share=0.02)
    assert 0.5 < rule.stop_sum < 0.55 and rule.ended_share == 1.0 and rule.wrong_share == 0


def test_where_a_goal_is_seen_at_once_a_level_of_q_is_better_than_one_of_the_sum():
    walk, at_goal = _walk(50, steps=12)
    q = np.where(at_goal, 0.9, np.where(walk % 2, 0.3, 0.0))  # a little likeness all the way adds up
    rule = choose_level(q, at_goal, walk, wrong_share=0.02)
    assert 0.3 < rule.stop_q < 0.32 and (rule.stop_sum, rule.ended_share, rule.wrong_share) == (0.0, 1.0, 0.0)
    assert str(rule).startswith("stop_q 0.31: of 50 walks")


def test_where_no_level_tells_the_goal_from_the_way_there_is_no_rule():
    walk, at_goal = _walk(100)
    q = np.random.default_rng(0).random(len(walk))
    assert choose_level(np.where(at_goal, 0.01, q), at_goal, walk, 0.02).stop_sum == 0
    assert choose_level(np.full(len(walk), np.nan), at_goal, walk, 0.02).stop_sum == 0
    nobody = np.zeros(0, np.int64)
    assert choose_level(nobody.astype(float), nobody > 0, nobody, 0.02) == StopRule(0.0, 0.0, 0.0, 0, True)


@pytest.fixture
def store(tmp_path):
    """A point that walks along a line to 1 in steps of 0.25; its place is its proprioception, too."""
    count, steps = 60, 4
    place = np.tile(np.arange(steps + 1) / steps, count)
    states = np.zeros((len(place), 6), np.float32)
    states[:, 2] = place
    ends = np.arange(len(place)) % (steps + 1) == steps
    return ReplayStore.from_arrays(
        tmp_path / "store", place[:, None].astype(np.float32), np.full((len(place), 1), 0.25), ends, states=states
    )


def _config(**method):
    return LearnerConfig(
        network=NetworkConfig(preset="state", observation_size=1, displacements=1, width=32),
        method=MethodConfig(**{"negatives": 8, **method}),
        goals=GoalConfig(at_goal_share=0.3, held_out_share=0.3),
        trainer=TrainerConfig(calibrate_stop=True, updates=300, batch_size=64, warmup_updates=10, learning_rate=3e-3),
    )


def test_a_walk_never_holds_its_goal(store):
    rows, goals, walk = draw_walks(store, 0.3, 30, seed=0)
    assert len(rows) == len(goals) == len(walk) and (rows != goals).all() and (rows <= goals + 2).all()
    assert (np.diff(walk) >= 0).all() and (np.diff(rows)[np.diff(walk) == 0] > 0).all(), "step by step"
    assert (store.first_row[rows] == store.first_row[goals]).all()


def test_a_finished_training_leaves_its_rule_in_the_checkpoint_and_the_policy_obeys_it(store, tmp_path):
    trainer = Trainer(_config(), tmp_path / "out")
    trainer.fit(store, until_update=10)
    folder = tmp_path / "out" / "checkpoint"
    assert "stopping" not in checkpoint.load(folder).meta, "the training is not over"
    trainer.fit(store)
    rule = checkpoint.load(folder).meta["stopping"]
    assert rule["held_out"] and 20 < rule["walks"] <= 120
    assert Policy.load(folder).cem.stop_sum == rule["stop_sum"]
    assert Policy.load(folder, stop_sum=0.7).cem.stop_sum == 0.7
    assert Policy.load(folder, stop_sum=0.0).cem.stop_sum == 0.0


def test_a_checkpoint_without_a_rule_gets_one_from_its_replay_store(store, tmp_path, capsys):
    config = _config()
    Trainer(config, tmp_path / "out").fit(store, until_update=5)
    found = checkpoint.load(tmp_path / "out" / "checkpoint")
    arguments = [str(tmp_path / name) for name in ("out/checkpoint", "store", "calibrated")]
    assert main(["model", "calibrate", *arguments, "--wrong-share", "0.5"]) == 0
    assert "held-out episodes" in capsys.readouterr().out
    rule = checkpoint.load(tmp_path / "calibrated").meta["stopping"]
    network = Policy.load(tmp_path / "out" / "checkpoint").network
    assert rule["stop_sum"] == calibrate(network, store, config.goals, wrong_share=0.5).stop_sum
    assert found.weights.keys() == checkpoint.load(tmp_path / "calibrated").weights.keys()
    assert main(["model", "calibrate", *arguments]) == 2


@pytest.mark.parametrize("method", [{"method": "gcbc"}, {"terminates": False}])
def test_what_never_learns_to_terminate_gets_no_rule(method):
    assert not teaches_stopping(_config(**method)) and teaches_stopping(_config())


def test_a_policy_adds_up_what_it_sees_of_the_goal_and_begins_anew_with_every_episode_and_goal(store, tmp_path):
    Trainer(_config(), tmp_path / "out").fit(store, until_update=5)
    policy = Policy.load(tmp_path / "out" / "checkpoint")
    place, goal = np.array([0.5], np.float32), np.array([1.0], np.float32)
    q = policy.q_of_terminating(place, goal)
    policy = Policy.load(tmp_path / "out" / "checkpoint", stop_sum=2.5 * q)
    policy.cem = replace(policy.cem, objective="logit")
    ended = [policy._stop(*_pair(policy, place, goal))[0].item() for _ in range(3)]
    assert ended == [False, False, True]
    assert not policy._stop(*_pair(policy, place, goal * 0.9))[0].item(), "another goal"
    policy.reset(0)
    assert not policy._stop(*_pair(policy, place, goal))[0].item(), "another episode"


def test_where_a_rule_alone_ends_an_episode_the_search_does_not(store, tmp_path):
    Trainer(_config(), tmp_path / "out").fit(store, until_update=5)
    place, goal = np.array([1.0], np.float32), np.array([1.0], np.float32)
    policy = Policy.load(tmp_path / "out" / "checkpoint", stop_q=1.0)
    policy.keeps_candidates = True
    policy.choose(place, goal)
    assert policy.candidates[0][:, -1].any()
    policy.cem = replace(policy.cem, stop_alone=True)
    assert not policy.choose(place, goal).terminate and not policy.candidates[0][:, -1].any()
    policy.cem = replace(policy.cem, stop_q=1e-6)
    assert policy.choose(place, goal).terminate


def test_a_rule_of_an_earlier_version_leaves_the_search_its_choice(store, tmp_path):
    Trainer(_config(), tmp_path / "out").fit(store, until_update=5)
    found = checkpoint.load(tmp_path / "out" / "checkpoint")
    for number, (kept, alone) in enumerate((({"stop_sum": 0.4}, False), ({"stop_q": 0.8, "stop_alone": True}, True))):
        folder = checkpoint.save(tmp_path / f"{number}", found.description | {"stopping": kept}, found.tensors)
        cem = Policy.load(folder).cem
        assert (cem.stop_sum, cem.stop_q) == (kept.get("stop_sum", 0.0), kept.get("stop_q", 0.0))
        assert cem.stop_alone == alone and not Policy.load(folder, stop_sum=0.0).cem.stop_alone


def _pair(policy, place, goal):
    """An encoding and the goal, as a batch of one."""
    tensors = (torch.from_numpy(x)[None] for x in (place, goal))
    return policy.network.encode(*tensors, torch.zeros(1, 6)), goal[None]

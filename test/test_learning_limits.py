"""What ends a training, what it says about its data, and the switches of whoever uses the learner as a library."""

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from am_ros.errors import AmRosError
from am_ros.learning import checkpoint
from am_ros.learning.cem import CemConfig
from am_ros.learning.methods import MethodConfig
from am_ros.learning.methods.actionable_models import negative_actions
from am_ros.learning.networks import NetworkConfig
from am_ros.learning.policy import Policy
from am_ros.learning.recipes import find_recipe
from am_ros.learning.trainer import Trainer
from am_ros.learning.trainer_config import DEFAULT_UPDATES, LearnerConfig, TrainerConfig
from am_ros.replay.sampling import GoalConfig, Sampler, steps_ahead
from am_ros.replay.store import ReplayStore

STATE = NetworkConfig(preset="state", observation_size=3, displacements=2, width=16)


def _store(folder, seed=0, episodes=10, steps=4):
    rng = np.random.default_rng(seed)
    rows = episodes * (steps + 1)
    ends = np.arange(rows) % (steps + 1) == steps
    return ReplayStore.from_arrays(folder, rng.normal(size=(rows, 3)), rng.uniform(-1, 1, (rows, 2)), ends)


def _config(**trainer):
    settings = TrainerConfig(**{"batch_size": 16, "precision": "fp32", **trainer})
    return LearnerConfig(network=STATE, method=MethodConfig(negatives=4), trainer=settings)


@pytest.fixture
def store(tmp_path):
    return _store(tmp_path / "store")


@pytest.mark.parametrize(("limits", "ended"), [
    ({"updates": 5, "minutes": 10.0}, "updates"),
    ({"minutes": 0.005}, "minutes"),
    ({"cpu_minutes": 0.005}, "cpu_minutes"),
    ({"updates": 1_000_000, "cpu_minutes": 0.005}, "cpu_minutes"),
])  # fmt: skip
def test_a_training_ends_at_its_first_limit_and_says_which(store, tmp_path, limits, ended):
    seen = []
    progress = Trainer(_config(**limits), tmp_path / "out").fit(store, seen.append)
    assert progress.ended == ended and seen[-1].update == progress.update > 0
    resumed = Trainer(_config(**limits), tmp_path / "out")
    assert resumed.fit(store).update == progress.update, "a limit counts over all sittings"


def test_minutes_alone_are_not_cut_short_by_a_number_of_updates():
    assert TrainerConfig().planned_updates == DEFAULT_UPDATES
    assert TrainerConfig(minutes=10.0).planned_updates == TrainerConfig(cpu_minutes=1.0).planned_updates == 0
    assert TrainerConfig(minutes=10.0, updates=7).planned_updates == 7


def test_a_stopped_training_says_so(store, tmp_path):
    trainer = Trainer(_config(minutes=10.0), tmp_path / "out")
    assert trainer.fit(store, lambda progress: trainer.stop()).ended == "stopped"


def test_going_on_with_other_data_is_said_and_with_more_data_is_not(store, tmp_path, caplog):
    Trainer(_config(updates=4), tmp_path / "out").fit(store, until_update=2)
    Trainer(_config(updates=4), tmp_path / "out").fit(store, until_update=3)
    assert not caplog.records
    Trainer(_config(updates=4), tmp_path / "out").fit(_store(tmp_path / "other", seed=1))
    (record,) = caplog.records
    assert "goes on with other data" in record.message and str(tmp_path / "other") in record.message


def test_a_store_knows_what_its_hash_was_when_it_was_smaller(tmp_path):
    small, large = _store(tmp_path / "small", episodes=3), _store(tmp_path / "large", episodes=5)
    # The same generator: the numbers of the large one differ, so take its own beginning.
    assert large.hash_of_first(5) == large.data_hash != large.hash_of_first(3) != small.data_hash


def test_hindsight_goals_of_long_episodes_may_be_near_ones(tmp_path):
    uniform = np.random.default_rng(0).random(20_000)
    long = np.full(20_000, 1000)
    near = steps_ahead(uniform, long, 20.0)
    assert near.min() == 1 and near.max() <= 1000 and near.mean() == pytest.approx(20, rel=0.03)
    assert (near <= 10).mean() == pytest.approx(1 - (1 - 1 / 20) ** 10, abs=0.015)
    short = steps_ahead(uniform, np.full(20_000, 3), 20.0)
    assert set(np.unique(short)) == {1, 2, 3}
    assert (steps_ahead(uniform, long, 1.0) == 1).all()
    assert steps_ahead(uniform, long, 0.0).mean() == pytest.approx(500.5, rel=0.02)

    store = _store(tmp_path / "s", episodes=3, steps=500)
    goals = GoalConfig(hindsight_steps=5.0, random_share=0.0, at_goal_share=0.0)
    steps = Sampler(store, goals, 512, 0).batch(0).steps_to_goal
    assert steps.min() >= 1 and steps.mean() < 8


def test_a_recipe_changes_one_field_and_keeps_the_others():
    changed = find_recipe("q_alone", preset="state", observation_size=3, displacements=2, updates=5, gamma=0.9)
    assert changed.network == NetworkConfig(preset="state", observation_size=3, displacements=2, behaviour_prior=False)
    assert changed.trainer.updates == 5 and changed.method == replace(find_recipe("q_alone").method, gamma=0.9)
    with pytest.raises(AmRosError, match="field gama"):
        find_recipe("q_alone", gama=0.9)
    with pytest.raises(AmRosError, match="gamma"):
        find_recipe("q_alone", gamma=2.0)


def test_one_switch_leaves_terminating_out_of_everything(store, tmp_path):
    config = find_recipe(
        "q_alone", preset="state", observation_size=3, displacements=2, width=16, updates=30, batch_size=16,
        terminates=False,
    )  # fmt: skip
    Trainer(config, tmp_path / "out").fit(store)
    policy = Policy.load(tmp_path / "out" / "checkpoint")
    assert not policy.cem.terminate
    choices = policy.choose_batch(store.observations[:40], store.observations[:40])
    assert not any(choice.terminate for choice in choices)
    batch = Sampler(store, config.settled().goals, 64, 0).batch(0)
    assert not batch.action[:, -1].any()
    candidates, _ = negative_actions(torch.from_numpy(batch.action), config.method, torch.Generator())
    assert not candidates[..., -1].any()
    assert Trainer(config, tmp_path / "out").update == 30, "resumes with the same switch"


def test_a_policy_takes_a_batch_of_observations(store, tmp_path):
    Trainer(_config(updates=5), tmp_path / "out").fit(store)
    policy = Policy.load(tmp_path / "out" / "checkpoint")
    observations, goals = store.observations[:6], store.observations[6:12]
    assert policy(observations, goals).shape == (6, 2)
    policy.reset(0)
    one = policy.choose(observations[0], goals[0])
    policy.reset(0)
    (same,) = policy.choose_batch(observations[:1], goals[:1])
    np.testing.assert_array_equal(one.vector, same.vector)
    assert one.q_value == same.q_value
    with pytest.raises(AmRosError, match="6 observations, 5 goals"):
        policy(observations, goals[:5])
    with pytest.raises(AmRosError, match="goal: expected 3 finite numbers"):
        policy(observations, np.where(np.arange(6)[:, None] == 2, np.nan, goals))


def test_stopping_counts_for_each_of_a_batch(store, tmp_path):
    Trainer(_config(updates=5), tmp_path / "out").fit(store)
    policy = Policy.load(tmp_path / "out" / "checkpoint", prior_weight=0.0)
    observations = store.observations[:20]
    encoding = policy.network.encode(*(torch.tensor(observations),) * 2, torch.zeros(20, 6))
    _, q = policy._stop(encoding, observations)
    assert not q.any(), "no rule, no value"
    every = Policy.load(tmp_path / "out" / "checkpoint", stop_q=1e-6).choose_batch(observations, observations)
    level = float(np.median([c.q_value for c in every]))
    assert all(c.terminate for c in every)
    some = Policy.load(tmp_path / "out" / "checkpoint", stop_q=level, terminate=True).choose_batch(
        observations, observations
    )
    assert [c.terminate for c in some if c.q_value >= level].count(True) >= 10


def test_a_misspelt_parameter_of_the_search_is_named(store, tmp_path):
    Trainer(_config(updates=1), tmp_path / "out").fit(store)
    with pytest.raises(AmRosError, match="no parameter termination; it has samples, .*terminate"):
        Policy.load(tmp_path / "out" / "checkpoint", termination=False)


def test_what_ends_a_training_is_said_before_it_begins_and_while_it_goes(store, tmp_path):
    assert TrainerConfig().limits == f"{DEFAULT_UPDATES} updates, as no limit was given"
    assert TrainerConfig(minutes=10).limits == "10 minutes"
    both = TrainerConfig(updates=500, minutes=10, cpu_minutes=2.5)
    assert both.limits == "500 updates or 10 minutes or 2.5 CPU minutes, whichever comes first"
    seen = []
    progress = Trainer(_config(updates=3, minutes=10.0), tmp_path / "a").fit(store, seen.append)
    assert seen[-1].limit == "updates" and str(progress).count("ended by updates") == 1
    trainer = Trainer(_config(updates=1_000_000, minutes=0.02), tmp_path / "b")
    trainer.fit(store, seen.append)
    assert seen[-1].limit == "minutes"


def test_a_training_that_is_over_or_goes_on_with_other_settings_says_so(store, tmp_path, caplog):
    Trainer(_config(updates=2), tmp_path / "out").fit(store)
    Trainer(_config(updates=3, milestones=1), tmp_path / "out").fit(store)
    assert not caplog.records, "more updates are no other settings"
    Trainer(_config(updates=3), tmp_path / "out").fit(store)
    (record,) = caplog.records
    assert "over already, by its updates (3 updates); give more" in record.message
    caplog.clear()
    Trainer(_config(updates=4, batch_size=8, learning_rate=1e-3), tmp_path / "out").fit(store)
    (record,) = caplog.records
    assert "other settings than it had: batch_size 16 -> 8, learning_rate 0.0007 -> 0.001" in record.message


def test_first_weights_that_are_not_taken_are_said(store, tmp_path, caplog):
    for name in ("a", "b"):
        Trainer(_config(updates=2), tmp_path / name).fit(store)
    starts = [tmp_path / name / "checkpoint" for name in ("a", "b")]
    Trainer(_config(updates=2), tmp_path / "out", start_from=starts[0]).fit(store, until_update=1)
    Trainer(_config(updates=2), tmp_path / "out", start_from=starts[0]).fit(store)
    assert not caplog.records
    for out, began in (("out", "other weights"), ("b", "fresh ones")):
        Trainer(_config(updates=3), tmp_path / out, start_from=starts[out == "out"])
        assert f"not from {starts[out == 'out']}: it began with {began}" in caplog.records[-1].message


def test_a_recipe_of_q_alone_stays_one_with_a_network_of_ones_own(store, tmp_path):
    config = replace(find_recipe("q_alone"), network=STATE, trainer=_config(updates=3).trainer)
    assert config.network.behaviour_prior, "the default of NetworkConfig"
    trainer = Trainer(config, tmp_path / "out")
    trainer.fit(store, until_update=2)
    assert trainer.learner.network.prior(torch.zeros(1, 16)) is None
    assert Trainer(config, tmp_path / "out").update == 2, "resumes"
    for name, kept in (("her", False), ("qt_opt", False), ("paper", False), ("best", True), ("gcbc", True)):
        assert replace(find_recipe(name), network=STATE).settled().network.behaviour_prior == kept
    with pytest.raises(AmRosError, match="behaviour_prior: true, but nothing here teaches the head"):
        find_recipe("q_alone", behaviour_prior=True)
    both = find_recipe("q_alone", behaviour_prior=True, cloning_weight=1.0).settled()
    assert both.network.behaviour_prior and both.method.cloning_weight == 1.0
    cloned = LearnerConfig(method=MethodConfig(method="gcbc")).settled()
    assert cloned.acting.objective == "prior", "there is no Q to search over"


def test_a_training_of_q_alone_begun_before_the_switch_goes_on(store, tmp_path):
    config = find_recipe("q_alone", preset="state", observation_size=3, displacements=2, width=16, updates=4)
    config = replace(config, trainer=replace(config.trainer, batch_size=16))
    Trainer(config, tmp_path / "out").fit(store, until_update=2)
    found = checkpoint.load(tmp_path / "out" / "checkpoint", "model", "learner", "optimizer")
    found.description["config"]["method"]["cloning_weight"] = 1.0  # as version 0.1 wrote it
    checkpoint.save(tmp_path / "out" / "checkpoint", found.description, found.tensors)
    assert Trainer(config, tmp_path / "out").fit(store).update == 4


def test_weights_with_a_head_start_a_training_without_and_the_other_way_round(store, tmp_path):
    Trainer(_config(updates=2), tmp_path / "with").fit(store)
    bare = replace(_config(updates=3), network=replace(STATE, behaviour_prior=False))
    without = Trainer(bare, tmp_path / "without", start_from=tmp_path / "with" / "checkpoint")
    began = checkpoint.load(tmp_path / "with" / "checkpoint").weights
    assert torch.equal(without.learner.network.observation.weight, began["observation.weight"])
    without.fit(store)
    back = Trainer(_config(), tmp_path / "back", start_from=tmp_path / "without" / "checkpoint").learner
    assert back.network.config.behaviour_prior
    assert torch.equal(back.target.prior_head[0].weight, back.network.prior_head[0].weight)


def test_a_policy_names_what_is_wrong_with_its_arguments(store, tmp_path):
    config = replace(_config(updates=1), method=MethodConfig(negatives=4, terminates=False))
    Trainer(config, tmp_path / "out").fit(store)
    folder = tmp_path / "out" / "checkpoint"
    for arguments, sentence in (
        ({"samples": 0}, "parameter samples: 0 is outside"), ({"samples": "many"}, "'many' is not of type int"),
        ({"cem": 5}, "cem is a int, not a CemConfig"), ({"device": "gpu"}, "'gpu' is no device; use auto"),
        ({"device": "cuda:99"}, "cuda:99 was asked for"), ({"terminate": True}, "trained for a task without an end"),
    ):  # fmt: skip
        with pytest.raises(AmRosError, match=sentence):
            Policy.load(folder, **arguments)
    assert not Policy.load(folder, CemConfig(samples=8)).cem.terminate, "the switch holds with a search of one's own"


def test_one_goal_may_be_that_of_a_whole_batch(store, tmp_path):
    Trainer(_config(updates=2), tmp_path / "out").fit(store)
    policy = Policy.load(tmp_path / "out" / "checkpoint")
    many = policy(store.observations[:4], np.repeat(store.observations[9:10], 4, axis=0))
    policy.reset(0)
    np.testing.assert_array_equal(policy(store.observations[:4], store.observations[9]), many)


def test_long_logs_of_vectors_without_an_end_teach_a_policy_within_seconds(capsys):
    example = runpy.run_path(str(Path(__file__).parents[1] / "docs" / "examples" / "long_episodes.py"))["main"]
    rates = example(cpu_minutes=0.0, episodes=20, trials=40, updates=100)
    assert rates["q_alone"] > rates["chance"] + 0.2
    assert "100 updates, ended by updates" in capsys.readouterr().out

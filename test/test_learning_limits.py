"""What ends a training, what it says about its data, and the switches of whoever uses the learner as a library."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from am_ros.errors import AmRosError
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

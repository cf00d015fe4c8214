"""The search over Q: what it begins with, and how it follows several peaks."""

import numpy as np
import pytest
import torch
from learning_data import random_episodes

from am_ros.action import ACTION_DIM, CLOSE, CONTINUOUS_DIM, OPEN, TERMINATE
from am_ros.errors import AmRosError
from am_ros.learning import checkpoint
from am_ros.learning.cem import CemConfig, Prior, around_elites, maximise, one_hot_actions
from am_ros.learning.networks import NetworkConfig
from am_ros.learning.policy import Policy
from am_ros.learning.trainer import Trainer
from am_ros.learning.trainer_config import LearnerConfig, TrainerConfig
from am_ros.replay.sampling import GoalConfig, Sampler
from am_ros.replay.store import ReplayStore

HERE = torch.zeros(CONTINUOUS_DIM)
FAR = torch.tensor([1.0, -1.0, 0.0, 0.0])


def _two_peaks(actions):
    """A narrow high peak (close right here), and a broad lower one (open, a long way off)."""
    displacement, opens = actions[..., :CONTINUOUS_DIM], actions[..., OPEN]
    narrow = torch.exp(-(displacement - HERE).square().sum(-1) / 0.02) * actions[..., CLOSE]
    broad = 0.7 * torch.exp(-(displacement - FAR).square().sum(-1) / 2) * opens
    return narrow + broad


def _actions_of_the_data(batch, count=200):
    """What a robot does: mostly anything, sometimes closing the gripper where it is."""
    generator = torch.Generator().manual_seed(1)
    displacement = torch.rand(batch, count, CONTINUOUS_DIM, generator=generator) * 2 - 1
    choice = torch.full((batch, count), OPEN - CONTINUOUS_DIM)
    displacement[:, ::20], choice[:, ::20] = 0.0, CLOSE - CONTINUOUS_DIM
    return one_hot_actions(displacement, choice)


def test_a_search_that_begins_with_the_data_finds_a_narrow_peak_that_one_gaussian_misses():
    batch, budget = 20, {"samples": 64, "iterations": 3}
    plain, _ = maximise(_two_peaks, batch, CemConfig(**budget), None, torch.Generator().manual_seed(0))
    config = CemConfig(**budget, refit="elites", data_share=1.0)
    found, values = maximise(
        _two_peaks, batch, config, None, torch.Generator().manual_seed(0), data=_actions_of_the_data(batch)
    )
    assert (found[:, CLOSE] == 1).all() and (values > 0.95).all()
    assert (plain[:, CLOSE] == 1).float().mean() < 0.7


def test_samples_around_elites_stay_near_them_keep_their_choice_and_do_not_move_when_terminating():
    elites = one_hot_actions(torch.stack([HERE, FAR * 0.5, HERE]).unsqueeze(0), torch.tensor([[0, 1, 2]]))
    drawn = around_elites(elites, 300, 0.05, torch.Generator().manual_seed(0))[0]
    for elite in elites[0]:
        mine = drawn[(drawn[:, CONTINUOUS_DIM:] == elite[CONTINUOUS_DIM:]).all(dim=1)]
        assert len(mine) > 50
        assert (mine - elite).abs().max() < 0.3
    assert (drawn[drawn[:, TERMINATE] == 1][:, :CONTINUOUS_DIM] == 0).all()


def test_where_nothing_may_terminate_the_actions_of_the_data_do_not_either():
    ends = one_hot_actions(torch.zeros(1, 64, CONTINUOUS_DIM), torch.full((1, 64), TERMINATE - CONTINUOUS_DIM))
    config = CemConfig(samples=32, iterations=2, refit="elites", data_share=1.0, terminate=False)
    found, _ = maximise(lambda a: a[..., TERMINATE], 1, config, data=ends)
    assert found[0, TERMINATE] == 0 and found[0, OPEN] == 1


class NeverStops(torch.nn.Module):
    """Knows where the goal is and that one has to terminate there; its prior, as demonstrators do, never terminates."""

    config = NetworkConfig(preset="state", observation_size=1, displacements=1)

    def __init__(self):
        super().__init__()
        self.anything = torch.nn.Parameter(torch.zeros(1))  # a policy asks a network's parameters for the device

    def encode(self, observation, goal, state):
        return goal - observation

    def score(self, way, actions):
        return torch.where(actions[..., -1] > 0.5, 4 - 8 * way.abs(), 2 - way.abs())

    def prior(self, way):
        return Prior(way.clamp(-1, 1), torch.tensor([0.0, 0.0, -9.0]).expand(len(way), -1))


@pytest.mark.parametrize(("stop_q", "terminate", "stops"), [(0.0, True, []), (0.5, True, [0.0, 0.4]), (0.5, False, [])])
def test_q_of_terminating_ends_an_episode_where_the_prior_never_would(stop_q, terminate, stops):
    meta = {"image_size": 64, "action_space": {"max_translation_m": [0.08] * 3, "max_rotation_rad": 0.5}}
    policy = Policy(NeverStops(), meta, CemConfig(stop_q=stop_q, terminate=terminate))
    ways = [0.0, 0.4, 0.8, 3.0]
    choices = [policy.choose(np.zeros(1), np.array([way])) for way in ways]
    assert [way for way, choice in zip(ways, choices, strict=True) if choice.terminate] == stops
    assert all((choice.vector[:-3] == 0).all() and choice.q_value > 0.5 for choice in choices if choice.terminate)


@pytest.fixture
def store(tmp_path):
    store = ReplayStore.create(tmp_path / "replay", (16, 16))
    store.append(random_episodes(6, 5, 16))
    return store


def test_actions_of_other_moments_come_with_every_item_and_are_the_datas(store):
    batch = Sampler(store, GoalConfig(other_actions=5), 8, seed=0).batch(0)
    assert batch.other_actions.shape == (8, 5, ACTION_DIM)
    known = {a.tobytes() for a in store.actions[store.transition_rows]}
    assert {a.tobytes() for a in batch.other_actions.reshape(-1, ACTION_DIM)} <= known
    halves = [Sampler(store, GoalConfig(other_actions=5), 8, 0, rank, 2).batch(0).other_actions for rank in (0, 1)]
    np.testing.assert_array_equal(np.stack(halves, axis=1).reshape(8, 5, ACTION_DIM), batch.other_actions)


def test_a_share_of_the_random_goals_is_of_the_items_own_scene(store):
    episode = {store.observations[row].tobytes(): store.first_row[row] for row in range(store.rows)}

    def own_scene(share):
        config = GoalConfig(random_share=0.9, same_scene_share=share, at_goal_share=0, random_shift_px=0)
        batch = Sampler(store, config, 400, seed=0).batch(0)
        pairs = zip(batch.image[batch.steps_to_goal < 0], batch.goal_image[batch.steps_to_goal < 0], strict=True)
        return np.mean([episode[image.tobytes()] == episode[goal.tobytes()] for image, goal in pairs])

    assert own_scene(0.0) < 0.3 and 0.45 < own_scene(0.5) < 0.75 and own_scene(1.0) == 1.0  # one of six by chance


def test_a_policy_searches_from_the_actions_in_its_checkpoint(store, tmp_path):
    config = LearnerConfig(
        network=NetworkConfig(image_size=16, width=8, channels=4),
        trainer=TrainerConfig(updates=2, batch_size=4),
        acting=CemConfig(samples=16, refit="elites", data_share=1.0, prior_share=0.0, prior_weight=0.0, iterations=1),
    )
    Trainer(config, tmp_path).fit(store)
    policy = Policy.load(tmp_path / "checkpoint")
    known = {a.tobytes() for a in store.actions[store.transition_rows]}
    assert {a.numpy().tobytes() for a in policy.data_actions} == known  # fewer than 512: all of them
    image = np.array(store.observations[0])
    assert policy.choose(image, image).vector.astype(np.float32).tobytes() in known

    found = checkpoint.load(tmp_path / "checkpoint")
    checkpoint.save(tmp_path / "old", found.description, {"model": found.weights})  # as before there were such actions
    with pytest.raises(AmRosError, match="data_share: the checkpoint holds no actions of the data"):
        Policy.load(tmp_path / "old")
    assert Policy.load(tmp_path / "old", data_share=0.0).data_actions is None

"""Targets, negatives and the loss of Actionable Models, and that they learn."""

import dataclasses

import numpy as np
import pytest
import torch
from learning_data import DotWorld, random_episodes

from am_ros.action import ACTION_DIM, CLOSE, CONTINUOUS_DIM, OPEN, TERMINATE, ActionSpace
from am_ros.errors import AmRosError
from am_ros.learning.cem import CemConfig
from am_ros.learning.loader import to_tensors
from am_ros.learning.methods import MethodConfig, loss
from am_ros.learning.methods.actionable_models import negative_actions, negative_loss
from am_ros.learning.methods.bellman import td_target
from am_ros.learning.networks import NetworkConfig, make_network
from am_ros.learning.policy import Policy
from am_ros.learning.trainer import Trainer
from am_ros.learning.trainer_config import LearnerConfig, TrainerConfig
from am_ros.replay.sampling import GoalConfig, Sampler
from am_ros.replay.store import ReplayStore


class ConstantQ(torch.nn.Module):
    """A 'network' whose Q is 0.5 everywhere, but 0.25 for the action that closes the gripper."""

    def encode(self, image, goal_image, state):
        return torch.zeros(len(image), 1)

    def score(self, encoding, actions):
        return torch.logit(torch.where(actions[..., CLOSE] == 1, 0.25, 0.5))

    def prior(self, encoding):
        return None


def _items(steps_to_goal, action_choice=OPEN, final=False, next_choice=CLOSE):
    """A batch whose items differ in what matters for the target."""
    count = len(steps_to_goal)
    action, next_action = torch.zeros(count, ACTION_DIM), torch.zeros(count, ACTION_DIM)
    action[:, action_choice] = 1
    next_action[:, next_choice] = 1
    blank = torch.zeros(count, 16, 16, 3, dtype=torch.uint8)
    return {
        "image": blank, "next_image": blank, "goal_image": blank,
        "state": torch.zeros(count, 6), "next_state": torch.zeros(count, 6),
        "action": action, "next_action": next_action, "other_actions": action.unsqueeze(1),
        "near_goal": torch.tensor(steps_to_goal) == 0,
        "steps_to_goal": torch.tensor(steps_to_goal), "final": torch.full((count,), final),
        "rewarded": torch.zeros(count, dtype=torch.bool), "ended": torch.zeros(count, dtype=torch.bool),
        "reward": torch.zeros(count),
    }  # fmt: skip


PLAIN = MethodConfig(gamma=0.8, monte_carlo_floor=False)
FLOOR = MethodConfig(gamma=0.8, monte_carlo_floor=True)


def test_reaching_the_goal_is_terminal_and_worth_one():
    assert td_target(ConstantQ(), _items([1, 0]), PLAIN, None).tolist() == [1.0, 1.0]


def test_other_transitions_bootstrap_from_the_best_next_action():
    y = td_target(ConstantQ(), _items([2, 5, -1]), PLAIN, None)
    torch.testing.assert_close(y, torch.full((3,), 0.8 * 0.5))


def test_the_observed_return_bounds_the_target_from_below():
    y = td_target(ConstantQ(), _items([2, 3, 6, -1]), FLOOR, None)
    torch.testing.assert_close(y, torch.tensor([0.8, 0.8**2, 0.4, 0.4]))


def test_the_last_transition_of_a_chained_trajectory_takes_the_value_of_the_action_that_followed():
    y = td_target(ConstantQ(), _items([-1], final=True, next_choice=CLOSE), PLAIN, None)
    torch.testing.assert_close(y, torch.tensor([0.8 * 0.25]))


def test_terminating_away_from_the_goal_is_worth_nothing():
    assert td_target(ConstantQ(), _items([-1, 4], action_choice=TERMINATE), FLOOR, None).tolist() == [0.0, 0.0]


def test_a_network_without_a_value_gives_a_target_that_is_none_either():
    class NoValue(ConstantQ):
        def score(self, encoding, actions):
            return torch.full(actions.shape[:2], torch.nan)

    assert td_target(NoValue(), _items([3]), FLOOR, None).isnan().all(), "the trainer stops at a loss that is no number"


def test_negatives_keep_their_distance_unless_the_discrete_choice_differs():
    torch.manual_seed(0)
    seen = torch.zeros(200, ACTION_DIM)
    seen[:, OPEN] = 1
    candidates, far = negative_actions(seen, MethodConfig(close_distance=0.5), None)
    distance = candidates[..., :CONTINUOUS_DIM].norm(dim=-1)
    same = candidates[..., OPEN] == 1
    assert not far[same & (distance < 0.5)].any()
    assert far[same & (distance > 0.5)].all() and far[~same].all()
    assert (same & (distance < 0.5)).any()


def test_no_gradient_flows_through_targets_or_the_choice_of_negatives():
    torch.manual_seed(0)
    network, lagged = (make_network(NetworkConfig(image_size=16, width=16, channels=4)) for _ in range(2))
    batch = _items([1, 2, -1])
    total, parts = loss(network, lagged, batch, MethodConfig(), torch.Generator().manual_seed(0))
    total.backward()
    assert all(p.grad is None for p in lagged.parameters())
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
    assert not parts["loss"].requires_grad


def _config(updates, **trainer):
    return LearnerConfig(
        network=NetworkConfig(image_size=16, width=64, channels=8),
        method=MethodConfig(negatives=16),
        goals=GoalConfig(random_shift_px=0),
        trainer=TrainerConfig(updates=updates, batch_size=64, precision="fp32", warmup_updates=20, **trainer),
    )


@pytest.fixture(scope="module")
def noise_store(tmp_path_factory):
    store = ReplayStore.create(tmp_path_factory.mktemp("noise") / "store", (16, 16))
    store.append(random_episodes(8, steps=5, size=16))
    return store


def test_a_policy_learned_from_random_moves_reaches_goal_images(tmp_path):
    """Offline, from aimless episodes of a dot world: the dot must come within 1.5 pixels of 24 of 30 goals."""
    store = ReplayStore.create(tmp_path / "store", (16, 16))
    store.append([DotWorld.episode(seed) for seed in range(400)])
    Trainer(_config(700, learning_rate=2e-3), tmp_path / "out").fit(store)
    policy = Policy.load(tmp_path / "out" / "checkpoint", CemConfig(samples=64, iterations=3))
    rng, reached, stopped = np.random.default_rng(1), 0, 0
    for _ in range(30):
        goal, world = DotWorld(rng), DotWorld(rng)
        for _ in range(10):
            decision = policy.act(world.image(), goal.image(), np.zeros(6, np.float32))
            if decision.action.terminate:
                stopped += 1
                break
            world.step(ActionSpace().to_vector(decision.action))
        reached += np.linalg.norm(world.position - goal.position) < 1.5
    assert reached >= 24
    assert stopped >= 20  # terminate is learned, too


def test_a_resumed_training_equals_an_uninterrupted_one(noise_store, tmp_path):
    whole = Trainer(_config(12), tmp_path / "whole")
    whole.fit(noise_store)
    interrupted = Trainer(_config(12), tmp_path / "parts")
    interrupted.fit(noise_store, None, until_update=5)
    resumed = Trainer(_config(12), tmp_path / "parts")
    assert resumed.update == 5
    resumed.fit(noise_store)
    for ours, theirs in zip(resumed.learner.network.parameters(), whole.learner.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    for ours, theirs in zip(resumed.learner.target.parameters(), whole.learner.target.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_loss_that_is_not_finite_stops_training_and_keeps_the_checkpoint(noise_store, tmp_path):
    trainer = Trainer(_config(50), tmp_path)
    trainer.fit(noise_store, until_update=3)
    before = (tmp_path / "checkpoint" / "checkpoint.json").read_bytes()
    with torch.no_grad():
        trainer.learner.network.norm.weight.fill_(torch.nan)
    with pytest.raises(AmRosError, match="update 3: the gradient is not finite"):
        trainer.fit(noise_store)
    assert (tmp_path / "checkpoint" / "checkpoint.json").read_bytes() == before


def test_a_checkpoint_of_another_configuration_is_not_resumed(noise_store, tmp_path):
    Trainer(_config(2), tmp_path).fit(noise_store)
    other = dataclasses.replace(_config(2), method=MethodConfig(gamma=0.5))
    with pytest.raises(AmRosError, match="method configuration \\(gamma, negatives\\)"):
        Trainer(other, tmp_path)


def test_images_of_another_size_than_the_networks_are_refused(noise_store, tmp_path):
    config = dataclasses.replace(_config(2), network=NetworkConfig(image_size=64))
    with pytest.raises(AmRosError, match="do not fit a network for 64 px"):
        Trainer(config, tmp_path).fit(noise_store)


def test_a_full_size_update_runs(tmp_path):
    """One step of the published network, small batch: finite loss, all parameters move."""
    network, lagged = (make_network(NetworkConfig(preset="qt_opt", image_size=472)) for _ in range(2))
    store = ReplayStore.create(tmp_path / "store", (472, 472))
    store.append(random_episodes(1, steps=2, size=472))
    batch = to_tensors(Sampler(store, GoalConfig(random_shift_px=0), 2, 0).batch(0), "cpu")
    config = MethodConfig(negatives=2, target_cem=CemConfig(samples=2, iterations=1))
    total, _ = loss(network, lagged.eval(), batch, config)
    total.backward()
    assert torch.isfinite(total)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


def test_to_terminate_near_the_goal_is_no_negative():
    class Remembers(ConstantQ):
        def score(self, encoding, actions):
            return torch.zeros(actions.shape[:2], requires_grad=True)

    batch = _items([3, 3])
    batch["near_goal"] = torch.tensor([True, False])
    batch["other_actions"] = torch.zeros(2, 4, ACTION_DIM)
    batch["other_actions"][:, :, TERMINATE] = 1
    config = MethodConfig(negatives=4, data_share=1.0, perturbed_share=0.0)
    _, negative, _ = negative_loss(Remembers(), torch.zeros(2, 1), batch, config, None, torch.ones(2))
    assert negative[0] == 0 and negative[1] > 0.5

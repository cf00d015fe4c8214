"""Successors of the method on the same trainer: contrastive RL and implicit value learning."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from am_ros.errors import AmRosError
from am_ros.learning import methods
from am_ros.learning.cem import Prior
from am_ros.learning.loader import to_tensors
from am_ros.learning.methods import MethodConfig, gcivl
from am_ros.learning.networks import NetworkConfig, make_network
from am_ros.learning.policy import Policy
from am_ros.learning.recipes import find_recipe
from am_ros.learning.trainer import Trainer
from am_ros.replay.sampling import GoalConfig, Sampler
from am_ros.replay.store import ReplayStore

STEPS, REACH = 20, 0.1


def _walks(count=60, seed=0):
    """Walks along a line from 0 to 1 that keep a direction for a while: observations, actions, ends."""
    rng = np.random.default_rng(seed)
    place, heading = rng.random(count), rng.uniform(-1, 1, count)
    seen, done = [place], []
    for _ in range(STEPS):
        heading = np.where(rng.random(count) < 0.3, rng.uniform(-1, 1, count), heading)
        place = np.clip(place + REACH * heading, 0, 1)
        seen.append(place)
        done.append(heading)
    observations, actions = np.stack(seen, 1), np.stack([*done, np.zeros(count)], 1)
    return observations.reshape(-1, 1), actions.reshape(-1, 1), np.tile(np.arange(STEPS + 1) == STEPS, count)


def _reached(act, trials=60):
    rng = np.random.default_rng(5)
    place, goal, reached = rng.random((trials, 1)), rng.random((trials, 1)), np.zeros(trials, bool)
    for _ in range(12):
        place = np.clip(place + REACH * act(place, goal), 0, 1)
        reached |= np.abs(place - goal)[:, 0] < 0.04
    return reached.mean()


def _config(name, **changes):
    return find_recipe(
        name, preset="state", observation_size=1, displacements=1, width=32, batch_size=64, learning_rate=3e-3,
        warmup_updates=10, precision="fp32", terminates=False, **{"updates": 150, **changes},
    )  # fmt: skip


@pytest.fixture
def store(tmp_path):
    return ReplayStore.from_arrays(tmp_path / "store", *_walks())


def _batch(store, config, number=0):
    return to_tensors(Sampler(store, config.settled().goals, 64, 7).batch(number), "cpu")


@pytest.mark.parametrize("name", ["contrastive", "gcivl"])
def test_it_learns_to_walk_along_a_line(store, tmp_path, name):
    config = _config(name)
    trainer = Trainer(config, tmp_path / "out")
    trainer.learner.look_at(store)
    learner, batch = trainer.learner, _batch(store, config)

    def fixed_loss():
        return float(methods.loss(learner.network, learner.target, batch, config.method)[0].detach())

    before = fixed_loss()
    trainer.fit(store)
    rng = np.random.default_rng(1)
    chance = _reached(lambda place, goal: rng.uniform(-1, 1, place.shape))
    policy = Policy.load(tmp_path / "out" / "checkpoint")
    assert _reached(policy) > chance + 0.15
    if name == "contrastive":
        assert fixed_loss() < before - 0.1
        alone = Policy.load(tmp_path / "out" / "checkpoint", prior_weight=0.0, prior_share=0.0, data_share=1.0)
        assert _reached(alone) > chance + 0.15, "the critic by itself knows the way, too"
    else:
        # The value's own loss has a floor that moves with its target; what it says has to fall with the distance.
        places = torch.full((3, 1), 0.5), torch.tensor([[0.55], [0.75], [1.0]]), torch.zeros(3, 6)
        near, middle, far = gcivl.value(learner.target, learner.target.encode(*places), torch.zeros(3, 4)).tolist()
        assert near > middle > far


@pytest.mark.parametrize("name", ["contrastive", "gcivl"])
def test_gradients_reach_every_part_and_are_finite(store, name):
    config = _config(name).settled()
    network = make_network(config.network)
    network.look_at(store.observations)
    total, parts = methods.loss(network, network, _batch(store, config), config.method)
    total.backward()
    assert all(torch.isfinite(value) for value in parts.values())
    for part, weights in network.named_parameters():
        assert weights.grad is not None and torch.isfinite(weights.grad).all(), part
        assert weights.grad.any() or part.endswith("state.weight"), part  # these data have no proprioception


def test_the_contrastive_loss_holds_each_state_against_every_goal(store):
    config = _config("contrastive").settled()
    network = make_network(config.network)
    network.look_at(store.observations)
    torch.nn.init.normal_(network.psi.weight)
    goals = GoalConfig(random_share=0.3, at_goal_share=0.0, hindsight_steps=5.0)
    batch = to_tensors(Sampler(store, goals, 8, 1).batch(0), "cpu")
    future = batch["steps_to_goal"] >= 0
    assert 0 < future.sum() < 8
    total, count = 0.0, len(future)
    for i in range(count):
        state, action = batch["image"][i : i + 1].expand(count, -1), batch["action"][i : i + 1].expand(count, -1)
        logits = network.score(network.encode(state, batch["goal_image"], batch["state"]), action.unsqueeze(1))[:, 0]
        others = torch.arange(count) != i
        one = functional.softplus(-logits[i]) + functional.softplus(logits[others]).mean()
        total = total + one * future[i] / count
    method = replace(config.method, cloning_weight=0.0)
    torch.testing.assert_close(methods.loss(network, network, batch, method)[0], total)


class _OneValue:
    """V is one number for all states; as the lagged network it says what is given, a number an item."""

    def __init__(self, logits):
        self.logits = logits

    def encode(self, image, goal_image, state):
        return torch.zeros(len(image), 1)

    def score(self, encoding, actions):
        return self.logits.expand(len(encoding)).unsqueeze(1)

    def prior(self, encoding):
        return Prior(torch.zeros(len(encoding), 1), torch.zeros(len(encoding), 3))


def test_the_value_is_the_expectile_of_its_targets(store):
    config = MethodConfig(method="gcivl", expectile=0.8, gamma=0.9, cloning_weight=0.0)
    goals = GoalConfig(random_share=0.0, at_goal_share=0.0)
    batch = to_tensors(Sampler(store, goals, 64, 1).batch(0), "cpu")
    lagged, one = _OneValue(torch.randn(64)), _OneValue(torch.zeros(1, requires_grad=True))
    y = gcivl.target(lagged, batch, config)
    assert (y[batch["steps_to_goal"] == 1] == 1).all() and (y < 1).any()
    optimizer = torch.optim.Adam([one.logits], lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        methods.loss(one, lagged, batch, config)[0].backward()
        optimizer.step()
    v = one.logits.sigmoid().detach()
    pull = torch.where(y < v, 0.2, 0.8) * (y - v)
    assert abs(float(pull.mean())) < 2e-3 and float(v) > float(y.mean())


def test_what_gains_steps_is_cloned_more(store):
    goals = GoalConfig(random_share=0.0, at_goal_share=0.0)
    batch = to_tensors(Sampler(store, goals, 64, 1).batch(0), "cpu")
    lagged, one = _OneValue(torch.linspace(-3, 1, 64)), _OneValue(torch.full((1,), -1.0))

    def cloned(weight):
        return methods.loss(one, lagged, batch, MethodConfig(method="gcivl", advantage_weight=weight))[1]["loss_prior"]

    plain = methods.loss(one, one, batch, MethodConfig(method="gcbc"))[1]["loss_prior"]
    torch.testing.assert_close(cloned(0.0), plain)
    # Better by far than the usual: ten times the weight and no more. All of these are.
    far = MethodConfig(method="gcivl", advantage_weight=100.0)
    best = methods.loss(_OneValue(torch.full((1,), -9.0)), lagged, batch, far)[1]["loss_prior"]
    torch.testing.assert_close(best, 10 * plain)


def test_they_say_what_they_need(store, tmp_path):
    own = NetworkConfig(preset="state", observation_size=1, displacements=1, width=16)
    settled = replace(find_recipe("contrastive"), network=own).settled().network
    assert settled.factored and settled.behaviour_prior
    config, batch = _config("gcivl").settled(), _batch(store, _config("gcivl"))
    with pytest.raises(AmRosError, match="no product of state and goal; set factored above 0"):
        methods.loss(make_network(config.network), None, batch, MethodConfig(method="contrastive"))
    with pytest.raises(AmRosError, match="gcivl: the network has no action head"):
        bare = make_network(replace(config.network, behaviour_prior=False))
        methods.loss(bare, bare, batch, MethodConfig(method="gcivl"))
    with pytest.raises(AmRosError, match="factored: is for the presets small and state"):
        make_network(NetworkConfig(preset="qt_opt", image_size=472, factored=8))
    for name in ("contrastive", "gcivl"):
        with pytest.raises(AmRosError, match=f"{name}: knows goals only, set reward_share to 0"):
            Trainer(_config(name, reward_share=0.5), tmp_path / name)

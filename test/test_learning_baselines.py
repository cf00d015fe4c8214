"""The paper's baselines and task rewards: what each method is taught, and that it learns."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from learning_data import DotWorld, random_episodes

from am_ros.action import OPEN, TERMINATE, ActionSpace
from am_ros.errors import AmRosError
from am_ros.learning import methods
from am_ros.learning.cem import CemConfig, Prior, maximise, objective_value
from am_ros.learning.loader import to_tensors
from am_ros.learning.methods import MethodConfig
from am_ros.learning.methods.bellman import td_target
from am_ros.learning.networks import NetworkConfig, make_network
from am_ros.learning.policy import Policy
from am_ros.learning.recipes import RECIPES, find_recipe
from am_ros.learning.trainer import Trainer
from am_ros.learning.trainer_config import TrainerConfig
from am_ros.replay.sampling import GoalConfig, Sampler
from am_ros.replay.store import ReplayStore

SMALL = NetworkConfig(image_size=16, width=64, channels=8)


def _recipe(name, updates, **changes):
    """A recipe, made small: 16 px, batches of 64, no shift."""
    found = find_recipe(name)
    return replace(
        found,
        network=replace(
            SMALL, behaviour_prior=found.network.behaviour_prior, prior_encoder=found.network.prior_encoder
        ),
        goals=replace(found.goals, random_shift_px=0, camera_shift_px=0, **changes),
        trainer=TrainerConfig(
            updates=updates, batch_size=64, precision="fp32", warmup_updates=20, learning_rate=2e-3
        ),
    )  # fmt: skip


def _store(folder, episodes):
    store = ReplayStore.create(folder, (16, 16))
    store.append(episodes)
    return store


@pytest.fixture(scope="module")
def corner_store(tmp_path_factory):
    return _store(tmp_path_factory.mktemp("corner") / "store", [DotWorld.corner_episode(i) for i in range(600)])


@pytest.fixture(scope="module")
def dot_store(tmp_path_factory):
    return _store(tmp_path_factory.mktemp("dots") / "store", [DotWorld.episode(i) for i in range(300)])


class LinearQ:
    """Q that differs by action, with a factor: for the lower one of two."""

    def __init__(self, logit=0.0, sign=1.0):
        self.logit, self.sign = logit, sign

    def encode(self, image, goal_image, state):
        return torch.zeros(len(image), 1)

    def score(self, encoding, actions):
        return self.logit + self.sign * actions[..., 0]

    def prior(self, encoding):
        return None


def test_items_with_a_task_reward_end_with_it(corner_store):
    config = GoalConfig(random_share=0, at_goal_share=0, reward_share=1.0, random_shift_px=0)
    batch = Sampler(corner_store, config, 400, seed=0).batch(0)
    assert batch.rewarded.all() and (batch.goal_image == 0).all()
    y = td_target(LinearQ(), to_tensors(batch, "cpu"), MethodConfig(gamma=0.8), torch.Generator().manual_seed(0))
    won, lost, going = batch.ended & (batch.reward == 1), batch.ended & (batch.reward == 0), ~batch.ended
    assert won.sum() > 10 and lost.sum() > 10 and going.sum() > 100
    assert (y[won] == 1).all() and (y[lost] == 0).all()
    # On the way to a success the observed return is a floor; to a failure (or the step limit) Q alone counts.
    on_the_way = going & (batch.steps_to_goal > 0)
    floor = 0.8 ** (torch.from_numpy(batch.steps_to_goal).float() - 1)
    assert (y >= floor)[on_the_way].all()
    hopeless = torch.from_numpy(going & (batch.steps_to_goal < 0))
    assert (y[hopeless] < 0.8 * torch.tensor(1.0).sigmoid() + 1e-6).all() and (y[hopeless] > 0.25).all()


def test_negatives_of_rewarded_items_count_only_if_asked_for(corner_store):
    config = GoalConfig(random_share=0, at_goal_share=0, reward_share=1.0, random_shift_px=0)
    batch = to_tensors(Sampler(corner_store, config, 64, seed=0).batch(0), "cpu")

    def negative(weight):
        method = MethodConfig(method="qt_opt", reward_negative_weight=weight)
        return methods.loss(LinearQ(), LinearQ(), batch, method, torch.Generator().manual_seed(0))[1]["loss_negative"]

    assert negative(0.0) == 0 and negative(1.0) > 0.3
    torch.testing.assert_close(negative(0.5), negative(1.0) / 2)


def test_terminating_is_worth_a_reward_only_where_a_success_ends(corner_store):
    config = GoalConfig(random_share=0, at_goal_share=0, reward_share=1.0, stop_share=0.5, random_shift_px=0)
    batch = Sampler(corner_store, config, 600, seed=0).batch(0)
    stays = batch.ended & (batch.action[:, TERMINATE] == 1) & (batch.image == batch.next_image).all(axis=(1, 2, 3))
    assert 200 < stays.sum() < 400 and (batch.steps_to_goal[stays] == -1).all()
    worth = stays & (batch.reward == 1)
    assert worth.sum() > 10 and (stays & (batch.reward == 0)).sum() > 100
    ends = np.unique(corner_store.last_row[corner_store.successful])
    last_pictures = {corner_store.observations[row].tobytes() for row in ends}
    assert all(image.tobytes() in last_pictures for image in batch.image[worth])
    moving = Sampler(corner_store, replace(config, stop_share=0.0), 600, seed=0).batch(0)
    assert not ((moving.action[:, TERMINATE] == 1) & ~moving.ended).any()


def test_her_refuses_random_goals_and_its_relatives_need_theirs(tmp_path):
    for name, share in (("her", 0.3), ("her_random_negatives", 0.0)):
        config = _recipe(name, 1)
        Trainer(config, tmp_path / name)
        with pytest.raises(AmRosError, match=f"method {name}: .*random_share"):
            Trainer(replace(config, goals=replace(config.goals, random_share=share)), tmp_path / "other")
    config = _recipe("qt_opt", 1)
    with pytest.raises(AmRosError, match="method qt_opt: .*reward_share"):
        Trainer(replace(config, goals=replace(config.goals, reward_share=0.0)), tmp_path / "other")


def test_a_random_goal_is_worth_nothing_to_her_with_random_negatives(dot_store):
    """Of two networks the one that says 0 for random goals, and what it should for the others, has the lower loss."""
    goals = GoalConfig(random_share=0.5, at_goal_share=0, random_shift_px=0)
    batch = to_tensors(Sampler(dot_store, goals, 64, seed=0).batch(0), "cpu")
    random = batch["steps_to_goal"] < 0
    assert 10 < random.sum() < 54

    class Says(LinearQ):
        def __init__(self, logits):
            self.logits = logits

        def score(self, encoding, actions):
            return self.logits.unsqueeze(1).expand(actions.shape[:2])

    def loss(for_random):
        logits = torch.where(random, torch.tensor(for_random), torch.tensor(0.0))
        config = MethodConfig(method="her_random_negatives", monte_carlo_floor=False)
        return methods.loss(Says(logits), LinearQ(), batch, config, torch.Generator().manual_seed(0))[1]

    # gamma * max Q' of the lagged network is above 0.5 everywhere: only a target of 0 makes -20 the best answer.
    assert loss(-20.0)["loss"] < loss(-2.0)["loss"] < loss(0.0)["loss"]
    y = td_target(LinearQ(), batch, MethodConfig(monte_carlo_floor=False), torch.Generator().manual_seed(0))
    torch.testing.assert_close(loss(-20.0)["target"], torch.where(random, 0.0, y).mean())


def test_cloning_learns_to_reach_goal_images_and_acts_by_its_prior_alone(dot_store, tmp_path):
    Trainer(_recipe("gcbc", 350), tmp_path).fit(dot_store)
    policy = Policy.load(tmp_path / "checkpoint")
    assert policy.cem == find_recipe("gcbc").acting
    rng, reached = np.random.default_rng(1), 0
    for _ in range(30):
        goal, world = DotWorld(rng), DotWorld(rng)
        start = np.linalg.norm(world.position - goal.position)
        for _ in range(10):
            encoding = policy.network.encode(*(torch.from_numpy(a)[None] for a in (
                world.image(), goal.image(), np.zeros(6, np.float32))))  # fmt: skip
            mean = policy.network.prior(encoding).mean[0].detach().clamp(-1, 1).numpy()
            action = policy.act(world.image(), goal.image(), np.zeros(6, np.float32)).action
            if action.terminate:
                break
            vector = ActionSpace().to_vector(action)
            np.testing.assert_allclose(vector[:4], mean, atol=1e-6)
            world.step(vector)
        reached += np.linalg.norm(world.position - goal.position) < max(2.0, 0.2 * start)
    assert reached >= 24


def test_a_task_reward_is_learned_without_any_goal(corner_store, tmp_path):
    """QT-Opt offline: from random moves to a dot that goes to the corner, with a goal image of zeros."""
    config = _recipe("qt_opt", 400)
    config = replace(
        config, method=replace(config.method, target_cem=replace(config.method.target_cem, terminate=False))
    )
    Trainer(config, tmp_path).fit(corner_store)
    policy = Policy.load(tmp_path / "checkpoint", terminate=False)
    rng, blank, won, won_by_chance = np.random.default_rng(1), np.zeros((16, 16, 3), np.uint8), 0, 0
    for seed in range(30):
        world = DotWorld(rng)
        for _ in range(6):
            if not world.in_corner():
                decision = policy.act(world.image(), blank, np.zeros(6, np.float32))
                world.step(ActionSpace().to_vector(decision.action))
        won += world.in_corner()
        won_by_chance += DotWorld.corner_episode(10_000 + seed).info.outcome == 1
    assert won >= 24 and won_by_chance < 15


def test_the_minimum_of_two_lagged_networks_is_the_lower_value_of_the_first_ones_action():
    zeros = torch.zeros(8, 16, 16, 3, dtype=torch.uint8)
    batch = {
        "next_image": zeros, "goal_image": zeros, "next_state": torch.zeros(8, 6), "action": torch.eye(7)[[OPEN] * 8],
        "next_action": torch.eye(7)[[OPEN] * 8], "other_actions": torch.zeros(8, 0, 7),
        "steps_to_goal": torch.full((8,), -1),
        "final": torch.arange(8) < 2, "ended": torch.zeros(8, dtype=torch.bool), "reward": torch.zeros(8),
    }  # fmt: skip
    config = MethodConfig(gamma=0.8, target_cem=CemConfig(samples=64, iterations=2))

    def target(*networks):
        return td_target(list(networks), batch, config, torch.Generator().manual_seed(0))

    rising, lower, falling = LinearQ(), LinearQ(-1.0), LinearQ(sign=-1.0)
    torch.testing.assert_close(target(rising, lower), target(lower))  # the same best action, valued by the lower one
    torch.testing.assert_close(target(lower, rising), target(lower))
    torch.testing.assert_close(target(rising, rising), target(rising))
    # The first one's action is the highest along x; the second one likes it least: its Q is 1 - that.
    assert (target(rising)[2:] > 0.8 * 0.6).all() and (target(rising, falling)[2:] < 0.8 * 0.4).all()
    torch.testing.assert_close(target(rising, falling)[:2], torch.full((2,), 0.4))  # the action that was taken: x = 0


def test_the_prior_of_a_target_search_does_not_enter_the_value():
    class WithPrior(LinearQ):
        def prior(self, encoding):
            return Prior(torch.zeros(len(encoding), 4), torch.zeros(len(encoding), 3))

    zeros = torch.zeros(4, 16, 16, 3, dtype=torch.uint8)
    batch = {
        "next_image": zeros, "goal_image": zeros, "next_state": torch.zeros(4, 6), "action": torch.eye(7)[[OPEN] * 4],
        "next_action": torch.zeros(4, 7), "other_actions": torch.zeros(4, 0, 7), "steps_to_goal": torch.full((4,), -1),
        "final": torch.zeros(4, dtype=torch.bool), "ended": torch.zeros(4, dtype=torch.bool),
        "reward": torch.zeros(4),
    }  # fmt: skip
    config = MethodConfig(target_cem=CemConfig(samples=16, prior_weight=5.0))
    y = td_target(WithPrior(), batch, config, torch.Generator().manual_seed(0))
    assert (y > 0.95 * 0.4).all()  # near x = 0, where the prior wants to be; with the log-likelihood it was negative


def test_a_training_with_two_lagged_networks_resumes_exactly(tmp_path):
    store = _store(tmp_path / "store", random_episodes(6, steps=4, size=16))
    config = _recipe("paper", 14)
    config = replace(config, method=replace(config.method, older_every=5))
    whole = Trainer(config, tmp_path / "whole")
    whole.fit(store)
    Trainer(config, tmp_path / "parts").fit(store, until_update=8)
    resumed = Trainer(config, tmp_path / "parts")
    assert resumed.update == 8
    resumed.fit(store)
    for ours, theirs in (
        (resumed.learner.network, whole.learner.network),
        (resumed.learner.target, whole.learner.target),
        (resumed.learner.older, whole.learner.older),
    ):
        assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert not all(
        torch.equal(a, b)
        for a, b in zip(whole.learner.older.parameters(), whole.learner.target.parameters(), strict=True)
    )


@pytest.mark.parametrize("with_prior", [False, True])
def test_a_search_that_may_not_terminate_never_does(with_prior):
    prior = Prior(torch.zeros(50, 4), torch.tensor([[0.0, 0.0, 9.0]] * 50)) if with_prior else None
    seen = []

    def score(actions):  # wants nothing but to terminate
        seen.append(actions[..., -1].max())
        return actions[..., -1]

    generator = torch.Generator().manual_seed(0)
    for objective in ("q", "prior"):
        best, _ = maximise(score, 50, CemConfig(terminate=False, objective=objective), None, generator, prior)
        assert (best[:, -1] == 0).all()
    assert max(seen) == 0


def test_the_objective_prior_gives_the_priors_mean():
    torch.manual_seed(0)
    network = make_network(SMALL).eval()
    pixels = torch.randint(0, 256, (2, 5, 16, 16, 3), dtype=torch.uint8)
    with torch.no_grad():
        encoding = network.encode(*pixels, torch.randn(5, 6))
        prior, cem = network.prior(encoding), CemConfig(samples=2, iterations=1, objective="prior", terminate=False)
        best, _ = maximise(lambda a: objective_value(cem, network.score(encoding, a)), 5, cem, prior=prior)
    torch.testing.assert_close(best[:, :4], prior.mean.clamp(-1, 1))
    assert torch.equal(best[:, 4:6].argmax(dim=1), prior.logits[:, :2].argmax(dim=1))


def test_acting_by_a_prior_that_is_not_there_is_refused(corner_store, tmp_path):
    Trainer(_recipe("q_alone", 1), tmp_path / "q").fit(corner_store)
    with pytest.raises(AmRosError, match="objective prior: needs a network with a behaviour prior"):
        Policy.load(tmp_path / "q" / "checkpoint", objective="prior")
    Trainer(_recipe("gcbc", 1), tmp_path / "gcbc").fit(corner_store)
    with pytest.raises(AmRosError, match="objective prior: .*prior_weight above 0"):
        Policy.load(tmp_path / "gcbc" / "checkpoint", prior_weight=0.0)


def test_every_recipe_takes_a_few_updates(corner_store, tmp_path):
    for name in sorted(RECIPES, key=lambda name: RECIPES[name].method.frozen_prior):  # gcbc before what starts from it
        config = _recipe(name, 2)
        if config.goals.reward_share == 0:  # held-out figures, too
            config = replace(config, goals=replace(config.goals, held_out_share=0.2))
        start = tmp_path / "gcbc" / "checkpoint" if config.method.frozen_prior else None
        progress = Trainer(config, tmp_path / name, start_from=start).fit(corner_store)
        assert np.isfinite(list(progress.metrics.values())).all(), name

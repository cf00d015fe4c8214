"""Pictures that items of a batch share: items are those of the store, and each picture is encoded once."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from learning_data import DotWorld, noise_store, random_episodes, small_recipe

from am_ros.action import TERMINATE
from am_ros.episode import STATE_DIM
from am_ros.errors import AmRosError
from am_ros.learning import checkpoint, methods
from am_ros.learning.loader import to_tensors
from am_ros.learning.networks import NetworkConfig, make_network
from am_ros.learning.policy import Policy
from am_ros.learning.trainer import Trainer
from am_ros.replay.alike import POSITION
from am_ros.replay.sampling import IMAGES, GoalConfig
from am_ros.replay.shared import make_sampler
from am_ros.replay.store import ReplayStore

PLAIN = GoalConfig(random_share=0.3, at_goal_share=0.1, random_shift_px=0, shared_episodes=6, shared_observations=4)
SHARED = {"shared_encoder": True, "shared_episodes": 4}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = ReplayStore.create(tmp_path_factory.mktemp("shared") / "replay", (16, 16))
    store.append(random_episodes(12, 7, 16) + random_episodes(3, 1, 16))
    return store


def _row_of(store, pixels):
    """The row of the store that holds these pixels; all its pictures differ."""
    every = np.array(store.observations[np.arange(len(store.observations))])
    return np.flatnonzero((every == pixels).all(axis=(1, 2, 3))).item()


def test_every_item_is_one_of_the_store(store):
    sampler = make_sampler(store, PLAIN, 60, seed=3)
    batch = sampler.batch(5)
    frames = [_row_of(store, pixels) for pixels in batch.frames]
    rows, following, goals = (np.take(frames, getattr(batch, name)) for name in IMAGES)
    steps, last = batch.steps_to_goal, store.last_row
    at_goal, random_goal = steps == 0, steps < 0
    assert at_goal.sum() == 6 and random_goal.sum() == 18 and (steps > 0).sum() == 36
    assert (following == rows + ~at_goal).all()
    episode = np.searchsorted(store.first, rows, "right")
    assert (np.searchsorted(store.first, goals, "right") == episode)[~random_goal].all()
    assert (np.searchsorted(store.first, goals, "right") != episode)[random_goal].mean() > 0.5  # one may be drawn twice
    hindsight = steps > 0
    assert (goals == rows + steps)[hindsight].all() and (goals[hindsight] <= np.take(last, rows)[hindsight]).all()
    assert (batch.action[at_goal, TERMINATE] == 1).all()
    assert (batch.action == np.array(store.actions[rows]))[~at_goal].all()
    assert (batch.state == np.array(store.states[rows])).all()
    assert batch.near_goal[at_goal].all() and len(np.unique(episode)) <= 6
    assert len(batch.frames) <= np.prod(sampler.observed_shape[:1]) and len(np.unique(rows)) <= 24


def test_a_look_alike_has_a_picture_of_its_own_and_the_others_stay_as_they_are(tmp_path):
    """Two tools on the same line, in episodes with other pictures."""
    count, length = 40, 6
    states = np.zeros((count * length, STATE_DIM), np.float32)
    states[:, POSITION[0]] = np.tile(np.arange(length) / 10, count)
    states[:, POSITION[1]] = 0.01 * np.repeat(np.arange(count) % 3, length) + 0.1
    pixels = np.arange(len(states), dtype=np.uint8)[:, None, None, None] * np.ones((1, 16, 16, 3), np.uint8)
    ends = np.arange(len(states)) % length == length - 1
    store = ReplayStore.from_arrays(tmp_path / "s", pixels, np.full((len(states), 4), 0.1), ends, states=states)
    config = replace(PLAIN, random_share=0.5, alike_share=0.4, near_goal_m=0.015)
    sampler = make_sampler(store, config, 200, seed=0)
    batch, plain = sampler.batch(2), make_sampler(store, replace(config, alike_share=0.0), 200, seed=0).batch(2)
    alike = (batch.steps_to_goal == -1) & (batch.action[:, TERMINATE] > 0.5)
    assert alike.sum() == 40 and not batch.final[alike].any() and not batch.near_goal[alike].any()
    rows, following, goals = (batch.frames[getattr(batch, name)][:, 0, 0, 0].astype(int) for name in IMAGES)
    assert (rows // length != goals // length)[alike].all() and (following == rows)[alike].all()
    assert (np.linalg.norm(states[rows] - states[goals], axis=1) < 0.03)[alike].all()
    assert len(batch.frames) <= sampler.observed_shape[0]
    others = [plain.frames[getattr(plain, name)][:, 0, 0, 0] for name in IMAGES]
    for one, other in zip((rows, following, goals), others, strict=True):
        assert (one == other)[~alike].all()
    assert (batch.action == plain.action)[~alike].all() and (batch.final == plain.final)[~alike].all()
    halves = [make_sampler(store, config, 200, seed=0, rank=rank, size=2).batch(2) for rank in range(2)]
    for rank, half in enumerate(halves):
        assert (half.frames[half.goal_image][:, 0, 0, 0] == goals[rank::2]).all()
        assert (half.action == batch.action[rank::2]).all()


def test_the_way_to_a_goal_is_as_long_as_without_sharing(store):
    means = []
    for steps in (0.0, 1.5):
        sampler = make_sampler(store, replace(PLAIN, shared_observations=8, hindsight_steps=steps), 600, seed=0)
        ahead = np.concatenate([sampler.batch(i).steps_to_goal for i in range(20)])
        means.append(ahead[ahead > 0].mean())
    assert 2.3 < means[0] < 2.7 and 1.3 < means[1] < 1.7  # of 7 steps, uniform: 2.5 on average


@pytest.mark.parametrize("mean", [0.5, 3.0, 40.0])
def test_goals_of_a_long_episode_are_as_near_as_asked_for(tmp_path, mean):
    store = ReplayStore.create(tmp_path / "long", (4, 4))
    store.append(random_episodes(2, 600, 4))
    config = replace(PLAIN, shared_episodes=8, shared_observations=8, hindsight_steps=mean)
    ahead = np.concatenate([make_sampler(store, config, 200, seed=0).batch(i).steps_to_goal for i in range(10)])
    ahead = ahead[ahead > 0]
    assert max(1, 0.5 * mean) <= ahead.mean() <= max(1.6, 1.5 * mean) and ahead.max() <= 3 * mean + 1


def test_a_batch_is_a_function_of_its_number_and_its_seed(store):
    one, again = (make_sampler(store, PLAIN, 24, seed=1).batch(7) for _ in range(2))
    other = make_sampler(store, PLAIN, 24, seed=1).batch(8)
    assert (one.frames == again.frames).all() and (one.action == again.action).all()
    assert one.action.tolist() != other.action.tolist()


def test_processes_that_share_a_batch_see_together_what_one_would(store):
    config = replace(PLAIN, noise_levels=3, camera_shift_px=2, random_shift_px=3, photometric=0.5)
    whole = make_sampler(store, config, 24, seed=1).batch(7)
    for rank in (0, 1):
        part = make_sampler(store, config, 24, seed=1, rank=rank, size=2).batch(7)
        for name in IMAGES:
            mine = whole.frames[getattr(whole, name)][rank::2]
            assert (part.frames[getattr(part, name)] == mine).all(), name
        for name in ("action", "state", "steps_to_goal", "near_goal", "final"):
            assert (getattr(part, name) == getattr(whole, name)[rank::2]).all(), name


def test_each_picture_has_light_noise_and_camera_of_its_own_and_one_shift_is_for_all(store):
    batch = make_sampler(store, replace(PLAIN, random_shift_px=3), 60, seed=0).batch(0)
    for name, moved in (("camera_shift_px", 2), ("noise_levels", 3), ("photometric", 1.0)):
        changed = make_sampler(store, replace(PLAIN, random_shift_px=3, **{name: moved}), 60, seed=0).batch(0)
        assert (changed.image == batch.image).all()
        assert (changed.frames != batch.frames).any(axis=(1, 2, 3)).mean() > 0.8
    shifts = [_shift(store, pixels) for pixels in batch.frames]
    assert len(set(shifts)) == 1 and shifts[0] != (0, 0)


def _shift(store, pixels):
    """Down and right, as gather.shift_into means them: where the middle of a picture lies in one of the store."""
    every, middle = np.array(store.observations[np.arange(len(store.observations))]), pixels[4:12, 4:12]
    for down in range(-4, 5):
        for right in range(-4, 5):
            if (every[:, 4 + down : 12 + down, 4 + right : 12 + right] == middle).all(axis=(1, 2, 3)).any():
                return down, right
    raise AssertionError("no such picture")


@pytest.mark.parametrize("recipe", ["gcbc", "best", "beside_cloning", "contrastive", "gcivl"])
def test_sharing_changes_the_cost_of_a_loss_and_not_its_value(store, recipe):
    """The same items with pictures of their own."""
    config = small_recipe(recipe, shared_encoder=True).settled()  # contrastive: a network that cannot share
    goals = replace(config.goals, shared_episodes=4)
    batch = to_tensors(make_sampler(store, goals, 16, seed=0).batch(0), "cpu")
    apart = {**batch, "frames": torch.zeros(0), **{name: batch["frames"][batch[name]] for name in IMAGES}}
    network, lagged = make_network(config.network), make_network(config.network)
    found = []
    for one in (batch, apart):
        network.zero_grad()
        total, _ = methods.loss(network, lagged, one, config.method, torch.Generator().manual_seed(0))
        total.backward()
        found.append((total.item(), [p.grad.clone() for p in network.parameters() if p.grad is not None]))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5) and len(found[0][1]) == len(found[1][1]) > 10
    for a, b in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)


def test_each_picture_is_encoded_once(store):
    config = small_recipe("best", **SHARED)
    network = make_network(config.network)
    seen = []
    network.stem.register_forward_hook(lambda _module, inputs, _out: seen.append(len(inputs[0])))
    batch = to_tensors(make_sampler(store, config.goals, 64, seed=0).batch(0), "cpu")
    methods.loss(network, make_network(config.network), batch, config.method, torch.Generator().manual_seed(0))
    assert len(seen) == 1 and seen[0] <= 4 * 8 + 5 < 64


def test_it_resumes_exactly_and_acts(store, tmp_path):
    config = small_recipe("best", updates=6, **SHARED)
    Trainer(config, tmp_path / "whole").fit(store)
    Trainer(config, tmp_path / "parts").fit(store, until_update=3)
    Trainer(config, tmp_path / "parts").fit(store)
    whole, parts = (checkpoint.load(tmp_path / name / "checkpoint").weights for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    policy = Policy.load(tmp_path / "whole" / "checkpoint", seed=0)
    picture = np.array(store.observations[np.arange(2)])
    chosen = policy.choose_batch(picture, picture[::-1], np.zeros((2, STATE_DIM), np.float32))
    assert np.isfinite([c.vector for c in chosen]).all()


def test_cloning_learns_where_the_dot_shall_go(tmp_path):
    store = ReplayStore.create(tmp_path / "store", (16, 16))
    store.append([DotWorld.episode(i) for i in range(200)])
    config = small_recipe(
        "gcbc", updates=250, width=64, channels=8, learning_rate=3e-3, warmup_updates=20, batch_size=64,
        camera_shift_px=0, shared_encoder=True, shared_episodes=16,
    )  # fmt: skip
    trainer = Trainer(config, tmp_path / "out")
    trainer.fit(store)
    test = [DotWorld.episode(1000 + i) for i in range(40)]
    now, then = (np.stack([e.images[i] for e in test]) for i in (0, 1))
    network, states = trainer.learner.target, torch.zeros(40, STATE_DIM)
    with torch.no_grad():
        found = network.prior(network.encode(torch.from_numpy(now), torch.from_numpy(then), states)).mean[:, :2]
    wanted = torch.from_numpy(np.stack([e.actions[0, :2] for e in test]))
    error, chance = (found - wanted).norm(dim=1).mean(), wanted.norm(dim=1).mean()
    assert error < 0.5 * chance


def test_what_cannot_share_is_said_in_one_sentence(store):
    for goals, word in (
        (replace(PLAIN, reward_share=0.1), "reward_share"),
        (replace(PLAIN, shared_episodes=1), "shared_episodes"),
    ):
        with pytest.raises(AmRosError, match=word):
            make_sampler(store, goals, 8, seed=0)
    for changes in ({"preset": "state", "observation_size": 3}, {"factored": 8}):
        with pytest.raises(AmRosError, match="shared_encoder"):
            make_network(NetworkConfig(**{"shared_encoder": True, **changes}))


STATES = {"preset": "state", "observation_size": 3}


@pytest.mark.parametrize("changes", [STATES, {"reward_share": 0.1}, {"shared_encoder": False}], ids=str)
def test_what_cannot_share_has_pictures_of_its_own_and_learns(changes, tmp_path, store):
    config = small_recipe("best", **{**SHARED, **changes})
    assert not config.settled().goals.shared_episodes
    if changes != STATES:
        data = noise_store(tmp_path / "replay") if "reward_share" in changes else store  # with successes
        assert Trainer(config, tmp_path / "out").fit(data).update == 4

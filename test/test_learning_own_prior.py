"""A behaviour prior with an encoder of its own: Q does not shape it, and it may come from a cloning checkpoint."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from learning_data import noise_store, small_recipe

from am_ros import cli
from am_ros.episode import STATE_DIM
from am_ros.errors import AmRosError
from am_ros.learning import checkpoint
from am_ros.learning.keeper import start_network
from am_ros.learning.networks import NetworkConfig, make_network
from am_ros.learning.policy import Policy
from am_ros.learning.trainer import Trainer


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return noise_store(tmp_path_factory.mktemp("store") / "replay")


def _prior(folder):
    found = checkpoint.load(folder).weights
    return {name: value for name, value in found.items() if name.startswith("prior")}


@pytest.fixture(scope="module")
def cloned(store, tmp_path_factory):
    out = tmp_path_factory.mktemp("gcbc")
    Trainer(small_recipe("gcbc"), out).fit(store)
    return out / "checkpoint"


@pytest.mark.parametrize("preset", ["small", "state"])
def test_no_gradient_of_q_reaches_the_prior(preset):
    config = NetworkConfig(
        preset=preset, image_size=16, observation_size=3, width=16, channels=4, prior_encoder=True, anchors=1
    )
    network = make_network(config)
    shape = (2, *config.observation_shape)
    seen = torch.rand(shape) if preset == "state" else torch.randint(0, 255, shape, dtype=torch.uint8)
    encoding = network.encode(seen, seen.flip(0), torch.rand(2, STATE_DIM))
    network.score(encoding, torch.rand(2, 5, 7)).sum().backward()
    reached = {name.split(".")[0] for name, weight in network.named_parameters() if weight.grad is not None}
    assert reached == {"value_encoder", "beside", "film", "head", "anchors"}
    network.zero_grad()
    network.prior(network.encode(seen, seen, torch.rand(2, STATE_DIM))).mean.sum().backward()
    reached = {name.split(".")[0] for name, weight in network.named_parameters() if weight.grad is not None}
    assert reached == {"prior_encoder", "prior_head"}


def test_a_cloning_checkpoint_becomes_the_prior_and_stays_as_it_is(store, cloned, tmp_path):
    config = small_recipe("beside_cloning")
    trainer = Trainer(config, tmp_path / "out", start_from=cloned)
    for name, value in trainer.learner.network.value_encoder.state_dict().items():
        assert torch.equal(value, checkpoint.load(cloned).weights[name]), "Q begins with what cloning sees"
    trainer.fit(store, until_update=2)
    trainer = Trainer(config, tmp_path / "out", start_from=cloned)
    assert trainer.update == 2, "it goes on"
    trainer.fit(store)
    found, given = _prior(tmp_path / "out" / "checkpoint"), checkpoint.load(cloned).weights
    assert len(found) > 10
    for name, value in found.items():
        assert torch.equal(value, given[name.removeprefix("prior_encoder.")])
    learned = checkpoint.load(tmp_path / "out" / "checkpoint").weights
    assert not torch.equal(learned["value_encoder.flat.weight"], given["flat.weight"])
    head = Policy.load(cloned)
    q = Policy.load(tmp_path / "out" / "checkpoint", cem=head.cem)
    for i in range(3):
        picture, goal = store.observations[i], store.observations[i + 3]
        assert np.allclose(q(picture, goal), head(picture, goal), atol=1e-6)


def test_in_one_go_and_interrupted_are_the_same_weights(store, cloned, tmp_path):
    config = small_recipe("beside_cloning")
    Trainer(config, tmp_path / "once", start_from=cloned).fit(store)
    Trainer(config, tmp_path / "twice", start_from=cloned).fit(store, until_update=2)
    Trainer(config, tmp_path / "twice", start_from=cloned).fit(store)
    once, twice = (checkpoint.load(tmp_path / name / "checkpoint").weights for name in ("once", "twice"))
    assert all(torch.equal(value, twice[name]) for name, value in once.items())


def test_a_prior_that_is_not_frozen_learns_on(store, cloned, tmp_path):
    Trainer(small_recipe("best", prior_encoder=True), tmp_path / "out", start_from=cloned).fit(store)
    given = checkpoint.load(cloned).weights
    for name, value in _prior(tmp_path / "out" / "checkpoint").items():
        assert not torch.equal(value, given[name.removeprefix("prior_encoder.")]), name


def test_the_command_puts_q_beside_a_cloning_checkpoint_and_goes_on_from_that(store, cloned, tmp_path):
    command = ["train", "--replay", str(store.folder), "--updates", "2", "--random-shift-px", "0"]
    second, third, fourth = tmp_path / "second", tmp_path / "third", tmp_path / "fourth"
    beside = ["--recipe", "beside_cloning", "--start-from", str(cloned)]
    assert cli.main([*command, *beside, "--out", str(second)]) == 0
    # A new task is learned with all of it, whatever the recipe says of the network.
    for recipe, out in (("best", third), ("qt_opt_auxiliary", fourth)):
        start = ["--recipe", recipe, "--start-from", str(second / "checkpoint"), "--out", str(out)]
        assert cli.main([*command, *start]) == 0
        before, after = _prior(second / "checkpoint"), _prior(out / "checkpoint")
        assert before.keys() == after.keys() and not any(torch.equal(before[name], after[name]) for name in before)


def test_what_does_not_go_together_is_refused_by_name(store, cloned, tmp_path):
    frozen = small_recipe("beside_cloning")
    with pytest.raises(AmRosError, match="frozen_prior: needs the checkpoint that has learned it; name it in start_f"):
        Trainer(frozen, tmp_path / "out")
    shared = replace(frozen, network=replace(frozen.network, prior_encoder=False))
    with pytest.raises(AmRosError, match="frozen_prior: Q and behaviour prior share an encoder; set prior_encoder"):
        Trainer(shared, tmp_path / "out", start_from=cloned)
    with pytest.raises(AmRosError, match="prior_encoder: is for the presets small and state, without factored"):
        make_network(NetworkConfig(preset="qt_opt", image_size=472, prior_encoder=True))
    with pytest.raises(AmRosError, match="prior_encoder: is for the presets small and state, without factored"):
        make_network(NetworkConfig(factored=8, prior_encoder=True))
    narrow = replace(frozen, network=replace(frozen.network, width=8))
    with pytest.raises(AmRosError, match=r"its network differs \(width\)"):
        Trainer(narrow, tmp_path / "out", start_from=cloned)


def test_only_q_beside_a_prior_has_an_encoder_for_it(store, cloned):
    for recipe in ("gcbc", "q_alone"):
        assert not small_recipe(recipe, prior_encoder=True).settled().network.prior_encoder
    assert small_recipe("best", prior_encoder=True).settled().network.prior_encoder
    best = small_recipe("best", prior_encoder=True).network
    started = start_network(cloned, best)
    assert started.prior_encoder and started.anchors == best.anchors and started.width == 16
    assert not start_network(cloned, NetworkConfig()).prior_encoder, "as the checkpoint, where nobody asked for more"

"""CEM and the Q-networks behind it."""

from dataclasses import replace

import pytest
import torch

from am_ros.action import ACTION_DIM, CONTINUOUS_DIM, OPEN, TERMINATE
from am_ros.errors import AmRosError
from am_ros.learning.cem import CemConfig, Prior, maximise, one_hot_actions, uniform_actions
from am_ros.learning.networks import NetworkConfig, make_network, parameter_count
from am_ros.learning.qt_opt_network import QtOptNetwork


def _peak_at(target: torch.Tensor, choice: int):
    """A score with its maximum at displacement `target` [B, 4] and the discrete action of index `choice`."""

    def score(actions):
        distance = (actions[..., :CONTINUOUS_DIM] - target.unsqueeze(1)).norm(dim=-1)
        return actions[..., choice] - distance

    return score


def test_cem_finds_the_best_action_of_every_item_in_the_batch():
    torch.manual_seed(0)
    target = torch.rand(5, CONTINUOUS_DIM) - 0.5
    best, value = maximise(_peak_at(target, OPEN), 5, CemConfig(samples=256, iterations=6))
    assert (best[:, :CONTINUOUS_DIM] - target).abs().max() < 0.1
    assert (best[:, OPEN] == 1).all()
    assert (value > 0.8).all()


def test_cem_never_returns_less_than_the_best_sample_of_any_iteration():
    seen = []

    def score(actions):
        values = torch.randn(actions.shape[:2])
        seen.append(values.amax(dim=1))
        return values

    _, value = maximise(score, 3, CemConfig(samples=8, iterations=4))
    assert torch.equal(value, torch.stack(seen).amax(dim=0))


def test_a_nan_score_is_never_chosen():
    def score(actions):
        values = actions[..., 0].clone()
        values[:, ::2] = torch.nan
        return values

    _, value = maximise(score, 4, CemConfig(samples=16))
    assert torch.isfinite(value).all()


def test_cem_with_only_nan_scores_says_minus_infinity():
    _, value = maximise(lambda a: torch.full(a.shape[:2], torch.nan), 2, CemConfig(samples=8))
    assert (value == -torch.inf).all()


def test_the_behaviour_priors_own_action_is_among_the_candidates():
    prior = Prior(torch.full((2, CONTINUOUS_DIM), 0.9), torch.tensor([[0.0, 9.0, 0.0]] * 2))
    wanted = one_hot_actions(torch.full((2, CONTINUOUS_DIM), 0.9), torch.tensor([1, 1]))

    def score(actions):
        return (actions == wanted.unsqueeze(1)).all(dim=-1).float()

    best, value = maximise(score, 2, CemConfig(samples=16, iterations=1, prior_weight=0.0), prior=prior)
    assert torch.equal(best, wanted) and (value == 1).all()


def test_the_prior_outweighs_q_as_far_as_its_weight_says():
    prior = Prior(torch.zeros(1, CONTINUOUS_DIM), torch.zeros(1, 3))

    def score(actions):  # Q wants to go far along x
        return actions[..., 0]

    far = [
        maximise(score, 1, CemConfig(samples=512, iterations=4, prior_weight=w), prior=prior)[0][0, 0].item()
        for w in (0.0, 1.0, 100.0)
    ]
    # The log-likelihood is -(x / 0.2)^2 / 2: with weight w the best x is 0.04 / w, without it the farthest candidate.
    assert far[0] > 0.4 and abs(far[1] - 0.04) < 0.1 and abs(far[2]) < 0.05


def test_a_terminating_action_moves_nothing():
    actions = uniform_actions(50, 20)
    assert actions.shape == (50, 20, ACTION_DIM)
    terminates = actions[..., TERMINATE] == 1
    assert terminates.any() and (actions[terminates][:, :CONTINUOUS_DIM] == 0).all()
    assert torch.equal(actions[..., CONTINUOUS_DIM:].sum(dim=-1), torch.ones(50, 20))


@pytest.mark.parametrize(("channels", "parameters"), [(3, 1_242_817), (6, 1_249_729)])
def test_qt_opt_has_the_published_number_of_parameters(channels, parameters):
    published = NetworkConfig(preset="qt_opt", image_size=472, behaviour_prior=False)
    assert parameter_count(QtOptNetwork(published, channels)) == parameters
    with_prior = QtOptNetwork(replace(published, behaviour_prior=True), channels)
    assert parameter_count(with_prior) - parameter_count(with_prior.prior_tail) == parameters


def test_qt_opt_maps_have_the_published_sizes():
    network = QtOptNetwork(NetworkConfig(preset="qt_opt", image_size=472)).eval()
    sizes = []
    valid = network.q_tail.convs_valid
    for layer in (network.conv1, network.tower[0], network.tower[-1], valid[0], valid[-1]):
        layer.register_forward_hook(lambda _m, given, out: sizes.append((given[0].shape[-1], out.shape[-1])))
    blank = torch.zeros(1, 472, 472, 3, dtype=torch.uint8)
    with torch.no_grad():
        cells, state = network.encode(blank, blank, torch.zeros(1, 6))
        logits = network.score((cells, state), torch.zeros(1, 2, ACTION_DIM))
    assert cells.shape == (1, 64, 27, 27) and logits.shape == (1, 2)
    assert [out for _, out in sizes] == [236, 79, 79, 12, 8]
    assert sizes[3][0] == 14  # what pool3 hands on
    assert network.sizes(472) == {"conv1": 236, "pool1": 79, "pool2": 27, "pool3": 14, "conv16": 8}


@pytest.mark.parametrize("config", [NetworkConfig(image_size=64), NetworkConfig(preset="qt_opt", image_size=256)])
def test_q_of_many_actions_at_once_equals_q_of_each_alone(config):
    torch.manual_seed(1)
    network = make_network(config).eval()
    for parameter in network.parameters():  # the published initialisation is nearly zero: make differences visible
        if parameter.dim() > 1:
            torch.nn.init.kaiming_normal_(parameter)
    image, goal = torch.randint(0, 256, (2, 2, config.image_size, config.image_size, 3), dtype=torch.uint8)
    state, actions = torch.randn(2, 6), uniform_actions(2, 5)
    with torch.no_grad():
        tiled = network.score(network.encode(image, goal, state), actions)
        for i in range(5):
            alone = network.score(network.encode(image, goal, state), actions[:, i : i + 1])
            torch.testing.assert_close(alone[:, 0], tiled[:, i], rtol=1e-3, atol=1e-4)
    assert tiled.std() > 1e-3


def test_an_image_size_the_network_cannot_take_is_named():
    with pytest.raises(AmRosError, match="image_size: 60"):
        make_network(NetworkConfig(image_size=60))
    with pytest.raises(AmRosError, match="image_size: 128"):
        make_network(NetworkConfig(preset="qt_opt", image_size=128))

"""The full-size network as it acts gives the values of the one that learns, and the search the same choice."""

import numpy as np
import pytest
import torch

from am_ros.learning.cem import CemConfig, uniform_actions
from am_ros.learning.networks import NetworkConfig, make_network
from am_ros.learning.policy import Policy
from am_ros.learning.qt_opt_acting import for_acting

SIZE = 220


@pytest.fixture(scope="module")
def network():
    """Untrained, but with activations of a trained one's size: batch norm has seen a batch, and Q differs by action."""
    torch.manual_seed(0)
    network = make_network(NetworkConfig(preset="qt_opt", image_size=SIZE))
    for module in network.modules():
        if isinstance(module, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)):
            module.momentum = 1.0
            torch.nn.init.normal_(module.bias, std=0.3)
    images, state = _inputs(4)
    with torch.no_grad():
        network.train()
        network.score(network.encode(*images, state), uniform_actions(4, 8))
        network.prior(network.encode(*images, state))
        network.q_tail.head[-1].weight *= 30
    return network.eval()


def _inputs(batch):
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (2, batch, SIZE, SIZE, 3), dtype=torch.uint8, generator=generator)
    return images, torch.rand(batch, 6, generator=generator)


@pytest.mark.parametrize("precision, tolerance", [("fp32", 1e-4), ("bf16", 0.4)])
@torch.no_grad()
def test_folded_layers_give_the_values_of_the_network(network, precision, tolerance):
    """To rounding, which weights that nothing has smoothed make much of."""
    images, state = _inputs(2)
    actions = uniform_actions(2, 20, generator=torch.Generator().manual_seed(2))
    acting = for_acting(network, precision)
    expected, got = (n.score(n.encode(*images, state), actions) for n in (network, acting))
    assert expected.std() > 0.1 and got.dtype == torch.float32
    assert (got - expected).square().mean().sqrt() < tolerance * expected.std()
    if precision == "fp32":
        proposals = [n.prior(n.encode(*images, state)).mean for n in (network, acting)]
        torch.testing.assert_close(*proposals, rtol=0, atol=1e-4)


def test_a_search_in_bf16_finds_actions_as_good_as_one_in_fp32(network):
    """To the search's own noise: how far the values of its choices lie apart with other random numbers."""
    meta = {"image_size": SIZE, "action_space": {}, "update": 0}
    (image,), (goal,) = (part[:1].numpy() for part in _inputs(1)[0])
    state, found = np.zeros(6, np.float32), {}
    cem = CemConfig(samples=16, iterations=2, prior_share=0.0, prior_weight=0.0)
    for precision in ("fp32", "bf16"):
        policy = Policy(network, meta, cem, precision=precision)
        found[precision] = []
        for seed in range(4):
            policy.reset(seed)
            found[precision].append(policy.choose(image, goal, state).vector)
    with torch.no_grad():
        encoding = network.encode(*(torch.from_numpy(a)[None] for a in (image, goal, state)))
        q = {
            precision: network.score(encoding, torch.from_numpy(np.stack(actions))[None])[0].sigmoid()
            for precision, actions in found.items()
        }
    assert (q["fp32"] - q["bf16"]).abs().mean() < q["fp32"].std()

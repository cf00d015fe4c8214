"""What a network is and costs: parameters, sizes of its maps, multiply-adds of a decision. Counted, not looked up."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from am_ros.action import DISCRETE_DIM
from am_ros.episode import STATE_DIM
from am_ros.learning.cem import CemConfig
from am_ros.learning.networks import NetworkConfig, QNetwork, make_network, parameter_count
from am_ros.learning.qt_opt_network import QtOptNetwork


def describe(config: NetworkConfig, search: CemConfig) -> dict[str, Any]:
    """Figures of a freshly made network: one entry per line of the command's output.

    `parameters` and `multiply_adds` are those of Q; the cloning head, if there is one, stands beside them. The tower
    runs once per state, the tail once per candidate action, the cloning head once per state.
    """
    network = make_network(config).eval()
    heads = [part for name, part in network.named_children() if name.startswith("prior")]
    prior_parameters = sum(map(parameter_count, heads))
    shape = (1, *config.observation_shape)
    blank = torch.zeros(shape, dtype=torch.float32 if config.preset == "state" else torch.uint8)
    inputs, action = (blank, blank, torch.zeros(1, STATE_DIM)), torch.zeros(1, 1, config.displacements + DISCRETE_DIM)
    with torch.no_grad():
        encoding = network.encode(*inputs)
        tower = multiply_adds(network, lambda: network.encode(*inputs))
        tail = multiply_adds(network, lambda: network.score(encoding, action))
        prior = multiply_adds(network, lambda: network.prior(encoding))
    candidates = search.samples * search.iterations
    return {
        "preset": config.preset,
        "network": asdict(config),
        "parameters": parameter_count(network) - prior_parameters,
        "parameters_behaviour_prior": prior_parameters,
        "sizes": QtOptNetwork.sizes(config.image_size) if config.preset == "qt_opt" else _sizes(network, inputs),
        "multiply_adds": {"tower_per_state": tower, "tail_per_candidate": tail, "behaviour_prior_per_state": prior},
        "decision": {
            "candidates": candidates,
            "multiply_adds": tower + prior + candidates * tail,
            "multiply_adds_without_sharing_the_tower": candidates * (tower + tail),
        },
    }


def multiply_adds(network: nn.Module, run: Callable[[], object]) -> int:
    """Multiply-adds of the convolutions and dense layers of `network` while `run()` is called."""
    total = 0

    def count(layer: nn.Module, _given: object, out: torch.Tensor) -> None:
        nonlocal total
        # Every number of the output is a sum over one row of the weights.
        assert isinstance(layer, (nn.Conv2d, nn.Linear))
        total += out.numel() * layer.weight[0].numel()

    layers = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return total


@torch.no_grad()
def _sizes(network: QNetwork, inputs: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> dict[str, int]:
    """Height and width of the map that each convolution of the encoder gives."""
    found: dict[str, int] = {}
    hooks = [
        layer.register_forward_hook(lambda _m, _given, out, name=name: found.update({name: out.shape[-1]}))
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Conv2d)
    ]
    network.encode(*inputs)
    for hook in hooks:
        hook.remove()
    return found

"""The full-size network as it acts: the same values with fewer and shorter multiplications, in bf16 where that is fast.

Batch normalisation is folded into the layers before it. The first convolution of the tail sees map + embedding, and
convolution is linear: that of the map is computed once per state, that of an embedding, constant over the map, is nine
vectors: one for the middle, one for each border and corner.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from am_ros.learning.cem import Prior
from am_ros.learning.device import has_bf16
from am_ros.learning.networks import QNetwork
from am_ros.learning.qt_opt_network import ConvBlock, DenseBlock, QtOptNetwork, Tail, same_pool

# Candidates at once: what a layer of so many writes is still in the cache of a core when the next one reads it.
_TOGETHER = 16
# Which of the three taps of a kernel lie on the map at its first row, in the middle, at its last row.
_TAPS = torch.tensor([[0.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])


def for_acting(network: QNetwork, precision: str = "auto") -> QNetwork:
    """The network as a policy uses it; only the full-size one gets another form. `precision`: auto, bf16 or fp32."""
    if not isinstance(network, QtOptNetwork):
        return network
    device = next(network.parameters()).device
    bf16 = precision == "bf16" or (precision == "auto" and has_bf16(device))
    return ActingQtOpt(network, torch.bfloat16 if bf16 else torch.float32)


def _folded(layer: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution or linear layer with the batch normalisation behind it, as it acts."""
    assert isinstance(layer, (nn.Conv2d, nn.Linear)) and isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d))
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None and variance is not None
    scale = (variance + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight
    bias = torch.zeros_like(mean) if layer.bias is None else layer.bias
    weight = layer.weight * scale.view(-1, *[1] * (layer.weight.dim() - 1))
    return weight.detach(), ((bias - mean) * scale + norm.bias).detach()


class _Folded(nn.Module):
    """A convolution or linear layer as `_folded` makes it, in `dtype`."""

    def __init__(self, block: nn.Module, dtype: torch.dtype, factor: float = 1.0):
        super().__init__()
        assert isinstance(block, (ConvBlock, DenseBlock))
        self.conv = block.conv if isinstance(block, ConvBlock) else None
        weight, bias = _folded(block.conv if isinstance(block, ConvBlock) else block.linear, block.norm)
        weight = (weight * factor).to(dtype)
        if self.conv is not None:
            weight = weight.contiguous(memory_format=torch.channels_last)
        self.weight, self.bias = nn.Parameter(weight, False), nn.Parameter(bias.to(dtype), False)

    def forward(self, x: Tensor) -> Tensor:
        """The layer without its ReLU."""
        if self.conv is None:
            return functional.linear(x, self.weight, self.bias)
        return functional.conv2d(x, self.weight, self.bias, self.conv.stride, self.conv.padding)


class _ActingTail(nn.Module):
    """A Tail with its layers folded."""

    def __init__(self, tail: Tail, dtype: torch.dtype):
        super().__init__()
        self.blocks_in, self.blocks_norm = tail.blocks_in, tail.blocks_norm
        self.embed = _Folded(tail.blocks_out, torch.float32)
        first, *same = tail.convs_same
        self.first = _Folded(first, dtype)
        taps = _TAPS.to(self.first.weight.device)
        # [3, 3, in, out]: what a constant map becomes at its borders and in its middle.
        weight = torch.einsum("oiyx,ry,cx->rcio", _Folded(first, torch.float32).weight, taps, taps)
        self.constant = nn.Parameter(weight, False)
        self.same = nn.ModuleList([_Folded(block, dtype) for block in same])
        self.valid = nn.ModuleList([_Folded(block, dtype) for block in tail.convs_valid])
        *dense, last = tail.head
        self.dense, self.last = nn.ModuleList([_Folded(block, dtype) for block in dense]), last

    def forward(self, cells: Tensor, blocks: list[Tensor]) -> Tensor:
        """As Tail: maps [B, 64, H, W] and blocks [B, N, sizes] -> [B, N, outputs]."""
        summed = sum(layer(block) for layer, block in zip(self.blocks_in, blocks, strict=True))
        count = blocks[0].shape[1]
        normed = self.blocks_norm(summed.flatten(0, 1)).relu()
        embedded = self.embed(normed).relu_().unflatten(0, (-1, count))
        maps = self.first(cells).permute(0, 2, 3, 1)  # [B, H, W, 64]
        added = torch.einsum("bni,rcio->bnrco", embedded, self.constant).to(maps.dtype)
        return torch.stack(
            [
                torch.cat([self._judged(one, some) for some in own.split(_TOGETHER)])
                for one, own in zip(maps, added, strict=True)
            ]
        )

    def _judged(self, maps: Tensor, added: Tensor) -> Tensor:
        """A map [H, W, 64], and what is added to it [N, 3, 3, 64] at borders and in the middle -> [N, outputs]."""
        x = maps + added[:, 1:2, 1:2]
        x[:, 0, 1:-1], x[:, -1, 1:-1] = maps[0, 1:-1] + added[:, 0, 1:2], maps[-1, 1:-1] + added[:, 2, 1:2]
        x[:, 1:-1, 0], x[:, 1:-1, -1] = maps[1:-1, 0] + added[:, 1:2, 0], maps[1:-1, -1] + added[:, 1:2, 2]
        for row in (0, -1):
            for column in (0, -1):
                x[:, row, column] = maps[row, column] + added[:, row, column]
        x = x.relu_().permute(0, 3, 1, 2)
        *same, last = self.same
        for layer in same:
            x = layer(x).relu_()
        x = same_pool(last(x), 2, 2).relu_()  # the largest first: fewer to cut off
        for layer in self.valid:
            x = layer(x).relu_()
        x = x.flatten(1)
        for layer in self.dense:
            x = layer(x).relu_()
        outputs: Tensor = self.last(x.float())
        return outputs


class ActingQtOpt(QNetwork):
    """A QtOptNetwork in evaluation, computing in `dtype`; it does not follow later changes of that one's weights."""

    def __init__(self, network: QtOptNetwork, dtype: torch.dtype):
        super().__init__()
        network.eval()
        self.config, self.dtype = network.config, dtype
        self.conv1 = _Folded(network.conv1, dtype, 1 / 255)
        self.tower = nn.ModuleList([_Folded(block, dtype) for block in network.tower])
        self.q_tail = _ActingTail(network.q_tail, dtype)
        self.prior_tail = _ActingTail(network.prior_tail, dtype) if network.config.behaviour_prior else None
        self.eval()

    @torch.no_grad()
    def encode(self, image: Tensor, goal_image: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """As QtOptNetwork; bf16 holds pixel values exactly."""
        stacked = torch.cat([image, goal_image], dim=-1).permute(0, 3, 1, 2).to(self.dtype)
        x = same_pool(self.conv1(functional.pad(stacked, (2, 2, 2, 2))), 3, 3).relu_()
        *tower, last = self.tower
        for layer in tower:
            x = layer(x).relu_()
        return same_pool(last(x), 3, 3).relu_(), QtOptNetwork.seen_state(state)

    @torch.no_grad()
    def score(self, encoding: tuple[Tensor, Tensor], actions: Tensor) -> Tensor:
        """As QtOptNetwork."""
        cells, state = encoding
        logits: Tensor = self.q_tail(cells, QtOptNetwork.blocks(state, actions))
        return logits.squeeze(-1)

    @torch.no_grad()
    def prior(self, encoding: tuple[Tensor, Tensor]) -> Prior | None:
        """As QtOptNetwork."""
        if self.prior_tail is None:
            return None
        cells, state = encoding
        return QtOptNetwork.as_prior(self.prior_tail(cells, list(torch.split(state.unsqueeze(1), 1, dim=-1))))

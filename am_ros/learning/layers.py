"""The layers that the networks are made of."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from am_ros.action import DISCRETE_DIM


class Residual(nn.Module):
    """x + W norm(x) + b, then ReLU: [B, width] -> [B, width]."""

    def __init__(self, width: int):
        super().__init__()
        self.norm, self.dense = nn.LayerNorm(width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, width] -> [B, width]."""
        return functional.relu(x + self.dense(self.norm(x)))


def residual_layers(width: int, count: int) -> nn.Sequential:
    """So many between encoder and head; nothing draws a random number if it is none."""
    return nn.Sequential(*(Residual(width) for _ in range(count)))


class Stem(nn.Module):
    """A 6x6 convolution of stride 4 over uint8 pixels [B, H, W, 3] -> [B, channels, H/4, W/4]; 12x12 for stride 8.

    Two neighbouring pixels are read as one cell of six channels, which is a view and not a copy: on a CPU the usual
    route (to float, permute, convolve three channels) takes ten times as long as the convolution itself.
    """

    def __init__(self, channels: int, stride: int = 4):
        super().__init__()
        kernel = stride * 3 // 2
        self.conv = nn.Conv2d(
            6, channels, (kernel, kernel // 2), stride=(stride, stride // 2), padding=(stride // 2, stride // 4)
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 [B, H, W, 3] -> float [B, channels, H/stride, W/stride]."""
        batch, height, width, _ = pixels.shape
        dtype = torch.bfloat16 if torch.is_autocast_enabled(pixels.device.type) else torch.float32
        centred = (pixels ^ 128).view(torch.int8)  # pixels - 128, in one byte each
        cells = centred.reshape(batch, height, width // 2, 6).to(dtype).permute(0, 3, 1, 2)
        # Pixels come as -2 ... 2: by the weights, which are few, and exactly, for it is a power of two.
        bias = self.conv.bias
        assert bias is not None
        weight, bias = self.conv.weight * (1 / 64), bias * (1 / 64)
        conv = self.conv
        return functional.conv2d(cells, weight, bias, conv.stride, conv.padding)


class ActionFeatures(nn.Module):
    """Action vectors with sines and cosines of the displacement, so that a small head can be sharp in it."""

    frequencies = (1.0, 2.0, 4.0)

    def __init__(self, displacements: int):
        super().__init__()
        self.size = displacements + DISCRETE_DIM + 2 * len(self.frequencies) * displacements

    def forward(self, actions: Tensor) -> Tensor:
        """[..., D + 3] -> [..., size]."""
        displacement = actions[..., :-DISCRETE_DIM]
        angles = torch.cat([displacement * (f * torch.pi / 2) for f in self.frequencies], dim=-1)
        return torch.cat([actions, angles.sin(), angles.cos()], dim=-1)


class Anchors(nn.Module):
    """Actions as seen from points among the displacements that an encoding names: there Q can have sharp peaks."""

    widths = (0.05, 0.15, 0.5)  # of the bumps around each point [normalised]

    def __init__(self, width: int, displacements: int, count: int):
        super().__init__()
        self.displacements = displacements
        self.points = nn.Linear(width, count * displacements)
        nn.init.uniform_(self.points.bias, -1, 1)

    def size(self, points: int) -> int:
        """Features that `forward` gives for so many points, a proposal included."""
        return points * (self.displacements + len(self.widths))

    def forward(self, encoding: Tensor, actions: Tensor, proposal: Tensor | None) -> Tensor:
        """Encodings [B, width], actions [B, N, D + 3] and, if there is one, a proposal [B, D]: features [B, N, size].

        No gradient reaches the proposal: it is what cloning says.
        """
        points = self.points(encoding).unflatten(-1, (-1, self.displacements))
        if proposal is not None:
            points = torch.cat([points, proposal.detach().to(points.dtype).unsqueeze(1)], dim=1)
        offset = actions[..., None, :-DISCRETE_DIM] - points.unsqueeze(1)  # [B, N, K, D]
        squared = offset.square().sum(dim=-1, keepdim=True)
        bumps = [torch.exp(-0.5 * squared / width**2) for width in self.widths]
        return torch.cat([offset, *bumps], dim=-1).flatten(-2)

"""The full-size Q-network of QT-Opt with a goal image: preset `qt_opt`, 472x472 pixels, 1,249,729 parameters.

Layers as published in google-research/tensor2robot (research/qtopt/networks.py, read for the facts), with six input
channels: camera image and goal image stacked (Actionable Models, figure 4). The tower (conv1 ... pool2) runs once per
state, the tail once per candidate action.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from am_ros.action import CONTINUOUS_DIM, DISCRETE_DIM, YAW
from am_ros.errors import AmRosError
from am_ros.learning.cem import Prior
from am_ros.learning.networks import NetworkConfig, QNetwork

# Sizes of the action and state blocks: translation 3, azimuth as sine and cosine 2, close 1, open 1, terminate 1,
# gripper status 1, height 1.
STATE_BLOCKS = (1, 1)
BLOCKS = (3, 2, 1, 1, 1, *STATE_BLOCKS)


def same_pool(x: Tensor, size: int, stride: int) -> Tensor:
    """Max-pooling with TensorFlow's SAME padding: the output has ceil(input / stride) cells."""
    padding = []
    for length in (x.shape[-1], x.shape[-2]):
        total = max(0, (math.ceil(length / stride) - 1) * stride + size - length)
        padding += [total // 2, total - total // 2]
    return functional.max_pool2d(functional.pad(x, padding, value=-torch.inf), size, stride)


def batch_norm(layer: type[nn.BatchNorm1d] | type[nn.BatchNorm2d], size: int, scale: bool = True) -> nn.Module:
    """Batch normalisation: epsilon 1e-3, momentum 3e-4 in PyTorch's sense (0.9997 in TensorFlow's)."""
    norm = layer(size, eps=1e-3, momentum=3e-4)
    if not scale:
        norm.register_parameter("weight", None)
    return norm


class ConvBlock(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, channels_in: int, kernel: int, padding: int | str, bias: bool = False, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(channels_in, 64, kernel, stride=stride, padding=padding, bias=bias)
        self.norm = batch_norm(nn.BatchNorm2d, 64, scale=not bias)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = functional.relu(self.norm(self.conv(x)))
        return y


class DenseBlock(nn.Module):
    """Fully connected layer without bias, batch norm, ReLU on the last dimension."""

    def __init__(self, size_in: int, size_out: int):
        super().__init__()
        self.linear = nn.Linear(size_in, size_out, bias=False)
        self.norm = batch_norm(nn.BatchNorm1d, size_out)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = functional.relu(self.norm(self.linear(x)))
        return y


class Tail(nn.Module):
    """What follows the tower: blocks of numbers (action, state) added to the map, convolutions, a dense head."""

    def __init__(self, blocks: tuple[int, ...], cells: int, outputs: int):
        super().__init__()
        self.blocks_in = nn.ModuleList([nn.Linear(size, 256) for size in blocks])
        self.blocks_norm = batch_norm(nn.BatchNorm1d, 256, scale=False)
        self.blocks_out = DenseBlock(256, 64)
        self.convs_same = nn.Sequential(*[ConvBlock(64, 3, padding="same") for _ in range(6)])
        self.convs_valid = nn.Sequential(*[ConvBlock(64, 3, padding=0) for _ in range(3)])
        self.head = nn.Sequential(DenseBlock(64 * cells * cells, 64), DenseBlock(64, 64), nn.Linear(64, outputs))

    def forward(self, cells: Tensor, blocks: list[Tensor]) -> Tensor:
        """Maps [B, 64, 27, 27] and blocks [B, N, sizes] -> [B, N, outputs]: each map is added to N embeddings."""
        batch, count, _ = blocks[0].shape
        summed = sum(layer(block) for layer, block in zip(self.blocks_in, blocks, strict=True)).flatten(0, 1)
        embedded = self.blocks_out(functional.relu(self.blocks_norm(summed)))
        x = cells.repeat_interleave(count, dim=0) + embedded[:, :, None, None]
        x = self.convs_valid(same_pool(self.convs_same(x), 2, 2))
        outputs: Tensor = self.head(x.flatten(1))
        return outputs.view(batch, count, -1)


class QtOptNetwork(QNetwork):
    """Tower and tail of the published network; the same protocol as the small one (see networks.py).

    With `behaviour_prior` a second tail of its own on the same tower has the action as output, as the paper's GCBC: the
    published network is the one without.
    """

    def __init__(self, config: NetworkConfig, channels_in: int = 6):
        super().__init__()
        self.config = config
        if config.displacements != CONTINUOUS_DIM:
            raise AmRosError(f"parameter displacements: the qt_opt network knows the robot's {CONTINUOUS_DIM} only")
        cells = self.sizes(config.image_size)["conv16"]
        if cells < 1:
            raise AmRosError(f"parameter image_size: {config.image_size} px are too few for the qt_opt network")
        self.conv1 = ConvBlock(channels_in, 6, padding=0, bias=True, stride=2)
        self.tower = nn.Sequential(*[ConvBlock(64, 5, padding="same") for _ in range(6)])
        self.q_tail = Tail(BLOCKS, cells, 1)
        if config.behaviour_prior:
            self.prior_tail = Tail(STATE_BLOCKS, cells, CONTINUOUS_DIM + DISCRETE_DIM)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.trunc_normal_(module.weight, std=0.01, a=-0.02, b=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    @staticmethod
    def sizes(image_size: int) -> dict[str, int]:
        """Height and width of the maps [cells] along the network."""
        conv1 = math.ceil(image_size / 2)
        pool1 = math.ceil(conv1 / 3)
        pool2 = math.ceil(pool1 / 3)
        pool3 = math.ceil(pool2 / 2)
        return {"conv1": conv1, "pool1": pool1, "pool2": pool2, "pool3": pool3, "conv16": pool3 - 6}

    def encode(self, image: Tensor, goal_image: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 images [B, H, W, 3] and states [B, state_dim] -> (map [B, 64, 27, 27], gripper and height [B, 2])."""
        stacked = torch.cat([image, goal_image], dim=-1).permute(0, 3, 1, 2).float().mul(1 / 255)
        # SAME padding of a 6x6 kernel with stride 2 on an even size: two cells on either side.
        x = same_pool(self.conv1(functional.pad(stacked, (2, 2, 2, 2))), 3, 3)
        return same_pool(self.tower(x), 3, 3), self.seen_state(state)

    @staticmethod
    def seen_state(state: Tensor) -> Tensor:
        """Gripper and height [B, 2] of a state. The published one is 'gripper closed'; ours is the opening."""
        return torch.stack([1 - state[:, 0], state[:, 1]], dim=-1)

    def score(self, encoding: tuple[Tensor, Tensor], actions: Tensor) -> Tensor:
        """Logits [B, N] of actions [B, N, 7]; the map is computed once and added to N embedded actions."""
        cells, state = encoding
        logits: Tensor = self.q_tail(cells, self.blocks(state, actions))
        return logits.squeeze(-1)

    @staticmethod
    def blocks(state: Tensor, actions: Tensor) -> list[Tensor]:
        """What the tail takes of states [B, 2] and actions [B, N, 7], in the order of BLOCKS."""
        yaw = actions[..., YAW]
        return [
            actions[..., : CONTINUOUS_DIM - 1],
            torch.stack([yaw.sin(), yaw.cos()], dim=-1),
            *torch.split(actions[..., CONTINUOUS_DIM:], 1, dim=-1),
            *torch.split(state.unsqueeze(1).expand(-1, actions.shape[1], -1), 1, dim=-1),
        ]

    def prior(self, encoding: tuple[Tensor, Tensor]) -> Prior | None:
        """The action as output, or None without `behaviour_prior`."""
        if not self.config.behaviour_prior:
            return None
        cells, state = encoding
        return self.as_prior(self.prior_tail(cells, list(torch.split(state.unsqueeze(1), 1, dim=-1))))

    @staticmethod
    def as_prior(outputs: Tensor) -> Prior:
        """The prior of a tail's outputs [B, 1, 7]."""
        out = outputs.squeeze(1).float()
        return Prior(out[..., :CONTINUOUS_DIM], out[..., CONTINUOUS_DIM:])

"""Q-networks behind one protocol: encode (image, goal, state) once, then score many actions.

    encoding = network.encode(image, goal_image, state)     # once per state
    logits = network.score(encoding, actions)               # [B, N, 7] -> [B, N]; Q = sigmoid(logit)

`SmallQNetwork` is made for 64x64 images on a CPU; `QtOptNetwork` (qt_opt.py) is the published full-size network.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from am_ros.action import ACTION_DIM, CONTINUOUS_DIM, DISCRETE_DIM, YAW
from am_ros.configuration import parameter
from am_ros.episode import STATE_DIM
from am_ros.errors import AmRosError
from am_ros.learning.cem import Prior

PRESETS = ("small", "qt_opt")


@dataclass(frozen=True)
class NetworkConfig:
    """Which network, and its size."""

    preset: str = parameter("small", "network preset", choices=PRESETS)
    image_size: int = parameter(64, "height and width of the images [px]", range=(16, 1024))
    width: int = parameter(256, "width of the head (small)", range=(8, 4096))
    channels: int = parameter(32, "channels of the encoder (small)", range=(4, 1024))
    behaviour_prior: bool = parameter(True, "a cloning head that proposes CEM's first candidates (small)")


def make_network(config: NetworkConfig) -> nn.Module:
    """The network of a preset, freshly initialised."""
    if config.preset == "qt_opt":
        from am_ros.learning.qt_opt import QtOptNetwork

        return QtOptNetwork(config)
    return SmallQNetwork(config)


class SmallQNetwork(nn.Module):
    """A Q-network for small images on few cores: 64x64 costs about 7 M multiply-adds per state.

    Image and goal have a stem each, summed: the same as one stem over six channels. The map is flattened, not pooled,
    because the action depends on where things are. The action enters by FiLM (Perez et al., 2018).
    """

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        if config.image_size % 8:
            raise AmRosError(
                f"parameter image_size: {config.image_size} is not a multiple of 8, as the small network needs"
            )
        c, width = config.channels, config.width
        self.stem_image, self.stem_goal = Stem(c), Stem(c)
        self.conv2 = nn.Conv2d(c, 2 * c, 3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(2 * c, 2 * c, 3, padding=1)
        cells = (config.image_size // 8) ** 2
        self.flat = nn.Linear(2 * c * cells, width)
        self.state = nn.Linear(STATE_DIM, width)
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, width)
        self.action_features = ActionFeatures()
        self.film = nn.Sequential(
            nn.Linear(self.action_features.size, width // 2), nn.ReLU(), nn.Linear(width // 2, 2 * width)
        )
        self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))
        if config.behaviour_prior:
            self.prior_head = nn.Sequential(
                nn.Linear(width, width), nn.ReLU(), nn.Linear(width, CONTINUOUS_DIM + DISCRETE_DIM)
            )
        # Almost no goal is reached at first: start with small Q instead of 0.5 everywhere.
        nn.init.constant_(self.head[-1].bias, -2.0)

    def encode(self, image: Tensor, goal_image: Tensor, state: Tensor) -> Tensor:
        """uint8 images [B, H, W, 3] and states [B, state_dim] -> encoding [B, width]."""
        x = functional.relu(self.stem_image(image) + self.stem_goal(goal_image))
        x = functional.relu(self.conv2(x))
        x = functional.relu(x + self.conv3(x))
        x = self.flat(x.flatten(1)) + self.state(state)
        x = functional.relu(self.norm(x))
        return functional.relu(x + self.hidden(x))

    def score(self, encoding: Tensor, actions: Tensor) -> Tensor:
        """Logits [B, N] of actions [B, N, 7] given encodings [B, width]."""
        scale, shift = self.film(self.action_features(actions)).chunk(2, dim=-1)
        x = functional.relu(encoding.unsqueeze(1) * (1 + scale) + shift)
        return self.head(x).squeeze(-1)

    def prior(self, encoding: Tensor) -> Prior | None:
        """What the data would do: the behaviour prior, or None if the network has none."""
        if not self.config.behaviour_prior:
            return None
        out = self.prior_head(encoding).float()
        return Prior(out[..., :CONTINUOUS_DIM], out[..., CONTINUOUS_DIM:])


class Stem(nn.Module):
    """A 6x6 convolution of stride 4 over uint8 pixels [B, H, W, 3] -> [B, channels, H/4, W/4].

    Two neighbouring pixels are read as one cell of six channels, which is a view and not a copy: on a CPU the usual
    route (to float, permute, convolve three channels) takes ten times as long as the convolution itself.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(6, channels, (6, 3), stride=(4, 2), padding=(2, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 [B, H, W, 3] -> float [B, channels, H/4, W/4]."""
        batch, height, width, _ = pixels.shape
        dtype = torch.bfloat16 if torch.is_autocast_enabled(pixels.device.type) else torch.float32
        cells = pixels.reshape(batch, height, width // 2, 6).to(dtype).sub_(128).permute(0, 3, 1, 2)
        return self.conv(cells) * (1 / 64)


class ActionFeatures(nn.Module):
    """Action vectors with sines and cosines of the displacement, so that a small head can be sharp in it."""

    frequencies = (1.0, 2.0, 4.0)
    size = ACTION_DIM + 2 * len(frequencies) * CONTINUOUS_DIM

    def forward(self, actions: Tensor) -> Tensor:
        """[..., 7] -> [..., size]."""
        displacement = actions[..., : YAW + 1]
        angles = torch.cat([displacement * (f * torch.pi / 2) for f in self.frequencies], dim=-1)
        return torch.cat([actions, angles.sin(), angles.cos()], dim=-1)


def parameter_count(module: nn.Module) -> int:
    """Number of trainable numbers."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)

"""Q-networks behind one protocol: encode (image, goal, state) once, then score many actions.

    encoding = network.encode(image, goal_image, state)     # once per state
    logits = network.score(encoding, actions)               # [B, N, D + 3] -> [B, N]; Q = sigmoid(logit)
    proposal = network.prior(encoding)                      # what the data would do, or None

`SmallQNetwork` is made for 64x64 images on a CPU; `QtOptNetwork` (qt_opt_network.py) is the published full-size one;
`StateQNetwork` takes vectors in place of images.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from am_ros.action import DISCRETE_DIM
from am_ros.episode import STATE_DIM
from am_ros.errors import AmRosError
from am_ros.learning.cem import Prior
from am_ros.learning.layers import ActionFeatures, Anchors, Stem, residual_layers
from am_ros.learning.network_config import NetworkConfig as NetworkConfig
from am_ros.learning.types import Encoding
from am_ros.replay.store import ReplayStore
from am_ros.replay.views import RowView


class QNetwork(nn.Module, ABC):
    """The protocol of all networks, see the top of this file."""

    config: NetworkConfig

    @abstractmethod
    def encode(self, image: Tensor, goal_image: Tensor, state: Tensor) -> Encoding:
        """Images or observations, goals, and states [B, STATE_DIM] -> what `score` and `prior` take."""

    @abstractmethod
    def score(self, encoding: Encoding, actions: Tensor) -> Tensor:
        """Logits [B, N] of actions [B, N, D + 3]; Q is their sigmoid."""

    @abstractmethod
    def prior(self, encoding: Encoding) -> Prior | None:
        """What the data would do, or None."""

    def look_at(self, observations: np.ndarray | RowView) -> None:
        """Vectors: take their scale from observations [N, size], unless it is known already."""

    def show(self, frames: Tensor) -> bool:
        """Pictures uint8 [F, H, W, 3]: until the next call `encode` takes their rows, int64 [B], in place of pictures.

        False: this network cannot, because it sees image and goal together from the first layer on.
        """
        return False


Lagged: TypeAlias = QNetwork | Sequence[QNetwork]  # the lagged network, or two of them


def as_list(lagged: Lagged) -> Sequence[QNetwork]:
    """The lagged networks, however many."""
    return lagged if isinstance(lagged, Sequence) else [lagged]


def make_network(config: NetworkConfig) -> QNetwork:
    """The network of a preset, freshly initialised."""
    if config.prior_encoder and config.behaviour_prior:
        from am_ros.learning.own_prior_network import OwnPriorNetwork

        return OwnPriorNetwork(config)
    if config.factored:
        from am_ros.learning.pair_network import PairNetwork

        return PairNetwork(config)
    if config.preset == "qt_opt":
        from am_ros.learning.qt_opt_network import QtOptNetwork

        return QtOptNetwork(config)
    if config.shared_encoder:
        from am_ros.learning.shared_network import SharedQNetwork

        return SharedQNetwork(config)
    return StateQNetwork(config) if config.preset == "state" else SmallQNetwork(config)


class FilmHead(QNetwork):
    """What follows an encoding [B, width]: Q of actions, which enter by FiLM (Perez et al., 2018), and the prior."""

    def _make_head(self, config: NetworkConfig) -> None:
        width = config.width
        self.action_features = ActionFeatures(config.displacements)
        features = self.action_features.size
        if config.anchors:
            self.anchors = Anchors(width, config.displacements, config.anchors)
            features += self.anchors.size(config.anchors + config.behaviour_prior)
        self.film = nn.Sequential(nn.Linear(features, width // 2), nn.ReLU(), nn.Linear(width // 2, 2 * width))
        self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))
        if config.behaviour_prior:
            self.prior_head = nn.Sequential(
                nn.Linear(width, width), nn.ReLU(), nn.Linear(width, config.displacements + DISCRETE_DIM)
            )
        # Almost no goal is reached at first: start with small Q instead of 0.5 everywhere.
        last = self.head[-1]
        assert isinstance(last, nn.Linear)
        nn.init.constant_(last.bias, -2.0)

    def _for_q(self, encoding: Encoding) -> Tensor:
        """What of the encoding Q sees, [B, width]."""
        return encoding  # type: ignore[no-any-return]

    def _for_prior(self, encoding: Encoding) -> Tensor:
        """What of the encoding the prior sees, [B, width]."""
        return encoding  # type: ignore[no-any-return]

    def score(self, encoding: Encoding, actions: Tensor) -> Tensor:
        """Logits [B, N] of actions [B, N, D + 3] given what `encode` returned."""
        features, seen = self.action_features(actions), self._for_q(encoding)
        if self.config.anchors:
            prior = self.prior(encoding)
            features = torch.cat([features, self.anchors(seen, actions, prior.mean if prior else None)], dim=-1)
        scale, shift = self.film(features).chunk(2, dim=-1)
        near = seen.unsqueeze(1).to(scale.dtype)  # under autocast bf16: half the bytes of what follows
        x = functional.relu(torch.addcmul(near + shift, near, scale))  # encoding * (1 + scale) + shift, in two passes
        logits: Tensor = self.head(x)
        return logits.squeeze(-1)

    def prior(self, encoding: Encoding) -> Prior | None:
        """What the data would do: the behaviour prior, or None if the network has none."""
        if not self.config.behaviour_prior:
            return None
        out = self.prior_head(self._for_prior(encoding)).float()
        return Prior(out[..., :-DISCRETE_DIM], out[..., -DISCRETE_DIM:])


class SmallQNetwork(FilmHead):
    """A Q-network for small images on few cores: 64x64 costs about 7 M multiply-adds per state.

    Image and goal have a stem each, summed: the same as one stem over six channels. The map is flattened, not pooled,
    because the action depends on where things are.
    """

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        cell = config.stem_stride * 2 ** (1 + config.stages)  # pixels of a side
        if config.image_size % cell:
            raise AmRosError(
                f"parameter image_size: {config.image_size} is not a multiple of {cell}, as the small network needs"
            )
        c, width = config.channels, config.width
        self._make_stems(config)
        self.conv2 = nn.Conv2d(c, 2 * c, 3, stride=2, padding=1)
        self.stages = nn.ModuleList(nn.Conv2d(2 * c, 2 * c, 3, stride=2, padding=1) for _ in range(config.stages))
        self.conv3 = nn.Conv2d(2 * c, 2 * c, 3, padding=1)
        cells = (config.image_size // cell) ** 2
        self.flat = nn.Linear(2 * c * cells, width)
        self.state = nn.Linear(STATE_DIM, width)
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, width)
        self.layers = residual_layers(config.width, config.layers)
        self._make_head(config)

    def _make_stems(self, config: NetworkConfig) -> None:
        self.stem_image, self.stem_goal = (Stem(config.channels, config.stem_stride) for _ in range(2))

    def encode(self, image: Tensor, goal_image: Tensor, state: Tensor) -> Tensor:
        """uint8 images [B, H, W, 3] and states [B, state_dim] -> encoding [B, width]."""
        return self._with_state(self._flattened(self.stem_image(image) + self.stem_goal(goal_image)), state)

    def _flattened(self, x: Tensor) -> Tensor:
        """What a stem gave [B, channels, H', W'] -> [B, width]."""
        x = functional.relu(self.conv2(functional.relu(x)))
        for stage in self.stages:
            x = functional.relu(stage(x))
        x = functional.relu(x + self.conv3(x))
        flat: Tensor = self.flat(x.flatten(1))
        return flat

    def _with_state(self, x: Tensor, state: Tensor) -> Tensor:
        """[B, width] of image and goal, and states [B, state_dim] -> encoding [B, width]."""
        x = functional.relu(self.norm(x + self.state(state)))
        encoding: Tensor = self.layers(functional.relu(x + self.hidden(x)))
        return encoding


class StateQNetwork(FilmHead):
    """A Q-network for observations and goals that are vectors: the head of the small one behind three dense layers.

    Observations may have any scale: `look_at` learns mean and standard deviation from the data once, and they are part
    of the weights from then on.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        size, width = config.observation_size, config.width
        if not size:
            raise AmRosError("parameter observation_size: the state network needs the size of an observation")
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.zeros(size))  # zero until look_at
        self.observation = nn.Linear(3 * size, width)
        self.state = nn.Linear(STATE_DIM, width)
        self.norm = nn.LayerNorm(width)
        self.hidden1, self.hidden2 = nn.Linear(width, width), nn.Linear(width, width)
        self.layers = residual_layers(config.width, config.layers)
        self._make_head(config)

    def look_at(self, observations: np.ndarray | RowView) -> None:
        """Take the scale of the inputs from observations [N, size], unless it is known already."""
        if bool((self.std == 0).all()):
            every = max(1, len(observations) // 100_000)  # a hundred thousand say enough
            values = np.asarray(observations[::every], np.float64)
            self.mean.copy_(torch.from_numpy(values.mean(axis=0)))
            # What never changes in the data stays as it is, and does not blow up when acting.
            std = values.std(axis=0)
            self.std.copy_(torch.from_numpy(np.where(std > 1e-6, std, 1.0)))

    def encode(self, observation: Tensor, goal: Tensor, state: Tensor) -> Tensor:
        """float observations and goals [B, size], states [B, STATE_DIM] -> encoding [B, width]."""
        std = torch.where(self.std == 0, 1.0, self.std)
        now, then = (observation - self.mean) / std, (goal - self.mean) / std
        # A goal of zeros is none (a task reward says what is wanted). As a place it would lie many standard deviations
        # off, and drown what a network knows that has learned goals before.
        wanted = (goal != 0).any(dim=-1, keepdim=True)
        asked = torch.where(wanted, torch.cat([then, then - now], dim=-1), 0.0)
        x = self.observation(torch.cat([now, asked], dim=-1)) + self.state(state)
        x = functional.relu(self.norm(x))
        x = functional.relu(x + self.hidden1(x))
        encoding: Tensor = self.layers(functional.relu(x + self.hidden2(x)))
        return encoding


class _SmallBody(SmallQNetwork):
    """The encoder of images alone."""

    def _make_head(self, config: NetworkConfig) -> None:
        pass


class _StateBody(StateQNetwork):
    """The encoder of vectors alone."""

    def _make_head(self, config: NetworkConfig) -> None:
        pass


def make_body(config: NetworkConfig) -> SmallQNetwork | StateQNetwork:
    """What encodes image, goal and state [B, width] in the presets small and state, without a head."""
    if config.preset == "state":
        return _StateBody(config)
    if config.shared_encoder:
        from am_ros.learning.shared_network import SharedBody

        return SharedBody(config)
    return _SmallBody(config)


def check_fits(store: ReplayStore, config: NetworkConfig) -> None:
    """Raise AmRosError unless the observations and actions of a replay store are those that a network takes."""
    if store.observation_shape != config.observation_shape:
        if store.has_images and config.preset != "state":
            raise AmRosError(
                f"{store.folder}: images of {store.image_size} do not fit a network for {config.image_size} px; "
                f"set image_size"
            )
        raise AmRosError(
            f"{store.folder}: observations of shape {store.observation_shape} do not fit a network for "
            f"{config.observation_shape}; set preset and observation_size"
        )
    if store.action_dim != config.displacements + DISCRETE_DIM:
        raise AmRosError(
            f"{store.folder}: actions of {store.action_dim - DISCRETE_DIM} displacements do not fit a network for "
            f"{config.displacements}; set displacements"
        )


def parameter_count(module: nn.Module) -> int:
    """Number of trainable numbers."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)

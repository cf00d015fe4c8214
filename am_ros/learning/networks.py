"""Q-networks behind one protocol: encode (image, goal, state) once, then score many actions.

    encoding = network.encode(image, goal_image, state)     # once per state
    logits = network.score(encoding, actions)               # [B, N, D + 3] -> [B, N]; Q = sigmoid(logit)
    proposal = network.prior(encoding)                      # what the data would do, or None

`SmallQNetwork` is made for 64x64 images on a CPU; `QtOptNetwork` (qt_opt_network.py) is the published full-size one;
`StateQNetwork` takes vectors in place of images.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from am_ros.action import CONTINUOUS_DIM, DISCRETE_DIM
from am_ros.configuration import parameter
from am_ros.episode import STATE_DIM
from am_ros.errors import AmRosError
from am_ros.learning.cem import Prior
from am_ros.learning.layers import ActionFeatures, Anchors, Stem, residual_layers
from am_ros.learning.types import Encoding
from am_ros.replay.store import ReplayStore
from am_ros.replay.views import RowView

PRESETS = ("small", "qt_opt", "state")


@dataclass(frozen=True)
class NetworkConfig:
    """Which network, and its size."""

    preset: str = parameter("small", "network preset", choices=PRESETS)
    image_size: int = parameter(64, "height and width of the images [px]", range=(16, 1024))
    width: int = parameter(256, "width of the head (small, state)", range=(8, 4096))
    channels: int = parameter(32, "channels of the encoder (small)", range=(4, 1024))
    stem_stride: int = parameter(
        4, "pixels from one cell of the first convolution to the next (small); with 8, 128 px become as many cells as "
        "64 px with 4", choices=(4, 8), range=(4, 8)
    )  # fmt: skip
    stages: int = parameter(0, "convolutions more that halve the map, before it is flattened (small)", range=(0, 4))
    # Dense layers see few items and cost next to nothing beside convolutions and the head, which sees every candidate.
    layers: int = parameter(
        0, "residual dense layers more, each behind a LayerNorm, between encoder and head (small, state)", range=(0, 64)
    )
    # Of all presets alike: the published qt_opt network is the one without.
    behaviour_prior: bool = parameter(True, "a cloning head that proposes CEM's first candidates")
    # Q and cloning ask different things of an encoder; cloning loses most if they share one (docs/results_pictures.md).
    prior_encoder: bool = parameter(
        False, "the cloning head has an encoder of its own: Q sees what it sees, but does not shape it (small, state)"
    )
    # Early, image and goal meet in the first convolution, and each pair of them costs a pass. Late, each picture costs
    # one, however many items it is part of (docs/learner_study.md, "Pictures that items share").
    shared_encoder: bool = parameter(
        False, "image and goal go through one encoder, each by itself, and meet behind it: pictures that several items "
        "of a batch share (shared_episodes) are encoded once (small)"
    )  # fmt: skip
    # A grasp is right within millimetres of a place that only the observation says. What the head sees of an action is
    # its own numbers; beside points that the encoding names, it sees how far it is from there.
    anchors: int = parameter(
        0, "points in the space of displacements that the encoding names, and Q sees actions beside (small, state); a "
        "behaviour prior's proposal is one more",
        range=(0, 64),
    )  # fmt: skip
    factored: int = parameter(
        0, "Q is the product of two vectors of so many numbers, one of state and action, one of the goal (method "
        "contrastive; small, state); 0: one network of all three",
        range=(0, 4096),
    )  # fmt: skip
    observation_size: int = parameter(0, "numbers per observation and goal (state)", range=(0, 1_000_000))
    displacements: int = parameter(
        CONTINUOUS_DIM, "displacements of an action before its three choices; 4 on the robot", range=(1, 256)
    )

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """What an observation must be: (height, width, 3) of an image, or (size,) of a vector."""
        return (self.observation_size,) if self.preset == "state" else (self.image_size, self.image_size, 3)


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

"""Which network, and its size; without torch, as cem_config.py says."""

from dataclasses import dataclass

from am_ros.action import CONTINUOUS_DIM
from am_ros.configuration import parameter

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

"""The small network with one encoder for image and goal, which meet behind it: each picture costs one pass.

Of a few episodes each picture is the state of some items of a batch and the goal of others. Encoded once, the same
pass teaches several items (replay/shared.py draws such batches). And a goal can be told from a state by difference,
as places on the table can.
"""

import torch
from torch import Tensor, nn

from am_ros.errors import AmRosError
from am_ros.learning.layers import Stem
from am_ros.learning.networks import NetworkConfig, SmallQNetwork


class SharedQNetwork(SmallQNetwork):
    """The layers of the small network; a dense layer joins the encodings of image and goal and their difference."""

    def __init__(self, config: NetworkConfig):
        if config.preset != "small" or config.factored:
            raise AmRosError("parameter shared_encoder: is for the preset small, without factored")
        super().__init__(config)
        self._frames: Tensor | None = None

    def _make_stems(self, config: NetworkConfig) -> None:
        width = config.width
        self.stem = Stem(config.channels, config.stem_stride)
        self.frame_norm, self.join = nn.LayerNorm(width), nn.Linear(3 * width, width)

    def show(self, frames: Tensor) -> bool:
        """Pictures uint8 [F, H, W, 3] whose rows `encode` takes until the next call."""
        self._frames = frames
        return True

    def encode(self, image: Tensor, goal_image: Tensor, state: Tensor) -> Tensor:
        """uint8 images [B, H, W, 3], or rows int64 [B] of what `show` got, and states -> encoding [B, width]."""
        now, then = self._pictures(image, goal_image)
        return self._with_state(self.join(torch.cat([now, then, then - now], dim=-1)), state)

    def _pictures(self, image: Tensor, goal_image: Tensor) -> tuple[Tensor, Tensor]:
        """Encodings [B, width] of both; a picture that occurs twice among rows is encoded once."""
        both = torch.cat([image, goal_image])
        if both.dtype == torch.uint8:
            encoded = self._encode_each(both)
        else:
            assert self._frames is not None, "rows of pictures that were not shown"
            used, places = torch.unique(both, return_inverse=True)
            encoded = self._encode_each(self._frames[used]).index_select(0, places)
        return encoded[: len(image)], encoded[len(image) :]

    def _encode_each(self, images: Tensor) -> Tensor:
        """uint8 [N, H, W, 3] -> [N, width]."""
        encoded: Tensor = self.frame_norm(self._flattened(self.stem(images)))
        return encoded


class SharedBody(SharedQNetwork):
    """The encoder alone."""

    def _make_head(self, config: NetworkConfig) -> None:
        pass

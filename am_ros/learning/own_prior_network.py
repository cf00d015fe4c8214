"""Q and its behaviour prior with an encoder each, so that neither loses by what the other asks of it.

The prior is what cloning alone would learn: no gradient of Q reaches it. Q sees the prior's encoding beside its own,
and actions beside the prior's proposal if it has `anchors`.
"""

import numpy as np
from torch import Tensor, nn
from torch.nn import functional

from am_ros.errors import AmRosError
from am_ros.learning.networks import FilmHead, NetworkConfig, make_body
from am_ros.replay.views import RowView

OwnPriorEncoding = tuple[Tensor, Tensor]  # what Q sees [B, width], what the prior sees [B, width]


class OwnPriorNetwork(FilmHead):
    """The heads of the presets small and state behind two encoders."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        if config.preset not in ("small", "state") or config.factored:
            raise AmRosError("parameter prior_encoder: is for the presets small and state, without factored")
        self.value_encoder, self.prior_encoder = make_body(config), make_body(config)
        self.beside = nn.Linear(config.width, config.width)
        self._make_head(config)

    def look_at(self, observations: np.ndarray | RowView) -> None:
        """Vectors: take their scale from observations [N, size], unless it is known already."""
        self.value_encoder.look_at(observations)
        self.prior_encoder.look_at(observations)

    def show(self, frames: Tensor) -> bool:
        """Each encoder sees each picture once, if it can."""
        return self.value_encoder.show(frames) and self.prior_encoder.show(frames)

    def encode(self, image: Tensor, goal_image: Tensor, state: Tensor) -> OwnPriorEncoding:
        """Images or observations, goals, and states [B, STATE_DIM] -> both encodings [B, width]."""
        cloned = self.prior_encoder.encode(image, goal_image, state)
        own = self.value_encoder.encode(image, goal_image, state)
        return functional.relu(own + self.beside(cloned.detach())), cloned

    def _for_q(self, encoding: OwnPriorEncoding) -> Tensor:
        return encoding[0]

    def _for_prior(self, encoding: OwnPriorEncoding) -> Tensor:
        return encoding[1]

"""A critic that is a product: f(s, a, g) = phi(s, a) . psi(g) / sqrt(d), as contrastive RL needs it.

State and goal have an encoder each, of the kind that the preset has. So every state of a batch can be held against
every goal of it in one product of matrices; one encoder for both would have to see every pair.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from am_ros.action import DISCRETE_DIM
from am_ros.errors import AmRosError
from am_ros.learning.cem import Prior
from am_ros.learning.layers import ActionFeatures
from am_ros.learning.networks import NetworkConfig, QNetwork, make_body
from am_ros.replay.views import RowView

FIRST_STD = 0.01  # of the weights that make phi and psi: all products are near zero at first (cold initialisation)
PairEncoding = tuple[Tensor, Tensor, Tensor]  # state [B, width], goal [B, width], psi [B, d]


class PairNetwork(QNetwork):
    """Q as the sigmoid of phi(s, a) . psi(g) / sqrt(d), with d = config.factored; the prior sees both encodings."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        if config.preset not in ("small", "state"):
            raise AmRosError(f"parameter factored: is for the presets small and state, not for {config.preset}")
        width, self.vectors = config.width, config.preset == "state"
        self.now, self.then = make_body(config), make_body(config)
        self.action_features = ActionFeatures(config.displacements)
        self.film = nn.Sequential(
            nn.Linear(self.action_features.size, width // 2), nn.ReLU(), nn.Linear(width // 2, 2 * width)
        )
        self.phi = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, config.factored))
        self.psi = nn.Linear(width, config.factored)
        for last in (self.phi[-1], self.psi):
            assert isinstance(last, nn.Linear)
            nn.init.normal_(last.weight, std=FIRST_STD)
        if config.behaviour_prior:
            self.prior_head = nn.Sequential(
                nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, config.displacements + DISCRETE_DIM)
            )

    def look_at(self, observations: np.ndarray | RowView) -> None:
        """Vectors: take their scale from observations [N, size], unless it is known already."""
        self.now.look_at(observations)
        self.then.look_at(observations)

    def encode(self, image: Tensor, goal_image: Tensor, state: Tensor) -> PairEncoding:
        """Images or observations, goals, and states [B, STATE_DIM]; each encoder sees nothing in the other's place."""
        # A goal of zeros is none. One blank picture is enough for all, the stems are summed.
        blank = torch.zeros_like(image) if self.vectors else torch.zeros_like(image[:1])
        now, then = self.now.encode(image, blank, state), self.then.encode(goal_image, blank, torch.zeros_like(state))
        return now, then, self.psi(then)

    def represent(self, encoding: PairEncoding, actions: Tensor) -> Tensor:
        """phi [B, N, d] of actions [B, N, D + 3], already divided by sqrt(d)."""
        scale, shift = self.film(self.action_features(actions)).chunk(2, dim=-1)
        near = encoding[0].unsqueeze(1)
        phi: Tensor = self.phi(functional.relu(torch.addcmul(near + shift, near, scale)))
        return phi / math.sqrt(self.config.factored)

    def score(self, encoding: PairEncoding, actions: Tensor) -> Tensor:
        """Logits [B, N] of actions [B, N, D + 3]."""
        return torch.einsum("bnd,bd->bn", self.represent(encoding, actions), encoding[2])

    def prior(self, encoding: PairEncoding) -> Prior | None:
        """What the data would do, or None."""
        if not self.config.behaviour_prior:
            return None
        out = self.prior_head(torch.cat(encoding[:2], dim=-1)).float()
        return Prior(out[..., :-DISCRETE_DIM], out[..., -DISCRETE_DIM:])

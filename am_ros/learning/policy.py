"""Acting: argmax over actions of Q(s, a, g) by CEM, from a verified checkpoint."""

import time
from dataclasses import dataclass, replace

import numpy as np
import torch

from am_ros import configuration
from am_ros.action import ActionSpace, CartesianAction
from am_ros.episode import STATE_DIM
from am_ros.errors import AmRosError
from am_ros.learning import checkpoint
from am_ros.learning.cem import CemConfig, maximise
from am_ros.learning.networks import NetworkConfig, make_network


@dataclass(frozen=True)
class Decision:
    """What the policy chose: the action in SI units, its Q in (0, 1), and how long it took."""

    action: CartesianAction
    q_value: float
    decision_ms: float


class Policy:
    """A goal-conditioned policy: `policy.act(image, goal_image, state) -> Decision`.

    Build it with `Policy.load(folder)`. Searches are seeded, so the same calls give the same actions. How to search is
    part of a checkpoint (`acting`): a cloned policy acts by its prior, a Q-function by CEM over Q.
    """

    def __init__(self, network, meta: dict, cem: CemConfig, seed: int = 0):
        self.network, self.meta, self.cem = network.eval(), meta, cem
        self.image_size: int = meta["image_size"]
        self.action_space = configuration.from_dict(ActionSpace, meta["action_space"])
        self.device = next(network.parameters()).device
        self.generator = torch.Generator(self.device)
        self.reset(seed)

    @classmethod
    def load(cls, folder, cem: CemConfig | None = None, device: str = "cpu", seed: int = 0, **changes) -> "Policy":
        """Read and verify a checkpoint; raises AmRosError naming what is wrong with it.

        `cem` replaces the search that the checkpoint asks for, `changes` only some of its fields.
        """
        found = checkpoint.load(folder)
        try:
            config = configuration.from_dict(NetworkConfig, found.meta["config"]["network"])
            network = make_network(config)
            network.load_state_dict(found.tensors["model"])
            acting = cem or configuration.from_dict(CemConfig, found.meta["config"].get("acting", {}))
            policy = cls(network.to(device), found.meta, replace(acting, **changes), seed)
        except (KeyError, TypeError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise AmRosError(f"{folder}: does not fit this version of am_ros ({reason})") from None
        return policy

    def reset(self, seed: int) -> None:
        """Start a new episode: the random numbers of the search begin anew from `seed`."""
        self.generator.manual_seed(seed)

    @torch.no_grad()
    def act(self, image: np.ndarray, goal_image: np.ndarray, state: np.ndarray) -> Decision:
        """Choose an action for uint8 images [size, size, 3] and a state [STATE_DIM].

        Raises AmRosError if a shape does not fit or every Q is not finite: nothing must move then.
        """
        began = time.perf_counter()
        for name, array in (("image", image), ("goal image", goal_image)):
            if array.shape != (self.image_size, self.image_size, 3) or array.dtype != np.uint8:
                raise AmRosError(
                    f"{name}: is {array.dtype} {array.shape}, the policy needs uint8 "
                    f"({self.image_size}, {self.image_size}, 3)"
                )
        if state.shape != (STATE_DIM,) or not np.isfinite(state).all():
            raise AmRosError(f"state: expected {STATE_DIM} finite numbers, got {state}")
        tensors = [
            torch.as_tensor(np.ascontiguousarray(a)).unsqueeze(0).to(self.device)
            for a in (image, goal_image, state.astype(np.float32))
        ]
        encoding = self.network.encode(*tensors)
        vectors, _ = maximise(
            lambda a: self.cem.value(self.network.score(encoding, a).float()),
            1,
            self.cem,
            self.device,
            self.generator,
            self.network.prior(encoding),
        )
        q = float(self.network.score(encoding, vectors.unsqueeze(1)).sigmoid())
        if not np.isfinite(q):
            raise AmRosError("q_not_finite: the network's values are not numbers; nothing is moved")
        action = self.action_space.from_vector(vectors[0].cpu().numpy())
        return Decision(action, q, (time.perf_counter() - began) * 1e3)

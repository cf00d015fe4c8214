"""What Q wants: its maximum over the other dimensions of the action, for each displacement over the table."""

from dataclasses import dataclass

import numpy as np
import torch

from am_ros.action import ACTION_DIM, CLOSE, OPEN, TERMINATE, X, Y
from am_ros.configuration import parameter
from am_ros.learning.policy import Policy

CHUNK = 8192  # actions scored at once: bounds memory, for the full-size network has a map per action
GRIPPER = (CLOSE, OPEN)


@dataclass(frozen=True)
class QMapConfig:
    """How finely Q is looked at."""

    grid: int = parameter(21, "displacements along x and along y", range=(2, 201))
    candidates: int = parameter(32, "displacements along z and turns that are tried at each place", range=(1, 4096))
    seed: int = 0


@dataclass(frozen=True)
class QMap:
    """Q in (0, 1) from one state for one goal. Axis 0 of `by_gripper` is close, open."""

    x_m: np.ndarray  # [grid] displacement of the end effector along x
    y_m: np.ndarray  # [grid]
    by_gripper: np.ndarray  # [2, grid x, grid y] maximum over z and turn
    terminate: float  # Q of ending here
    best: np.ndarray  # [ACTION_DIM] the action of the highest Q among all that were looked at

    @property
    def values(self) -> np.ndarray:
        """[grid x, grid y]: maximum over all but x and y."""
        return np.fmax.reduce(self.by_gripper, axis=0)

    @property
    def choices(self) -> dict[str, float]:
        """Highest Q of each discrete choice."""
        close, opened = _numbers(self.by_gripper).max(axis=(1, 2))
        return {"close": float(close), "open": float(opened), "terminate": self.terminate}

    @property
    def peak_m(self) -> tuple[float, float]:
        """Displacement (x, y) of the highest Q of a moving action."""
        i, j = np.unravel_index(_numbers(self.values).argmax(), self.values.shape)
        return float(self.x_m[i]), float(self.y_m[j])


@torch.no_grad()
def q_map(policy: Policy, image, goal_image, state, config: QMapConfig | None = None) -> QMap:
    """Q of a grid of displacements, for uint8 images [size, size, 3] and a state [STATE_DIM]. Deterministic.

    The same `candidates` (z, turn) are tried at each place with the gripper closing and opening: one on the spot, the
    others drawn uniformly with the seed. A value that is not a number counts for nothing; where all are, the map has
    a hole.
    """
    config = config or QMapConfig()
    tensors = [torch.as_tensor(np.ascontiguousarray(a))[None].to(policy.device) for a in (image, goal_image, state)]
    encoding = policy.network.encode(*tensors)
    actions = _actions(config)  # [grid, grid, 2, candidates, ACTION_DIM]
    flat = torch.as_tensor(actions.reshape(-1, ACTION_DIM)).to(policy.device)
    scores = torch.cat([policy.network.score(encoding, part[None])[0].float() for part in flat.split(CHUNK)]).sigmoid()
    end = torch.zeros(1, 1, ACTION_DIM, device=policy.device)
    end[..., TERMINATE] = 1
    terminate = float(policy.network.score(encoding, end).sigmoid())
    q: np.ndarray = scores.cpu().numpy().reshape(actions.shape[:-1])
    moves = _numbers(q)
    best = actions.reshape(-1, ACTION_DIM)[moves.argmax()] if moves.max() >= terminate else end.cpu().numpy().ravel()
    axis, scale = np.linspace(-1, 1, config.grid), policy.action_space.scale
    return QMap(axis * scale[X], axis * scale[Y], np.moveaxis(np.fmax.reduce(q, axis=3), 2, 0), terminate, best)


def _numbers(values: np.ndarray) -> np.ndarray:
    """What is not a number is the least of all."""
    return np.where(np.isnan(values), -np.inf, values)


def _actions(config: QMapConfig) -> np.ndarray:
    """Float32 [grid x, grid y, gripper, candidates, ACTION_DIM]."""
    others = np.random.default_rng(config.seed).uniform(-1, 1, (config.candidates, 2))
    others[0] = 0
    axis = np.linspace(-1, 1, config.grid)
    actions = np.zeros((config.grid, config.grid, len(GRIPPER), config.candidates, ACTION_DIM), np.float32)
    actions[..., X], actions[..., Y] = axis[:, None, None, None], axis[:, None, None]
    actions[..., Y + 1 : Y + 3] = others
    for i, choice in enumerate(GRIPPER):
        actions[:, :, i, :, choice] = 1
    return actions

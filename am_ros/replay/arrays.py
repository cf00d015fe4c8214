"""Plain arrays -> episodes of a replay store: for data that never was in a bag."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from am_ros.action import DISCRETE_DIM
from am_ros.episode import STATE_DIM, EpisodeInfo, Outcome
from am_ros.errors import AmRosError

_OPEN = DISCRETE_DIM - 2  # the choice that every action gets: plain arrays know of no gripper


@dataclass(frozen=True)
class Rows:
    """An episode as a store keeps it: T actions float32 [T, D + 3], T+1 observations and states."""

    info: EpisodeInfo
    observations: np.ndarray
    states: np.ndarray
    actions: np.ndarray
    frames: Sequence[bytes | None] = ()  # of each image the file that it was decoded from, where it has this size

    @property
    def size_bytes(self) -> int:
        """About what it takes in a store."""
        seen = sum(map(len, filter(None, self.frames))) or self.observations.nbytes
        return seen + self.states.nbytes + self.actions.nbytes


def episodes_of(
    observations: ArrayLike,
    actions: ArrayLike,
    episode_ends: ArrayLike,
    outcomes: ArrayLike | None = None,
    states: ArrayLike | None = None,
    task: str = "",
) -> list[Rows]:
    """Cut arrays with one row per observation into episodes; ReplayStore.from_arrays says what they hold.

    An action vector gets the three discrete choices of the robot's, of which these data only ever show one; what is
    learned besides is when to terminate. Raises AmRosError, naming the array, if one does not fit.
    """
    observations, actions = np.asarray(observations), np.asarray(actions, np.float32)
    ends = np.asarray(episode_ends, bool)
    if observations.ndim != 2 and not (observations.ndim == 4 and observations.shape[3] == 3):
        raise AmRosError(f"observations: have shape {observations.shape}, expected [N, size] or [N, height, width, 3]")
    if observations.ndim == 4 and observations.dtype != np.uint8:
        raise AmRosError(f"observations: images must be uint8, got {observations.dtype}")
    rows = len(observations)
    if actions.ndim != 2 or len(actions) != rows or actions.shape[1] < 1:
        raise AmRosError(f"actions: have shape {actions.shape}, expected [{rows}, displacements] as observations")
    if ends.shape != (rows,):
        raise AmRosError(f"episode_ends: has shape {ends.shape}, expected [{rows}] as observations")
    if rows == 0 or not ends[-1]:
        raise AmRosError("episode_ends: the last row must be the end of an episode")
    if observations.ndim == 2:
        observations = observations.astype(np.float32)
        if not np.isfinite(observations).all():
            raise AmRosError("observations: a number is not finite")
    last = np.flatnonzero(ends)
    first = np.concatenate([[0], last[:-1] + 1])
    if (last == first).any():
        raise AmRosError(f"episode_ends: episode {int(np.argmax(last == first))} has one observation and no step")
    taken = actions[~ends]
    if not (np.abs(taken) <= 1 + 1e-6).all():  # not of NaN either
        raise AmRosError("actions: must lie within -1 ... 1; divide by the largest step of each dimension")
    outcomes = np.zeros(len(last), bool) if outcomes is None else np.asarray(outcomes)
    if outcomes.shape != (len(last),):
        raise AmRosError(f"outcomes: have shape {outcomes.shape}, expected one for each of {len(last)} episodes")
    states = _states(states, rows)
    return [
        Rows(
            EpisodeInfo(f"{task or 'episode'}_{number:06d}", task, outcome=_outcome(won)),
            observations[begin : end + 1],
            states[begin : end + 1],
            _vectors(actions[begin:end]),
        )
        for number, (begin, end, won) in enumerate(zip(first, last, outcomes, strict=True))
    ]


def _outcome(won: bool) -> Outcome:
    return Outcome.SUCCESS if won else Outcome.FAILURE


def _states(states: ArrayLike | None, rows: int) -> np.ndarray:
    if states is None:
        return np.zeros((rows, STATE_DIM), np.float32)
    states = np.asarray(states, np.float32)
    if states.ndim != 2 or len(states) != rows or states.shape[1] > STATE_DIM or not np.isfinite(states).all():
        raise AmRosError(f"states: have shape {states.shape}, expected finite numbers [{rows}, up to {STATE_DIM}]")
    return np.pad(states, ((0, 0), (0, STATE_DIM - states.shape[1])))


def _vectors(displacements: np.ndarray) -> np.ndarray:
    choice = np.zeros((len(displacements), DISCRETE_DIM), np.float32)
    choice[:, _OPEN] = 1
    return np.concatenate([displacements.clip(-1, 1), choice], axis=1)


def content_hash(episode: Rows) -> str:
    """sha256 of what the learner sees of an episode: observations, states, actions."""
    digest = hashlib.sha256()
    for array in (episode.observations, episode.states, episode.actions):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()

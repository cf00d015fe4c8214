"""What a training leaves on disk and goes on from: checkpoint/, best/, milestones/ (see checkpoint.py)."""

import dataclasses
import fcntl
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from am_ros import configuration
from am_ros.action import ActionSpace
from am_ros.errors import AmRosError
from am_ros.learning import checkpoint
from am_ros.learning.learner import Learner
from am_ros.learning.methods import MethodConfig
from am_ros.learning.networks import NetworkConfig
from am_ros.learning.progress import Progress
from am_ros.learning.trainer_config import FREE_SETTINGS, LearnerConfig, TrainerConfig
from am_ros.learning.types import Tensors
from am_ros.paths import Folder
from am_ros.replay.sampling import GoalConfig
from am_ros.replay.store import ReplayStore

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_LOCK_S = 30.0  # for a training that is just ending


class Keeper:
    """Saves the weights of `learner` below `out`, each folder atomically, and takes them from there."""

    def __init__(self, learner: Learner, out: Path, action_space: ActionSpace):
        self._learner, self._out, self._action_space = learner, out, action_space
        self._data_actions: torch.Tensor | None = None
        self._best: float | None = None  # score on held-out episodes
        self._started_from = ""  # sha256 of the checkpoint whose weights were the first ones
        self.stopping: dict[str, Any] | None = None  # the rule found when the training was over (stopping.py)
        self._resumed: dict[str, Any] | None = None  # what the checkpoint that the training goes on from says of itself

    @property
    def checkpoint_folder(self) -> Path:
        return self._out / "checkpoint"

    def save(self, store: ReplayStore, progress: Progress) -> Path:
        """Write `checkpoint/`: the weights that act, and all that an exact resume needs."""
        learner = self._learner
        tensors = {
            "model": self._model(store),
            "learner": learner.network.state_dict(),
            "optimizer": checkpoint.flatten_optimizer(learner.optimizer),
        }
        if learner.older is not None:
            tensors["older"] = learner.older.state_dict()
        return checkpoint.save(self.checkpoint_folder, self._meta(store, progress), tensors)

    def keep_milestone(self, store: ReplayStore, progress: Progress) -> None:
        """Weights at every share 1/milestones of the training; a resumed one goes on where it was."""
        planned = self._learner.config.trainer.milestones
        number = int(self._learner.share_done() * planned) if planned else 0
        folder = self._out / "milestones" / f"{number:03d}"
        if number and not folder.exists():
            checkpoint.save(folder, self._meta(store, progress), {"model": self._model(store)})

    def keep_best(self, store: ReplayStore, progress: Progress, score: float) -> None:
        """Weights of the best look at the held-out episodes, in `best/`."""
        folder = self._out / "best"
        if self._best is None:
            self._best = checkpoint.load(folder).meta["held_out_score"] if checkpoint.exists(folder) else -math.inf
        if score > self._best:
            self._best = score
            meta = {**self._meta(store, progress), "held_out_score": score}
            checkpoint.save(folder, meta, {"model": self._model(store)})

    def _model(self, store: ReplayStore) -> Tensors:
        """The weights that act, and actions of the data that a search can begin with."""
        if self._data_actions is None:
            self._data_actions = torch.from_numpy(store.some_actions(checkpoint.DATA_ACTIONS))
        return self._learner.target.state_dict() | {checkpoint.DATA_ACTIONS_NAME: self._data_actions}

    def _meta(self, store: ReplayStore, progress: Progress) -> dict[str, Any]:
        learner = self._learner
        return {
            "update": learner.update,
            "trained_s": learner.trained_s,
            "trained_cpu_s": learner.trained_cpu_s,
            "config": dataclasses.asdict(learner.config),
            "action_space": dataclasses.asdict(self._action_space),
            "image_size": learner.config.network.image_size,
            "data_hash": store.data_hash,
            "started_from": self._started_from,
            "episodes": len(store.episodes),
            "transitions": len(store),
            "metrics": progress.metrics,
            "updates_per_s": progress.updates_per_s,
            **({"stopping": self.stopping} if self.stopping is not None else {}),
        }

    def begin(self, start_from: Folder | None = None) -> None:
        """Go on from `checkpoint/` if it is there, else take the weights of the checkpoint `start_from`, if given.

        Raises AmRosError if what is found was trained with another configuration.
        """
        if checkpoint.exists(self.checkpoint_folder):
            self._restore()
        elif start_from is not None:
            self._start_from(start_from)
        elif self._learner.config.method.frozen_prior:
            raise AmRosError(
                "parameter frozen_prior: needs the checkpoint that has learned it; name it in start_from (or "
                "let am_ros.learning.parallel.train learn it first)"
            )

    def _start_from(self, folder: Folder) -> None:
        """Weights of another training, perhaps with another method; the optimiser begins anew."""
        found = checkpoint.load(folder)
        ours = self._learner.config.network
        theirs, given = configuration.from_dict(NetworkConfig, found.meta["config"]["network"]), found.weights
        if not (ours.anchors or ours.prior_encoder):  # Q of such networks sees the behaviour prior
            theirs = dataclasses.replace(theirs, behaviour_prior=ours.behaviour_prior)
        if ours.prior_encoder and is_cloning(found.meta):
            theirs, given = beside(theirs, ours), as_prior(given)
        if theirs != ours:
            changed = ", ".join(_differences(theirs, ours))
            raise AmRosError(f"{folder}: its network differs ({changed}); use the same network configuration")
        # A behaviour prior that only one of them has is left out, or begins anew.
        weights = {name: value for name, value in given.items() if ours.behaviour_prior or not _is_prior(name)}
        for network in self._learner.networks:
            fresh = network.state_dict()
            if given is found.weights:
                fresh = {name: value for name, value in fresh.items() if _is_prior(name)}
            network.load_state_dict(fresh | weights)
        self._started_from = found.sha256

    def _restore(self) -> None:
        learner = self._learner
        stems = ("model", "learner", "optimizer", *(["older"] if learner.older is not None else []))
        found = checkpoint.load(self.checkpoint_folder, *stems)
        config = found.meta["config"]
        network = configuration.from_dict(NetworkConfig, config["network"])
        method = configuration.from_dict(MethodConfig, config["method"])
        goals = configuration.from_dict(GoalConfig, config["goals"])
        settled = dataclasses.replace(LearnerConfig(network, method, goals).settled(), network=network)
        for part in ("network", "method", "goals"):
            ours, theirs = getattr(learner.config, part), getattr(settled, part)
            if theirs != ours:
                raise AmRosError(
                    f"{self.checkpoint_folder}: was trained with another {part} configuration "
                    f"({', '.join(_differences(theirs, ours))}); choose another output folder or the same values"
                )
        self._started_from = found.meta.get("started_from", "")
        learner.target.load_state_dict(found.weights)
        learner.network.load_state_dict(found.tensors["learner"])
        if learner.older is not None:
            learner.older.load_state_dict(found.tensors["older"])
        checkpoint.restore_optimizer(learner.optimizer, found.tensors["optimizer"])
        learner.update, learner.trained_s = found.meta["update"], found.meta["trained_s"]
        learner.trained_cpu_s = found.meta.get("trained_cpu_s", 0.0)  # checkpoints of version 0.1 do not say
        self._resumed = found.meta

    def other_data(self, store: ReplayStore) -> str:
        """One sentence if the resumed checkpoint was trained on other data than the store's; empty otherwise.

        A store that has grown since is expected: new bags are appended.
        """
        if self._resumed is None or store.hash_of_first(self._resumed["episodes"]) == self._resumed["data_hash"]:
            return ""
        return (
            f"{self.checkpoint_folder}: goes on with other data: it was trained on {self._resumed['episodes']} "
            f"episodes, and {store.folder} does not begin with those; use another output folder to start anew"
        )

    def other_settings(self) -> str:
        """One sentence if the training goes on with other settings than it had; empty otherwise.

        Limits, and what changes nothing of what is learned, may be others.
        """
        if self._resumed is None:
            return ""
        ours = self._learner.config.trainer
        theirs = configuration.from_dict(TrainerConfig, self._resumed["config"]["trainer"])
        changed = [name for name in _differences(theirs, ours) if name not in FREE_SETTINGS]
        if not changed:
            return ""
        shown = ", ".join(f"{name} {getattr(theirs, name)} -> {getattr(ours, name)}" for name in changed)
        return f"{self.checkpoint_folder}: goes on with other settings than it had: {shown}"

    def other_start(self, start_from: Folder | None) -> str:
        """One sentence if a training that goes on was given other first weights than it began with; else empty."""
        if self._resumed is None or start_from is None or "started_from" not in self._resumed:
            return ""
        if checkpoint.load(start_from).sha256 == self._started_from:
            return ""
        began = "other weights" if self._started_from else "fresh ones"
        return (
            f"{self.checkpoint_folder}: goes on from there, not from {start_from}: it began with {began}; use another "
            f"output folder to begin with those"
        )


@contextmanager
def sole_writer(out: Folder) -> Iterator[None]:
    """Within it, no other training writes to `out`. Raises AmRosError if one does so, half a minute later still.

    Machines that lose sight of each other would each go on alone, and each replace the other's checkpoint.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as file:
        end_s = time.monotonic() + _LOCK_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end_s:
                    raise AmRosError(f"{out}: another training writes there; end it, or choose another --out") from None
                time.sleep(0.1)
            except OSError:  # a disk that knows no locks
                break
        yield


def is_cloning(meta: dict[str, Any]) -> bool:
    """Whether a checkpoint is that of a policy without Q, on a network with one encoder."""
    config = meta["config"]
    learns_q = configuration.from_dict(MethodConfig, config.get("method", {})).learns_q
    return not learns_q and not config["network"].get("prior_encoder", False)


def beside(cloning: NetworkConfig, ours: NetworkConfig) -> NetworkConfig:
    """The network of a cloning checkpoint with that beside it which `ours` has for Q."""
    return dataclasses.replace(cloning, prior_encoder=True, anchors=ours.anchors)


def as_prior(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of a cloning network, by the names that they have in a prior with an encoder of its own.

    The encoder of Q begins with the same weights: what cloning has learned to see, Q does not have to learn again.
    """
    heads = ("prior_head.", "film.", "head.", "anchors.")  # what its Q would be has never learned
    body = {name: value for name, value in weights.items() if not name.startswith(heads)}
    encoders = {f"{part}.{name}": value for part in ("prior_encoder", "value_encoder") for name, value in body.items()}
    return encoders | {name: value for name, value in weights.items() if name.startswith("prior_head.")}


def _is_prior(name: str) -> bool:
    """Whether a weight of that name belongs to the behaviour prior."""
    return name.startswith("prior")


def _differences(one: "DataclassInstance", other: "DataclassInstance") -> list[str]:
    """Names of the fields in which two configurations of one kind differ."""
    return [f.name for f in dataclasses.fields(one) if getattr(one, f.name) != getattr(other, f.name)]


def start_network(start_from: Folder | None, default: NetworkConfig) -> NetworkConfig:
    """The network of the checkpoint that a run starts from, the default without one; AmRosError if it is damaged.

    A cloning checkpoint becomes the behaviour prior of a default that has an encoder for it.
    """
    if start_from is None:
        return default
    try:
        meta = checkpoint.load(start_from).meta
        network = configuration.from_dict(NetworkConfig, meta["config"]["network"])
        return beside(network, default) if default.prior_encoder and is_cloning(meta) else network
    except (AmRosError, KeyError, TypeError) as error:
        raise AmRosError(f"parameter start_from: {error}") from None

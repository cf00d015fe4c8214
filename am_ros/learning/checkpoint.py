"""Checkpoints: safetensors with a JSON beside them that names everything needed to act and to resume.

    <folder>/checkpoint.json        configuration, action space, data hash, update, metrics, sha256 of every file
    <folder>/model.safetensors      the weights that act (and, under `target.`, the lagged ones)
    <folder>/optimizer.safetensors  optimiser state, for an exact resume

A checkpoint is written beside its place and renamed into it: a killed trainer leaves the previous one whole. Every
file is checked against its sha256 when read, the JSON against its own; weights with flipped bits would load without
complaint otherwise. No pickle is ever read.
"""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from am_ros.errors import AmRosError
from am_ros.learning import packing
from am_ros.learning.types import Tensors
from am_ros.paths import Folder
from am_ros.pretrained import find_checkpoint

_FORMAT = "am_ros checkpoint 1"
_TRIES = 20  # to read a checkpoint that is replaced again and again
# Beside the weights: so many actions of the data, with which a search can begin.
DATA_ACTIONS, DATA_ACTIONS_NAME = 512, "data_actions"


@dataclass
class Checkpoint:
    """The contents of a checkpoint: `meta` is JSON data, `tensors` maps a file's stem to its tensors."""

    meta: dict[str, Any]
    tensors: dict[str, Tensors]
    sha256: str

    @property
    def description(self) -> dict[str, Any]:
        """`meta` without what belongs to its files: what a copy is saved with."""
        return {name: value for name, value in self.meta.items() if name not in ("format", "files", "sha256")}

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weights that act."""
        return {name: value for name, value in self.tensors["model"].items() if name != DATA_ACTIONS_NAME}

    @property
    def data_actions(self) -> Tensor | None:
        """Some actions of the data [P, D + 3], if the checkpoint has them."""
        return self.tensors["model"].get(DATA_ACTIONS_NAME)


def save(folder: Folder, meta: dict[str, Any], tensors: dict[str, Tensors]) -> Path:
    """Write a checkpoint atomically to `folder`, replacing what is there."""
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    digests = {}
    for stem, values in tensors.items():
        data = save_tensors({name: value.detach().cpu().contiguous() for name, value in values.items()})
        digests[stem] = hashlib.sha256(data).hexdigest()
        _write(temporary / f"{stem}.safetensors", data)
    content = {"format": _FORMAT, "files": digests, **meta}
    content["sha256"] = _digest(content)
    _write(temporary / "checkpoint.json", json.dumps(content, indent=2).encode())
    if folder.exists():
        # rename cannot replace a folder that is not empty: between the two renames the old one has the name .old,
        # where load() finds it.
        old = _old(folder)
        shutil.rmtree(old, ignore_errors=True)
        os.rename(folder, old)
        os.rename(temporary, folder)
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.rename(temporary, folder)
    return folder


def load(folder: Folder, *stems: str) -> Checkpoint:
    """Read and verify a checkpoint, a folder or the name of a pretrained one; `stems` names the tensor files wanted.

    A training may save meanwhile: what is read is the checkpoint before or the one after. Raises AmRosError with one
    sentence naming the file if anything is missing, damaged or of another format.
    """
    folder = Path(folder)
    for tries_left in reversed(range(_TRIES)):
        there = _identities(folder)
        try:
            place = _old(folder) if not folder.exists() and _old(folder).exists() else find_checkpoint(folder)
            return _read(place, stems or ("model",))
        except AmRosError:  # of a file, perhaps, that belongs to another checkpoint than the one before
            if not tries_left or _identities(folder) == there:
                raise
    raise AssertionError("the last try returns or raises")


def _identities(folder: Path) -> list[tuple[int, int, int] | None]:
    """Which folders lie at both places where a checkpoint may be; None: there is none."""
    found: list[tuple[int, int, int] | None] = []
    for place in (folder, _old(folder)):
        try:
            status = place.stat()
        except OSError:
            found.append(None)
        else:
            found.append((status.st_dev, status.st_ino, status.st_ctime_ns))
    return found


def _read(folder: Path, stems: tuple[str, ...]) -> Checkpoint:
    path = folder / "checkpoint.json"
    if folder.is_file():
        raise AmRosError(f"{folder}: is a file, but a checkpoint is a folder with checkpoint.json")
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise AmRosError(f"{folder}: is not a checkpoint (no checkpoint.json)") from None
    except (OSError, ValueError) as error:
        raise AmRosError(f"{path}: cannot be read ({error})") from None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise AmRosError(f"{path}: is not of format {_FORMAT!r}")
    if content.get("sha256") != _digest(content):
        raise AmRosError(f"{path}: is damaged (its content does not match its sha256)")
    tensors = {}
    for stem in stems:
        file = folder / f"{stem}.safetensors"
        try:
            data = file.read_bytes()
        except OSError as error:
            raise AmRosError(f"{file}: cannot be read ({error.strerror})") from None
        if hashlib.sha256(data).hexdigest() != content["files"].get(stem):
            raise AmRosError(f"{file}: is damaged (its sha256 is not the one in checkpoint.json)")
        tensors[stem] = packing.unpacked(load_tensors(data))
    return Checkpoint(content, tensors, content["sha256"])


def export(folder: Folder, out: Folder, int8: bool = False) -> Path:
    """Write a copy of a checkpoint for acting and for starting from: weights alone, in half the bytes (float16).

    `int8`: in about a quarter of them, see packing.py. Raises AmRosError as `load`, and if a weight does not fit.
    """
    found = load(folder)
    try:
        tensors = packing.to_int8(found.weights) if int8 else packing.to_half(found.weights)
    except AmRosError as error:
        raise AmRosError(f"{folder}: {error}") from None
    if found.data_actions is not None:
        tensors[DATA_ACTIONS_NAME] = found.data_actions
    return save(out, found.description, {"model": tensors})


def exists(folder: Folder) -> bool:
    """Whether there is anything that load() would try to read."""
    return Path(folder).exists() or _old(Path(folder)).exists()


def flatten_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Optimiser state as named tensors: `<index>.<key>`."""
    state = optimizer.state_dict()["state"]
    return {f"{i}.{key}": torch.as_tensor(value) for i, values in state.items() for key, value in values.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what flatten_optimizer took; hyper-parameters stay those of `optimizer`."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    # Fused AdamW walks parameter and moments in memory order: both must have the same layout (channels last).
    for parameter, values in optimizer.state.items():
        for key, value in values.items():
            if value.shape == parameter.shape:
                values[key] = torch.empty_like(parameter).copy_(value)


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _digest(content: dict[str, Any]) -> str:
    bare = {key: value for key, value in content.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(bare, sort_keys=True).encode()).hexdigest()


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())

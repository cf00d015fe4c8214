"""Replay stores of formats 1 and 2: one set of growing files and a ledger of JSON lines; made anew as format 3.

The conversion copies the rows, so it needs as much free disk again; the old files are deleted when the new ones are
whole. Numbers, order and hashes stay, so a training goes on as if nothing had happened.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from am_ros.action import ACTION_DIM
from am_ros.episode import STATE_DIM, EpisodeInfo, Outcome
from am_ros.errors import AmRosError
from am_ros.replay.arrays import Rows

FORMATS = (1, 2)
_FILES = ("images.u8", "observations.f32", "states.f32", "actions.f32", "episodes.jsonl")
_AT_ONCE = 64  # episodes
_log = logging.getLogger(__name__)


def convert(folder: Path, header: dict[str, Any], create: Callable[..., Any]) -> dict[str, Any]:
    """Make an old store one of today's, in its place; returns its new header.

    Raises AmRosError, naming the file, if the old one is not whole.
    """
    shape = tuple(header.get("observation_shape") or (*header["image_size"], 3))
    action_dim: int = header.get("action_dim", ACTION_DIM)
    entries = _ledger(folder / "episodes.jsonl")
    rows = entries[-1]["first"] + entries[-1]["steps"] + 1 if entries else 0
    seen = _map(folder, "images.u8" if len(shape) == 3 else "observations.f32", rows, shape)
    states, actions = _map(folder, "states.f32", rows, (STATE_DIM,)), _map(folder, "actions.f32", rows, (action_dim,))
    _log.warning(f"{folder}: is a replay store of format {header['format']}: its {len(entries)} episodes are made anew")
    made = folder / "converted"
    for left in (made, *folder.glob("shard_*")):  # of a conversion that was killed
        shutil.rmtree(left, ignore_errors=True)
    store = create(made, shape, action_dim, "raw", 256)
    for start in range(0, len(entries), _AT_ONCE):
        some = entries[start : start + _AT_ONCE]
        episodes = []
        for entry in some:
            first, last = entry["first"], entry["first"] + entry["steps"]
            info = EpisodeInfo(entry["id"], entry["task"], seed=entry["seed"], outcome=Outcome(entry["outcome"]))
            episodes.append(Rows(info, seen[first : last + 1], states[first : last + 1], actions[first:last]))
        store.append_rows(episodes, {e["id"]: e["bag"] for e in some if "bag" in e})
    if store.hash_of_first(len(entries)) != _hash(entries):
        raise AmRosError(f"{folder}: its rows are not those that went in; delete it, the bags make it again")
    for shard in sorted(made.glob("shard_*")):
        os.replace(shard, folder / shard.name)
    text = (made / "store.json").read_text()
    os.replace(made / "store.json", folder / "store.json")  # from here on it is one of today's
    for name in _FILES:
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(made)
    new: dict[str, Any] = json.loads(text)
    return new


def _ledger(path: Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_bytes().split(b"\n")[:-1]  # the last one is half a line of a writer that was killed
        return [json.loads(line) for line in lines]
    except (OSError, ValueError) as error:
        raise AmRosError(f"{path}: cannot be read ({error}); delete the store, the bags make it again") from None


def _map(folder: Path, name: str, rows: int, shape: tuple[int, ...]) -> np.ndarray:
    kind, path = np.dtype(np.uint8 if name.endswith("u8") else np.float32), folder / name
    if not rows:
        return np.zeros((0, *shape), kind)
    if path.stat().st_size < rows * kind.itemsize * int(np.prod(shape)):
        raise AmRosError(f"{path}: is shorter than its ledger says; rebuild the store from the bags")
    return np.memmap(path, kind, "r", shape=(rows, *shape))


def _hash(entries: list[dict[str, Any]]) -> str:
    return hashlib.sha256("".join(sorted(e["sha256"] for e in entries)).encode()).hexdigest()

"""Checkpoints that are cut off, damaged or malicious: a whole one always loads, and what serves goes on serving."""

import os
import pickle
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from am_msgs.srv import LoadCheckpoint

from am_ros.action import ActionSpace
from am_ros.bags.episodes import write_episode
from am_ros.errors import AmRosError
from am_ros.faults.bench import Bench, wait_until
from am_ros.faults.suite import Result
from am_ros.faults.synthetic import flip_bit, make_episode
from am_ros.learning import checkpoint
from am_ros.learning.networks import NetworkConfig, make_network
from am_ros.learning.policy import Policy

SMALL = {"width": 32, "channels": 4}


def aimless_checkpoint(folder: Path, change=lambda weights: weights, update: int = 5, image_size: int = 64) -> Path:
    """A checkpoint of an untrained network: it moves without aim and never terminates."""
    torch.manual_seed(0)
    network: dict[str, Any] = {**SMALL, "image_size": image_size}
    meta = {
        "update": update, "image_size": image_size,
        "action_space": {"max_translation_m": [0.08] * 3, "max_rotation_rad": 0.5},
        "config": {"network": network, "acting": {"terminate": False}},
    }  # fmt: skip
    untrained = make_network(NetworkConfig(**network))
    return checkpoint.save(folder, meta, {"model": change(untrained.state_dict())})


def trainer_killed(bench: Bench) -> Iterator[Result]:
    """A checkpoint always loads"""
    for seed in range(4):
        write_episode(make_episode(f"e{seed}", steps=8, seed=seed), bench.folder / "bags", ActionSpace())
    count, loaded, hit_a_save, updates = bench.pick(20, 1), 0, 0, []
    out = bench.folder / "out"
    place = out / "checkpoint"
    settings: dict[str, Any] = {"batch_size": 8, "updates": 1_000_000, "precision": "fp32", "checkpoint_every_s": 0.1}
    for _ in bench.rounds(count, "kills"):
        node = bench.start("trainer", bags=str(bench.folder / "bags"), out=str(out), min_episodes=4, **settings)
        _wait_for_change(place)
        time.sleep(bench.random.uniform(0.0, 0.3))
        # A save is under way whenever its temporary folder is there: three of four kills wait for that moment.
        if bench.random.random() < 0.75:
            wait_until(lambda: _being_saved(out), 10, "trainer: another save")
        os.killpg(node.pid, signal.SIGKILL)  # the training process beside the node, too
        node.wait(10.0)
        hit_a_save += bool(_being_saved(out))
        found = Policy.load(place)
        checkpoint.load(place, "model", "optimizer")
        loaded += 1
        updates.append(found.meta["update"])
    yield Result(
        f"trainer: kill -9 {count} times, during saves",
        "a checkpoint always loads, and none is older than the one before",
        f"{loaded} of {count} loaded ({hit_a_save} kills hit a save), updates {updates[0]} ... {updates[-1]}",
        loaded == count and updates == sorted(updates),
    )


def _wait_for_change(place: Path) -> None:
    before = _changed(place)
    wait_until(lambda: _changed(place) > before, 60, "trainer: a first checkpoint")


def _changed(place: Path) -> float:
    try:
        return (place / "checkpoint.json").stat().st_mtime
    except OSError:
        return 0.0


def _being_saved(out: Path) -> list[Path]:
    return [*out.glob(".checkpoint.*.tmp"), *out.glob(".checkpoint.old")]


class _Malicious:
    """What a pickle can do to whoever loads it."""

    def __init__(self, path: Path):
        self._path = path

    def __reduce__(self):
        return os.mkdir, (str(self._path),)


def checkpoint_damage(bench: Bench) -> Iterator[Result]:
    """All refused, the old one kept serving"""
    good = aimless_checkpoint(bench.folder / "good")
    bench.start("policy_server", ready="serving", checkpoint=str(good), samples=8)
    serving = checkpoint.load(good).sha256
    count, refused, kept, slowest_s = bench.pick(200, 12), 0, 0, 0.0

    def offer(path: Path) -> bool:
        nonlocal kept, slowest_s
        began = time.monotonic()
        answer = bench.client.call(LoadCheckpoint, "policy_server/load_checkpoint", path=str(path), timeout_s=30)
        slowest_s = max(slowest_s, time.monotonic() - began)
        kept += answer.sha256 == serving
        return not answer.success and bool(answer.message)

    damaged = bench.folder / "damaged"
    for i in bench.rounds(count, "damaged checkpoints"):
        shutil.rmtree(damaged, ignore_errors=True)
        shutil.copytree(good, damaged)
        _damage(damaged, bench.random, i)
        refused += offer(damaged)
    yield Result(
        f"policy server: {count} damaged checkpoints", "all refused, the old one kept serving",
        f"{refused} refused, the old one served on after {kept}; slowest answer {slowest_s:.2f} s",
        refused == kept == count,
    )  # fmt: skip

    kept, trap = 0, bench.folder / "trap"
    raw, legacy, inside = bench.folder / "model.pt", bench.folder / "legacy.pt", bench.folder / "pickled"
    raw.write_bytes(pickle.dumps(_Malicious(trap)))
    torch.save(_Malicious(trap), legacy)
    shutil.copytree(good, inside)
    shutil.copy(raw, inside / "model.safetensors")
    named = bench.folder / "named"
    checkpoint.save(named, {**checkpoint.load(good).description, "files": {}}, {})
    shutil.copy(raw, named / "model.pt")
    offered = (raw, legacy, inside, named)
    refused = sum(offer(path) for path in offered)
    yield Result(
        "policy server: malicious pickles", "refused, not executed, the old one kept serving",
        f"{refused} of {len(offered)} refused, {'EXECUTED' if trap.exists() else 'none executed'}, "
        f"the old one served on after {kept}",
        refused == kept == len(offered) and not trap.exists(),
    )  # fmt: skip
    fresh = aimless_checkpoint(bench.folder / "fresh", update=6)
    answer = bench.client.call(LoadCheckpoint, "policy_server/load_checkpoint", path=str(fresh), timeout_s=30)
    if not answer.success or answer.update != 6:
        raise AmRosError(f"policy_server: refuses a good checkpoint afterwards: {answer.message}")


def _damage(folder: Path, random, i: int) -> None:
    """One of five ways to ruin a checkpoint."""
    file = folder / ("model.safetensors" if random.random() < 0.7 else "checkpoint.json")
    data = bytearray(file.read_bytes())
    kind = i % 5
    if kind == 0:
        file.write_bytes(data[: int(random.integers(len(data)))])
    elif kind == 1:
        file.write_bytes(flip_bit(bytes(data), random))
    elif kind == 2:
        at = int(random.integers(len(data)))
        data[at : at + 64] = random.bytes(len(data[at : at + 64]))
        file.write_bytes(data)
    elif kind == 3:
        file.write_bytes(random.bytes(len(data)))
    else:
        file.unlink()

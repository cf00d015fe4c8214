"""Damage of files: whatever happens to the bytes of a bag, it reads as it was or is refused by name."""

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from am_ros.action import ActionSpace
from am_ros.bags.episodes import read_episode, write_episode
from am_ros.errors import AmRosError
from am_ros.faults.bench import Bench
from am_ros.faults.suite import Result
from am_ros.faults.synthetic import difference, flip_bit, make_episode

SPACE = ActionSpace()
FLIPS_IN_METADATA = 0.1  # share; metadata.yaml is a few per cent of the bytes, and the only ones without a checksum


def bag_damage(bench: Bench) -> Iterator[Result]:
    """0 damaged bags silently different"""
    bag = write_episode(make_episode("whole", steps=12), bench.folder, SPACE)
    whole = read_episode(bag, SPACE)
    files = {path.name: path.read_bytes() for path in sorted(bag.iterdir())}
    mcap = next(name for name in files if name.endswith(".mcap"))
    copy = shutil.copytree(bag, bench.folder / "damaged" / "whole")
    count = bench.pick(1000, 60)

    def cut(data: bytes) -> bytes:
        return data[: int(bench.random.integers(len(data)))]

    def flip(data: bytes) -> bytes:
        return flip_bit(data, bench.random)

    for what, damage in (("truncations", cut), ("bit_flips", flip)):
        outcome: Counter[str] = Counter()
        for _ in bench.rounds(count, what.replace("_", " ")):
            name = "metadata.yaml" if bench.random.random() < FLIPS_IN_METADATA else mcap
            (copy / name).write_bytes(damage(files[name]))
            outcome[_read(copy, whole)] += 1
            (copy / name).write_bytes(files[name])
        same, refused = outcome.pop("", 0), outcome.pop("refused", 0)
        different = sum(outcome.values())
        measured = f"{different} silently different; {refused} refused by name, {same} read as they were"
        yield Result(f"bag: {count} {what.replace('_', ' ')}", "0 silently different", measured, different == 0)


def _read(bag: Path, whole) -> str:
    """Empty if the bag reads as it was, "refused" if it is refused by name, else in what it differs."""
    try:
        return difference(whole, read_episode(bag, SPACE))
    except AmRosError as error:
        return "refused" if str(error).startswith("bag ") else f"no name: {error}"

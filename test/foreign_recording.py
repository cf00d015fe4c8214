"""A good recording of somebody else, to be changed before it is written: camera and poses of a tool that moves.

A picture holds its own number, so that what an episode says can be compared with where the tool was when it was taken.
"""

import copy
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from foreign_files import write_db3, write_mcap
from recordings import IMAGE, T0, image, picture, poses, x_of

SECONDS, IMAGE_HZ = 8.0, 10.0


def numbered(number: int, size: int = 64) -> np.ndarray:
    """The picture of that number, RGB [size, size, 3]: eight squares below are its bits."""
    rgb, side = picture(x_of(number / IMAGE_HZ), size), size // 8
    for bit in range(8):
        # Faint: what moves in the picture has to be the arm.
        rgb[-side:, bit * side : (bit + 1) * side] = 128 if number >> bit & 1 else 122
    return rgb


def number_in(rgb: np.ndarray) -> int:
    """Which picture that is."""
    side = rgb.shape[0] // 8
    middles = [rgb[-side // 2 - 1, bit * side + side // 2].mean() > 125 for bit in range(8)]
    return sum(bool(on) << bit for bit, on in enumerate(middles))


@lru_cache(1)
def _good() -> list:
    seen = [("/cam", IMAGE, T0 + n / IMAGE_HZ + 0.02, image(T0 + n / IMAGE_HZ, numbered(n)))
            for n in range(int(SECONDS * IMAGE_HZ))]  # fmt: skip
    return sorted(seen + poses(SECONDS), key=lambda m: m[2])


@dataclass
class Recording:
    """A recording before it is written."""

    rng: random.Random
    messages: list = field(default_factory=lambda: list(_good()))  # topic, type, reception [s], message or bytes
    encodings: dict = field(default_factory=dict)
    options: dict = field(default_factory=dict)  # of the MCAP writer
    suffix: str = ".mcap"
    name: str = "rec"
    splits: int = 1
    wal: bool = False
    offset_s: float = 0.0  # constant, of a clock
    metadata: Callable | None = None  # (folder, files, messages) -> None
    after: list = field(default_factory=list)  # what is done to the folder, (folder) -> folder

    def write(self, folder: Path) -> Path:
        """The bag in a folder of its own."""
        folder, files = folder / self.name, []
        size = -(-len(self.messages) // self.splits)
        for number in range(self.splits):
            part, path = self.messages[number * size : (number + 1) * size], folder / f"rec_{number}{self.suffix}"
            if self.suffix == ".db3":
                files.append(write_db3(path, part, wal_after=len(part) // 2 if self.wal else None))
            else:
                options = {"chunk_size": 100_000, **self.options}
                files.append(write_mcap(path, part, encodings=self.encodings, **options))
        if self.metadata:
            self.metadata(folder, files, self.messages)
        for change in self.after:
            folder = change(folder)
        return folder

    def window(self, longest: float = 2.5) -> tuple[float, float]:
        """Some stretch of it [s]."""
        begin = self.rng.uniform(0, SECONDS - 0.5)
        return T0 + begin, T0 + begin + self.rng.uniform(0.2, longest)

    def change(self, topic: str, how, where=(0.0, math.inf)) -> None:
        """Replace each message of a topic in a stretch by `how(message)`; None: it is left out."""
        changed = []
        for item in self.messages:
            inside = item[0] == topic and where[0] <= item[2] < where[1] and not isinstance(item[3], bytes)
            message = how(copy.deepcopy(item[3])) if inside else item[3]
            changed += [] if message is None else [(item[0], item[1], item[2], message)]
        self.messages = changed

    def insert(self, items: list) -> None:
        """More messages, by their reception."""
        self.messages = sorted([*self.messages, *items], key=lambda m: m[2])

"""Draws the packages of am_ros as rooms on their floors, and the imports between them as arrows.

    python docs/site/floors.py docs/images/architecture.png

The floors are those of the import contract in pyproject.toml, the arrows what the code imports, the wider the more
modules do. Arrows to the lower floors are left out.
"""

import sys
from collections import Counter
from pathlib import Path

import grimp
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from importlinter import configuration as importlinter
from importlinter.application.use_cases import read_user_options

ROOT = Path(__file__).parents[2]
ROOM_WIDTH, ROOM_HEIGHT, FLOOR_HEIGHT = 1.7, 0.5, 1.0
# Nearly every room imports what stands here or below; those arrows would hide all others.
HIGHEST_WITHOUT_ARROWS = "images"


def floors() -> list[list[str]]:
    """The rooms of each floor, the highest first, as the first import contract names them."""
    importlinter.configure()
    options = read_user_options(config_filename=str(ROOT / "pyproject.toml")).contracts_options[0]
    return [[room.strip() for room in floor.split("|")] for floor in options["layers"]]


def imports() -> Counter:
    """How many modules of one room import one of another: {(from, to): count}."""
    graph = grimp.build_graph("am_ros")
    counts = Counter()
    for importer in graph.modules:
        for imported in graph.find_modules_directly_imported_by(importer):
            ends = [name.split(".")[1] if "." in name else "" for name in (importer, imported)]
            if all(ends) and ends[0] != ends[1]:
                counts[tuple(ends)] += 1
    return counts


def draw(path: Path) -> None:
    """Write the picture. Raises ValueError if an import runs upward."""
    rows, counts = floors(), imports()
    height = {room: len(rows) - i for i, floor in enumerate(rows) for room in floor}
    place = {}
    for floor in rows:
        for k, room in enumerate(floor):
            place[room] = ((k - (len(floor) - 1) / 2) * (ROOM_WIDTH + 0.35), height[room] * FLOOR_HEIGHT)
    figure, axes = plt.subplots(figsize=(11, 0.75 * len(rows)))
    for (importer, imported), count in sorted(counts.items()):
        if height[importer] <= height[imported]:
            raise ValueError(f"{importer} imports {imported}, which does not stand below it")
        if height[imported] <= height[HIGHEST_WITHOUT_ARROWS]:
            continue
        (x0, y0), (x1, y1) = place[importer], place[imported]
        bend = 0.08 * (y0 - y1) * (1 if (x0 + x1) >= 0 else -1)
        axes.annotate(
            "", (x1, y1 + ROOM_HEIGHT / 2), (x0, y0 - ROOM_HEIGHT / 2),
            arrowprops={"arrowstyle": "->", "color": "#3f51b5", "alpha": min(0.85, 0.3 + 0.02 * count),
                        "lw": 0.5 + min(3.0, count / 15), "connectionstyle": f"arc3,rad={bend:.2f}"},
        )  # fmt: skip
    for room, (x, y) in place.items():
        folder = (ROOT / "am_ros" / room).is_dir()
        axes.text(
            x, y, room + "/" * folder, ha="center", va="center", fontsize=9, zorder=3,
            bbox={"boxstyle": "round,pad=0.35", "fc": "#e8eaf6" if folder else "white", "ec": "#3f51b5"},
        )  # fmt: skip
    side = max(abs(x) for x, _ in place.values()) + ROOM_WIDTH
    axes.set(xlim=(-side, side), ylim=(0.4, (len(rows) + 0.7) * FLOOR_HEIGHT))
    axes.axis("off")
    figure.savefig(path, dpi=110, bbox_inches="tight")


if __name__ == "__main__":
    draw(Path(sys.argv[1]))

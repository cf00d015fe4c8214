"""How well a camera that has moved since a goal was recorded is told, in the simulated cell.

    python benchmarks/goal_consistency.py --still 150 --moved 32 --rows runs/consistency.jsonl \
        --json docs/data/consistency.json --picture docs/images/consistency.png \
        --overlay docs/images/consistency_overlay.png

A pair is a goal image of one scene and a view of another one of the same task: arm, objects, colours, light and the
table's tint differ, and noise (4 of 255) is on both. The camera stands still, is turned in a random direction or about
its line of sight, or moved aside. Pictures of 472 px are averaged down to the smaller sizes, as the camera node does.
`--rows` keeps what is measured, pair by pair; a second call goes on there. Without `--still` it draws what is there.
"""

import argparse
import dataclasses
import json
import math
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
from output import output_file
from PIL import Image

from am_ros.consistency import ConsistencyConfig, check_view
from am_ros.consistency.picture import draw
from am_ros.images import crop_resize
from am_ros.sim.camera import CameraConfig, intrinsics
from am_ros.sim.scene import Appearance
from am_ros.sim.tasks import TASKS, draw_scenario, evaluation_seed
from am_ros.sim.workcell import SimConfig, SimWorkcell
from am_ros.workers import ProgressLine, run_jobs

SIZES = (64, 128, 472)
NOISE = 4.0  # standard deviation, of 255, at 472 px
# What happened to the camera: (kind, amount); degrees, or metres of a shift to the side.
STILL = ("turn", 0.0)
MOVED = (
    *(("turn", d) for d in (0.5, 1.0, 2.0, 3.0, 5.0, 10.0)), ("roll", 3.0), ("roll", 10.0), ("aside", 0.05),
    ("mirrored", 0.0),
)  # fmt: skip
CAMERA = CameraConfig(image_size=max(SIZES))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--still", type=int, default=0, help="pairs with a camera that did not move")
    parser.add_argument("--moved", type=int, default=0, help="of these, so many with one that did, in every way")
    parser.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--rows", type=output_file, default=Path("runs/consistency.jsonl"), help="measurements, kept")
    parser.add_argument("--json", type=output_file, help="write the table to this file")
    parser.add_argument("--picture", type=output_file, help="draw the curves into this PNG")
    parser.add_argument("--overlay", type=output_file, help="draw one pair, still and turned, into this PNG")
    arguments = parser.parse_args()
    measure(arguments)
    rows = [json.loads(line) for line in arguments.rows.read_text().splitlines()]
    table = figures(rows)
    show(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=1) + "\n")
    if arguments.picture:
        plot(rows, table, arguments.picture)
    if arguments.overlay:
        Image.fromarray(overlay()).quantize(256).save(arguments.overlay, optimize=True)


def measure(arguments) -> None:
    """Append the rows of all pairs that are not there yet."""
    arguments.rows.parent.mkdir(parents=True, exist_ok=True)
    arguments.rows.touch()
    done = {(r["pair"], r["kind"]) for r in map(json.loads, arguments.rows.read_text().splitlines())}
    jobs = []
    for pair in range(arguments.still):
        cases = (*([STILL] if (pair, "turn") not in done else []),
                 *(MOVED if pair < arguments.moved and (pair, "mirrored") not in done else []))  # fmt: skip
        jobs += [(pair, cases)] if cases else []
    progress = ProgressLine(sys.stderr, "consistency", "pairs")
    with open(arguments.rows, "a") as file:
        for count, rows in enumerate(run_jobs(compare, jobs, arguments.workers, "consistency")):
            file.writelines(json.dumps(row) + "\n" for row in rows)
            file.flush()
            progress.show(count + 1, len(jobs))


def compare(pair: int, cases) -> list[dict]:
    """One row per size and case."""
    rows = []
    for (kind, amount), goal, now in pictures(pair, cases):
        for size in SIZES:
            found = check_view(crop_resize(goal, size, size), crop_resize(now, size, size), focal_px(size))
            rows.append({
                "pair": pair, "kind": kind, "amount": amount, "size": size, "finding": found.finding.name.lower(),
                "shift_deg": round(found.shift_deg, 3), "clockwise_deg": round(found.clockwise_deg, 2),
                "agree": int(found.registration.agrees.sum()), "compared": int(found.registration.compared.sum()),
                "uncertainty_px": round(min(found.registration.uncertainty_px, 99.0), 3),
            })  # fmt: skip
    return rows


def pictures(pair: int, cases):
    """For each case the goal image and the view, uint8 [472, 472, 3]."""
    rng = np.random.default_rng(pair)
    tasks = [t for t in TASKS.values() if not t.name.startswith("grasp_")]  # these have no goal image
    task = tasks[pair % len(tasks)]
    then, today = (draw_scenario(task, evaluation_seed(i), 1.0) for i in (2 * pair, 2 * pair + 1))
    direction = rng.uniform(-math.pi, math.pi)
    work = cell()
    work.stock(task.objects)
    work.arrange(then.goal, moved(then.appearance, *STILL, direction))
    goal = noisy(work.render(), rng)
    work.arrange(today.start if pair % 2 else today.goal, moved(today.appearance, *STILL, direction))
    for kind, amount in cases:
        work.camera.look(moved(today.appearance, kind, amount, direction))
        now = noisy(work.render(), rng)
        yield (kind, amount), goal, np.ascontiguousarray(now[:, ::-1]) if kind == "mirrored" else now


@lru_cache(maxsize=1)
def cell() -> SimWorkcell:
    return SimWorkcell(SimConfig(camera=CAMERA))


def moved(look: Appearance, kind: str, amount: float, direction: float) -> Appearance:
    """A scene's look from a camera that stands where it should, but for this."""
    position, target = np.array(CAMERA.camera_position_m), np.array(CAMERA.camera_target_m)
    way = target - position
    right = np.cross(way, (0, 0, 1))
    right /= np.linalg.norm(right)
    up = np.cross(right, way / np.linalg.norm(way))
    side = math.cos(direction) * right + math.sin(direction) * up
    angle = math.radians(amount)
    turn = np.zeros(3)
    if kind == "turn":
        turn = way * (math.cos(angle) - 1) + side * math.sin(angle) * np.linalg.norm(way)
    aside = side * amount if kind == "aside" else np.zeros(3)
    return dataclasses.replace(
        look, camera_shift_m=tuple(aside.tolist()), target_shift_m=tuple((turn + aside).tolist()),
        camera_roll_rad=angle if kind == "roll" else 0.0,
    )  # fmt: skip


def noisy(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.clip(rgb + rng.normal(0, NOISE, rgb.shape), 0, 255).astype(np.uint8)


def focal_px(size: int) -> float:
    return float(intrinsics(dataclasses.replace(CAMERA, image_size=size))[0, 0])


def flagged(row: dict, limit_deg: float) -> bool:
    """Whether a goal would be warned of: the camera moved by more than the limit, or the scene differs."""
    return row["finding"] == "scene_differs" or row["shift_deg"] > limit_deg


def figures(rows: list[dict]) -> dict:
    """Per size: pairs, shares flagged at the default limit and at that of one false alarm in a hundred."""
    table = {}
    for size in SIZES:
        still = [r for r in rows if r["size"] == size and (r["kind"], r["amount"]) == STILL]
        if not still:
            continue
        shifts = sorted(math.inf if r["finding"] == "scene_differs" else r["shift_deg"] for r in still)
        one_percent = shifts[min(len(shifts) - 1, math.ceil(0.99 * len(shifts)) - 1)]
        limit = ConsistencyConfig().max_shift_deg
        cases = {}
        for kind, amount in (STILL, *MOVED):
            of = [r for r in rows if (r["size"], r["kind"], r["amount"]) == (size, kind, amount)]
            if of:
                cases[f"{kind} {amount:g}"] = {
                    "pairs": len(of),
                    "flagged": sum(flagged(r, limit) for r in of) / len(of),
                    "flagged_at_1_percent": sum(flagged(r, one_percent) for r in of) / len(of),
                    "undecided": sum(r["finding"] == "undecided" for r in of) / len(of),
                    "scene_differs": sum(r["finding"] == "scene_differs" for r in of) / len(of),
                    "shift_deg_p10_p50_p90": [round(float(q), 2) for q in
                                              np.percentile([r["shift_deg"] for r in of], [10, 50, 90])],
                }  # fmt: skip
        table[str(size)] = {"limit_deg": limit, "one_percent_deg": round(one_percent, 2), "cases": cases}
    return table


def show(table: dict) -> None:
    names = list(dict.fromkeys(name for t in table.values() for name in t["cases"]))
    print("camera".ljust(14) + "".join(f"{size + ' px':>28}" for size in table))
    for name in names:
        cells = [t["cases"].get(name) for t in table.values()]
        print(name.ljust(14) + "".join(
            f"{c['flagged']:>9.0%} {c['shift_deg_p10_p50_p90'][1]:>6.2f} deg  n={c['pairs']:<5}" if c else " " * 28
            for c in cells))  # fmt: skip
    for size, t in table.items():
        print(f"{size} px: one false alarm in a hundred at {t['one_percent_deg']} deg (limit {t['limit_deg']} deg)")


def plot(rows: list[dict], table: dict, path: Path) -> None:
    """Flagged over the turn of the camera, and the shifts found while it stood still."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8.4, 3.1), layout="constrained")
    for size, t in table.items():
        turns = [(float(n.split()[1]), c) for n, c in t["cases"].items() if n.startswith("turn")]
        line = left.plot([a for a, _ in turns], [100 * c["flagged"] for _, c in turns], "o-", ms=3, label=f"{size} px")
        still = sorted(r["shift_deg"] for r in rows
                       if str(r["size"]) == size and (r["kind"], r["amount"]) == STILL)  # fmt: skip
        right.step(still, 100 * (1 - np.arange(len(still)) / len(still)), color=line[0].get_color(), label=f"{size} px")
    left.set(xlabel="turn of the camera [deg]", ylabel="flagged [%]", ylim=(-2, 102))
    right.set(xlabel="limit [deg]", ylabel="false alarms, camera still [%]", xlim=(0, 3), yscale="log", ylim=(0.3, 100))
    right.axvline(ConsistencyConfig().max_shift_deg, color="grey", lw=0.8, ls="--")
    left.legend(fontsize=8, loc="lower right")
    right.legend(fontsize=8)
    for axis in (left, right):
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=100)


def overlay(pair: int = 1) -> np.ndarray:
    """A pair as it is and after a turn of 3 degrees, one below the other."""
    return np.vstack([
        draw(goal, now, check_view(goal, now, focal_px(max(SIZES))))
        for _, goal, now in pictures(pair, (STILL, ("turn", 3.0)))
    ])  # fmt: skip


if __name__ == "__main__":
    main()

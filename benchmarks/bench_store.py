"""What a replay store costs: to fill, to open, to hold, to draw from and to learn from; on vectors and on images.

python benchmarks/bench_store.py --label now --json docs/data/store.json    # 6 minutes of a quiet machine, 5 GB of disk

Each figure comes from a process of its own. Drawing is CPU time; what several processes share is time of the clock.
Memory is what belongs to the process alone (RssAnon), for the files' pages are shared. Figures of other labels in the
JSON file stay, and are printed beside. For those of an older commit: `git worktree add /tmp/old COMMIT`, and run this
file with PYTHONPATH=/tmp/old.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from bags import make_episode
from output import output_file

import am_ros
from am_ros.action import ACTION_DIM, ActionSpace
from am_ros.bags.episodes import write_episode
from am_ros.episode import STATE_DIM, EpisodeInfo, Outcome
from am_ros.replay.arrays import Rows
from am_ros.replay.from_bags import ingest
from am_ros.replay.sampling import GoalConfig, Sampler
from am_ros.replay.store import ReplayStore

TREE = Path(am_ros.__file__).parents[1]  # what is measured
STEPS = 12  # of an episode
BATCH = 128
VECTORS = {"10k": 834, "1M": 83_334, "10M": 800_000}  # episodes: 10 008, 1.0 M and 9.6 M transitions
IMAGES = {64: 1500, 128: 800, 472: 100}  # pixels: episodes, 0.24 to 0.87 GB of them
BAGS = {64: 3000, 472: 200}  # pixels: bags to read
PROCESSES = (1, 2)
WARM_UP, UPDATES = 20, 300  # of preset small, with a batch of 128 that the processes share


def episodes(count: int, pixels: int) -> Iterator[Rows]:
    """Noise; with `pixels` 0 observations are vectors of one number."""
    rng = np.random.default_rng(0)
    shape = (pixels, pixels, 3) if pixels else (1,)
    for number in range(count):
        seen = rng.integers(0, 256, (STEPS + 1, *shape), np.uint8) if pixels else rng.random((STEPS + 1, 1), np.float32)
        info = EpisodeInfo(f"noise_{number:07d}", "noise", seed=number, outcome=Outcome(1 + number % 2))
        states = rng.random((STEPS + 1, STATE_DIM), np.float32)
        yield Rows(info, seen, states, rng.random((STEPS, ACTION_DIM), np.float32))


def build(folder: Path, count: int, pixels: int) -> float:
    """Make a store; returns the CPU time it took [s]."""
    store = ReplayStore.create(folder, (pixels, pixels)) if pixels else ReplayStore.create_for_vectors(folder, 1)
    chunk: list[Rows] = []
    spent = 0.0
    for number, rows in enumerate(episodes(count, pixels), 1):
        chunk.append(rows)
        if number == count or len(chunk) == (20 if pixels else 20_000):
            began = time.process_time()
            store.append_rows(chunk)
            spent += time.process_time() - began
            chunk = []
    return spent


def anonymous_mb() -> float:
    """Memory that is this process's alone [MB]."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1024


def measure(folder: Path) -> dict[str, float]:
    """Open a store and draw from it, in this fresh process."""
    before, began, began_cpu = anonymous_mb(), time.monotonic(), time.process_time()
    store = ReplayStore.open(folder)
    opened, opened_cpu = time.monotonic() - began, time.process_time() - began_cpu
    held = anonymous_mb() - before
    sampler = Sampler(store, GoalConfig(), BATCH, 0)
    warm = 30 if store.has_images else 1500  # so that most pages of the largest one are mapped
    for step in range(warm):
        sampler.batch(step)
    drawn, rounds = [], 5 if store.has_images else 25
    for part in range(7):
        began_cpu = time.process_time()
        for step in range(rounds):
            sampler.batch(warm + part * rounds + step)
        drawn.append((time.process_time() - began_cpu) / rounds)
    batch_s = min(drawn)  # what others on the machine do only ever adds
    return {
        "open_s": round(opened, 4),
        "open_cpu_s": round(opened_cpu, 4),
        "open_mb": round(held, 1),
        "after_batches_mb": round(anonymous_mb() - before, 1),
        "batch_ms": round(1e3 * batch_s, 3),
        "items_per_s": round(BATCH / batch_s),
        "transitions": len(store),
    }


def measured(folder: Path) -> dict[str, float]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--measure", str(folder)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def bags_per_s(scratch: Path, quick: bool) -> dict[str, dict[str, dict[str, float]]]:
    """Bags of smooth pictures read into a store by so many processes: per second of the clock, and the CPU time of a
    bag [ms], `own` of the process that writes and `others` of those that read for it."""
    figures: dict[str, dict[str, dict[str, float]]] = {"bags_per_s": {}, "bag_own_ms": {}, "bag_others_ms": {}}
    space = ActionSpace()
    for pixels, count in BAGS.items():
        count = 8 if quick else count
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            episode = make_episode(pixels)
            for number in range(count):
                write_episode(episode.with_info(episode_id=f"e{number}"), Path(folder) / "bags", space, False)
            for workers in PROCESSES:
                store = ReplayStore.create(Path(folder) / f"store_{workers}", (pixels, pixels))
                began, spent = time.monotonic(), cpu_s()
                ingest(Path(folder) / "bags", store, space, workers=workers)
                own, others = (1e3 * (after - before) / count for before, after in zip(spent, cpu_s(), strict=True))
                found = {"bags_per_s": count / (time.monotonic() - began), "bag_own_ms": own, "bag_others_ms": others}
                for name, value in found.items():
                    figures[name].setdefault(str(pixels), {})[str(workers)] = round(value, 1)
    return figures


def cpu_s() -> tuple[float, float]:
    """CPU time of this process and of those that it has started and that have ended [s]."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    own, others = (usage.ru_utime + usage.ru_stime for usage in used)
    return own, others


def update_ms(scratch: Path, quick: bool) -> dict[str, float]:
    """An update of the recipe `default` at 64 px, by so many processes that share its batch; time of the clock."""
    figures, updates = {}, 60 if quick else UPDATES
    for processes in PROCESSES:
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            out = Path(folder) / "out"
            build(out / "replay", 20 if quick else 400, 64)
            command = [sys.executable, "-c", "from am_ros.cli import main; main()", "train", "--out", str(out)]
            command += ["--batch-size", "128", "--updates", str(updates), "--processes", str(processes)]
            alone = {**os.environ, "OMP_NUM_THREADS": "1"}  # a thread for each process
            subprocess.run(command, check=True, capture_output=True, env=alone, cwd=TREE)
            rows = np.genfromtxt(out / "metrics.csv", delimiter=",", names=True)
            rows = rows[rows["update"] >= WARM_UP]
            spent_s, made = (rows[name][-1] - rows[name][0] for name in ("trained_s", "update"))
            figures[str(processes)] = round(1e3 * float(spent_s / made), 1)
    return figures


def run(scratch: Path, quick: bool, drawing: bool) -> dict:
    """All figures; stores are made one at a time and deleted again."""
    figures: dict = {"vectors": {}, "images": {}}
    scratch.mkdir(parents=True, exist_ok=True)
    scratch = scratch.resolve()
    if not drawing:
        figures |= bags_per_s(scratch, quick) | {"update_ms": update_ms(scratch, quick)}
        print(figures, file=sys.stderr, flush=True)
    sizes = [("vectors", name, count, 0) for name, count in VECTORS.items()]
    sizes += [("images", str(pixels), count, pixels) for pixels, count in IMAGES.items()]
    for kind, name, count, pixels in sizes:
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            spent = build(Path(folder) / "store", max(2, count // 100) if quick else count, pixels)
            figures[kind][name] = measured(Path(folder) / "store") | {"build_cpu_s": round(spent, 2)}
            print(kind, name, figures[kind][name], file=sys.stderr, flush=True)
    return figures


def table(labels: dict[str, dict]) -> str:
    """The figures of all labels side by side, as a table of the documentation."""
    rows = [("open 9.6 M transitions, s of CPU", "vectors", "10M", "open_cpu_s")]
    rows += [("memory of it, MB", "vectors", "10M", "open_mb")]
    rows += [("memory after 1700 batches, MB", "vectors", "10M", "after_batches_mb")]
    rows += [(f"batch of {BATCH} at {n} transitions, ms of CPU", "vectors", n, "batch_ms") for n in VECTORS]
    rows += [(f"items per CPU second at {p} px", "images", str(p), "items_per_s") for p in IMAGES]
    ways = [(n, "1 process" if n == 1 else f"{n} processes") for n in PROCESSES]
    plain = [(f"update of {BATCH} items at 64 px, {who}, ms", "update_ms", str(n)) for n, who in ways]
    if all("update_ms" in figures for figures in labels.values()):
        rows += [(f"bags per second at {p} px, {who}", "bags_per_s", str(p), str(n)) for p in BAGS for n, who in ways]
    else:
        plain = []
    lines = ["| | " + " | ".join(labels) + " |", "|---|" + "---|" * len(labels)]
    for title, kind, size, name in rows:
        lines.append(f"| {title} | " + " | ".join(f"{f[kind][size][name]:,}" for f in labels.values()) + " |")
    lines += [f"| {t} | " + " | ".join(f"{f[kind][n]:,}" for f in labels.values()) + " |" for t, kind, n in plain]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--label", default="now", help="what the figures are called in table and file")
    parser.add_argument("--json", type=output_file, help="file to add them to")
    parser.add_argument("--scratch", type=Path, default=Path("runs"), help="where stores are made (5 GB)")
    parser.add_argument("--quick", action="store_true", help="stores of a hundredth: does it run?")
    parser.add_argument("--drawing", action="store_true", help="no bags are read and nothing is learned")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    there = json.loads(arguments.json.read_text()) if arguments.json and arguments.json.exists() else {}
    figures = run(arguments.scratch, arguments.quick, arguments.drawing)
    head = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(head, capture_output=True, text=True, cwd=TREE).stdout.strip()
    there[arguments.label] = figures | {"commit": commit, "machine": machine(), "numpy": np.__version__}
    print(table(there))
    if arguments.json:
        arguments.json.write_text(json.dumps(there, indent=1) + "\n")


def machine() -> str:
    """The processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()

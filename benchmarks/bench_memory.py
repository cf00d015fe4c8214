"""What a batch costs from a store that is larger than the memory, against the same store in memory.

    python benchmarks/bench_memory.py runs/mine/replay --limit-mb 1200     # as root: it makes a group for itself

Two processes draw the same batches, one after the other: one without a limit, after it has read the whole store once;
the other in a control group whose memory is `--limit-mb`, page cache included, as a container's would be. Milliseconds
of the clock per batch of 128 items with the recipe's goals, by quarters of the batches. `--recipe best`: the
goals of that recipe, whose items share pictures (replay/shared.py) and have noise.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from am_ros.learning.recipes import find_recipe
from am_ros.replay.sampling import GoalConfig
from am_ros.replay.shared import make_sampler
from am_ros.replay.store import ReplayStore

CGROUPS = Path("/sys/fs/cgroup")
NAME, BATCH, QUARTERS = "am_ros_bench", 128, 4


def group() -> Path:
    """The control group of the limited process: of version 1 where the machine has it, else of version 2."""
    return (CGROUPS / "memory" if (CGROUPS / "memory").is_dir() else CGROUPS) / NAME


def enter_group(limit_mb: int) -> None:
    """Be in a control group with so much memory."""
    folder = group()
    folder.mkdir(exist_ok=True)
    limit = folder / ("memory.limit_in_bytes" if folder.parent.name == "memory" else "memory.max")
    limit.write_text(str(limit_mb * 10**6))
    (folder / "cgroup.procs").write_text(str(os.getpid()))


def measure(store: Path, batches: int, limit_mb: int, recipe: str) -> dict:
    """Milliseconds per batch of each quarter, and how large the store is."""
    for file in store.rglob("*.npy"):
        with file.open("rb") as stream:
            if limit_mb:  # what another group has read already would not count as this one's
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            else:
                while stream.read(1 << 24):
                    pass
    if limit_mb:
        enter_group(limit_mb)
    opened = ReplayStore.open(store)
    size = sum(f.stat().st_size for f in store.rglob("*.npy"))
    goals = find_recipe(recipe).goals if recipe else GoalConfig(random_share=0.3)
    sampler, taken = make_sampler(opened, goals, BATCH, seed=0), []
    for quarter in range(QUARTERS):
        began = time.perf_counter()
        for step in range(quarter * batches // QUARTERS, (quarter + 1) * batches // QUARTERS):
            sampler.batch(step)
        taken.append(round((time.perf_counter() - began) / (batches // QUARTERS) * 1e3, 1))
    return {"limit_mb": limit_mb, "store_mb": round(size / 1e6), "ms_per_batch": taken}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--limit-mb", type=int, required=True, help="memory of the limited process; 0: only without")
    parser.add_argument("--batches", type=int, default=400)
    parser.add_argument("--recipe", default="", help="whose goals; without: 30 %% random ones, nothing shared")
    parser.add_argument("--alone", action="store_true", help="measure here, in no other process")
    a = parser.parse_args()
    if a.alone:
        print(json.dumps(measure(a.store, a.batches, a.limit_mb, a.recipe)))
        return 0
    if a.batches < QUARTERS or not (a.store / "store.json").exists() or (a.limit_mb and os.geteuid() != 0):
        parser.error(f"{a.store} has to be a replay store, --batches {QUARTERS} or more, and a limit needs root")
    for limit in (0, a.limit_mb) if a.limit_mb else (0,):
        words = [sys.executable, __file__, str(a.store), "--limit-mb", str(limit), "--batches", str(a.batches)]
        words += ["--recipe", a.recipe]
        done = subprocess.run([*words, "--alone"], stdout=subprocess.PIPE, text=True)
        if limit and group().is_dir():
            group().rmdir()
        if done.returncode:
            return done.returncode
        found = json.loads(done.stdout)
        memory = f"{limit} MB of memory" if limit else "memory for all of it"
        quarters = ", ".join(map(str, found["ms_per_batch"]))
        print(f"a store of {found['store_mb']} MB, {memory}: {quarters} ms per batch", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

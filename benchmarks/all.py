"""Every benchmark of the project at short sizes, beside its peers: one table in docs/benchmarks.md (`make bench`).

python benchmarks/all.py [--only peers,sim] [--limit-s 60]

A figure's ratio is the time that something else takes on the same machine in the same run, divided by ours: a peer's,
or, where there is none, that of a thing that is nobody's (a matrix product, a copy, a loop of Python). So it says the
same on machines that are much alike. A ratio that fell by more than 20 % against the one that is committed, of the same
processor, is named, and the exit code is 1. A figure that a benchmark did not give this time keeps the row that it had,
with its commit.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
DATA, PAGE = ROOT / "docs" / "data" / "benchmarks.json", ROOT / "docs" / "benchmarks.md"
FALL = 0.2
MATMUL, COPY, LOOP = "matmul 512x512", "copy 16 MB", "Python loop of 10 000"
IDEAL = "100 %"  # a share says itself how good it is


@dataclass(frozen=True)
class Figure:
    """One row: where it stands in the output, and what it is compared with. `per_s`: more is better."""

    name: str
    pattern: str
    unit: str
    yardstick: str
    per_s: bool = False


@dataclass(frozen=True)
class Benchmark:
    """A program, as it is called here, and what is taken from its output."""

    name: str
    words: tuple[str, ...]
    figures: tuple[Figure, ...]
    patience: float = 1.0  # of how many limits it may take


NUMBER = r"([\d.,]+)"
BENCHMARKS = (
    Benchmark("update", ("bench_update.py",), (
        Figure("update, batch 128 at 64 px", rf"whole updates +{NUMBER} ms", "ms", MATMUL),
    )),
    Benchmark("decision", ("bench_decision.py",), (
        Figure("decision, small at 64 px", rf"small .*CPU time +{NUMBER} ms", "ms", MATMUL),
        Figure("decision, qt_opt at 472 px, as it learns", rf"as it learns +CPU time +{NUMBER} ms", "ms", MATMUL),
        Figure("decision, qt_opt at 472 px, as it acts", rf"folded bf16 +CPU time +{NUMBER} ms", "ms", MATMUL),
    )),
    Benchmark("sim", ("bench_sim.py", "--task", "pick_place", "--episodes", "8"), (
        Figure("simulated steps with bags", rf"pick_place +{NUMBER} ", "steps/s", LOOP, per_s=True),
    )),
    Benchmark("bags", ("bags.py",), (
        Figure("bag of 15 steps at 64 px, written (wall)", rf" 64 px  lz4 +quick  write +{NUMBER} ms", "ms", LOOP),
        Figure("bag of 15 steps at 472 px, written (wall)", rf"472 px  lz4 +quick  write +{NUMBER} ms", "ms", LOOP),
    )),
    Benchmark("camera", ("bench_camera_path.py", "--size", "472", "--rate", "30", "--seconds", "10"), ()),
    Benchmark("page", ("bench_page.py", "--seconds", "8", "--steps", "10"), (), patience=3),
    Benchmark("store", ("bench_store.py", "--quick", "--drawing"), (
        Figure("drawn from a store at 64 px", rf"items per CPU second at 64 px \| {NUMBER}", "items/s", COPY, True),
        Figure("drawn from a store at 472 px", rf"items per CPU second at 472 px \| {NUMBER}", "items/s", COPY, True),
    )),
    Benchmark("loader", ("bench_loader.py", "--batches", "3", "--rows", "600", "--batch-size", "128"), (
        Figure("loaded at 472 px", rf"images as they are .*CPU time +{NUMBER} items", "items/s", COPY, True),
        Figure("the same, of what a copy could", rf"images as they are .* {NUMBER}% of the limit", "%", IDEAL),
    )),
    Benchmark("processes", ("bench_processes.py", "--rounds", "2", "--updates", "3"), (
        Figure("update of two processes, of twice one's", rf"efficiency {NUMBER}%", "%", IDEAL),
    )),
    Benchmark("gpu", ("bench_gpu.py", "--device", "cpu", "--tiny"), ()),
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = ["peers", *(benchmark.name for benchmark in BENCHMARKS)]
    parser.add_argument("--only", default=",".join(names), help=f"of {', '.join(names)}")
    parser.add_argument("--limit-s", type=float, default=110.0, help="for each of them (default 110)")
    arguments = parser.parse_args()
    chosen = arguments.only.split(",")
    if unknown := set(chosen) - set(names):
        parser.error(f"--only: {unknown.pop()} is none of {', '.join(names)}")
    before = json.loads(DATA.read_text()) if DATA.exists() else {"rows": {}, "machine": {}}
    rows, notes = {}, []
    yardsticks = before["yardsticks"] if "peers" not in chosen else {}
    if "peers" in chosen:
        yardsticks, rows = of_peers(arguments.limit_s * 2)
    for benchmark in BENCHMARKS:
        if benchmark.name in chosen:
            rows |= of_output(benchmark, arguments.limit_s, yardsticks, notes)
    here = machine()
    same = here["processor"] == before["machine"].get("processor")
    fallen = compare(rows, before["rows"]) if same else []
    if not same:
        notes.append(f"ratios are not compared: the committed ones are of {before['machine'].get('processor', 'none')}")
    data = {"machine": here, "commit": commit(), "yardsticks": yardsticks, "rows": before["rows"] | rows}
    DATA.write_text(json.dumps(data, indent=1) + "\n")
    PAGE.write_text(page(data, notes))
    for line in notes + fallen:
        print(line)
    print(f"{len(rows)} figures in {PAGE.relative_to(ROOT)}; {len(fallen)} fell by more than {FALL:.0%}")
    return 1 if fallen else 0


def run(words: tuple[str, ...], limit_s: float) -> tuple[str, str]:
    """What a benchmark said, and what went wrong, a sentence or nothing."""
    if not (HERE / words[0]).exists():
        return "", f"{words[0]}: is not there"
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}:{HERE}"}
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, HERE / words[0], *words[1:]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        cwd=ROOT, env=env, start_new_session=True,
    )  # fmt: skip
    try:
        said, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 15)  # with the nodes that it started
        try:
            process.communicate(timeout=15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.communicate()
        return "", f"{words[0]}: did not end within {limit_s:.0f} s"
    print(f"--- {' '.join(words)} ({time.monotonic() - began:.0f} s)\n{said}", flush=True)
    if process.returncode:
        last = (said.strip().splitlines() or ["no word"])[-1]
        return said, f"{words[0]}: exit code {process.returncode}: {last}"
    return said, ""


def of_peers(limit_s: float) -> tuple[dict[str, float], dict[str, dict]]:
    """The machine's yardsticks, and a row for each peer of each task."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "peers.json"
        _, wrong = run(("peers.py", "--json", str(file)), limit_s)
        if wrong:
            sys.exit(f"make bench: {wrong}")
        found = json.loads(file.read_text())
    yardsticks, rows = found.pop("machine"), {}
    for what, times in found.items():
        ours = times.pop("am_ros")
        for peer, theirs in times.items():
            rows[f"{what} | {peer}"] = row(ours, "ms", peer, theirs, theirs / ours)
    return yardsticks, rows


def of_output(benchmark: Benchmark, limit_s: float, yardsticks: dict[str, float], notes: list[str]) -> dict[str, dict]:
    """Its figures, found in what it prints; what is missing is noted."""
    said, wrong = run(benchmark.words, limit_s * benchmark.patience)
    if wrong:
        notes.append(wrong)
    rows = {}
    for figure in benchmark.figures:
        match = re.search(figure.pattern, said)
        if match is None:
            if not wrong:
                notes.append(f"{benchmark.words[0]}: says nothing of {figure.name}")
            continue
        value, yard = float(match[1].replace(",", "")), yardsticks.get(figure.yardstick, 0.0)
        if figure.yardstick == IDEAL:
            ratio = value / 100
        else:
            ratio = yard * value / 1e3 if figure.per_s else yard / value
        rows[figure.name] = row(value, figure.unit, figure.yardstick, yard, ratio)
    return rows


def row(value: float, unit: str, against: str, theirs: float, ratio: float) -> dict:
    return {"value": round(value, 3), "unit": unit, "against": against, "theirs_ms": round(theirs, 3),
            "ratio": round(ratio, 4), "commit": commit()}  # fmt: skip


def compare(rows: dict[str, dict], before: dict[str, dict]) -> list[str]:
    """A sentence for each ratio that fell."""
    fallen = []
    for name, new in rows.items():
        old = before.get(name)
        if old and new["ratio"] < (1 - FALL) * old["ratio"]:
            fallen.append(f"FELL: {name}: ratio {new['ratio']:.3g}, at {old['commit']} it was {old['ratio']:.3g}")
    return fallen


def machine() -> dict[str, str]:
    """What it ran on."""
    models = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    load = os.getloadavg()[0]
    return {"processor": models[0] if models else platform.processor(), "cores": str(os.cpu_count()),
            "python": platform.python_version(), "load": f"{load:.0f}"}  # fmt: skip


def commit() -> str:
    """The commit that is checked out."""
    return subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()


def page(data: dict, notes: list[str]) -> str:
    """The page of the documentation."""
    yardsticks = ", ".join(f"{name} ({ms:.2f} ms)" for name, ms in data["yardsticks"].items())
    lines = [HEAD.format(**data["machine"], commit=data["commit"], yardsticks=yardsticks)]
    for name, r in data["rows"].items():
        theirs = f"{r['theirs_ms']:g} ms" if r["theirs_ms"] else ""
        cells = (name.split(" | ")[0], f"{r['value']:g} {r['unit']}", r["against"], theirs,
                 f"{r['ratio']:.2g}", r["commit"])  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |\n")
    lines.append(REMARKS)
    if notes:
        lines.append("\nNot measured this time:\n\n" + "".join(f"- {note}\n" for note in notes))
    return "".join(lines)


HEAD = """# Benchmarks

**For** whoever changes what is fast, or asks whether it is. **At the end** you know what each part costs beside others.

```bash title="Not run by a test: takes ten minutes"
make bench        # writes this page; exit code 1 if a ratio fell by more than 20 %
```

*{cores} cores of {processor}, Python {python}, commit {commit}, one thread, CPU time. {load} processes wanted the cores
meanwhile: where that is more than a few, rows with (wall) say little.*

**Ratio**: what the other takes, divided by ours. Above 1 we are faster. Where nobody does the same, the other is a
yardstick: {yardsticks}. For steps per second, the ratio is the number of steps in the yardstick's time.

| what | ours | against | theirs | ratio | commit |
|---|---|---|---|---|---|
"""

REMARKS = """
The peers do less work, or other work:

- torchrl's planner and evotorch's CEM search 7 numbers. Ours searches 4 numbers and a choice, and returns the best
  candidate that it saw. All score 2 x 64 candidates with our network. The image is encoded before.
- torchrl's replay buffer draws transitions with both images, and goals uniformly. Ours finds goals in the same episode,
  and shifts pictures by some pixels.
- mcap and rosbags hand over raw messages: they are the floor. Ours decodes the JPEGs, and checks checksums and steps.
- LeRobot's sampling is not in the table: whether it installs beside the others was not found out.
"""


if __name__ == "__main__":
    sys.exit(main())

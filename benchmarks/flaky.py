"""Which tests do not always hold: the suite many times over, and how often each test failed.

    .venv/bin/python benchmarks/flaky.py --runs 10 --load 2 -- -m "not slow" -n 4 --dist loadfile

What follows `--` goes to pytest. `--load`: so many processes that do nothing but take time, for the length of the runs.
The first lines of every failure are kept in the folder `--out`, a file per test; runs.jsonl there has a line for each
run, of earlier calls too. Exit code 1 if anything failed.
"""

import argparse
import functools
import json
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

from am_ros.cell.processes import die_with_parent

KEPT_LINES = 60
NOT_ENDED = "pytest itself"  # in the place of a test's name: it crashed, or ran no test


@contextmanager
def load(count: int):
    """Keep so many processes busy meanwhile."""
    die = functools.partial(die_with_parent, os.getpid())
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"], preexec_fn=die) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def run_once(number: int, arguments: list[str], out: Path) -> dict[str, str]:
    """Run pytest; the text of each failure by the test's name."""
    report, log = out / f"run_{number}.xml", out / f"run_{number}.log"
    with open(log, "w", encoding="utf-8") as file:
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *arguments]
        code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
    found = failures(report) if report.exists() else {}
    if code and not found:
        found[NOT_ENDED] = f"exit code {code}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-KEPT_LINES:])
    return found


def failures(report: Path) -> dict[str, str]:
    """Of a report in JUnit's form: what pytest said of each test that failed, or could not be begun or ended."""
    found = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        for kind in ("failure", "error"):
            for failure in case.iter(kind):
                name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
                found[name] = f"{failure.get('message', '')}\n{failure.text or ''}"
    return found


def keep(number: int, name: str, text: str, out: Path) -> None:
    """Add a failure to the file of its test."""
    file = out / (re.sub(r"[^A-Za-z0-9_.-]+", "_", name)[:150] + ".txt")
    lines = text.strip().splitlines()
    with open(file, "a", encoding="utf-8") as kept:
        print(f"run {number}:", *lines[:KEPT_LINES], "", sep="\n", file=kept)


def note(file: Path, run: dict) -> None:
    """Add a run to those that were made before."""
    with open(file, "a", encoding="utf-8") as runs:
        runs.write(json.dumps(run) + "\n")


def commit() -> str:
    """Which one is tested, with a plus if something was changed since; empty outside of git."""
    done = subprocess.run(["git", "describe", "--always", "--dirty=+"], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--load", type=int, default=0, help="busy processes beside the tests")
    parser.add_argument("--out", type=Path, default=Path("runs/flaky"))
    parser.add_argument("arguments", nargs="*", help="for pytest")
    options = parser.parse_args()
    out = options.out / time.strftime("%Y%m%d_%H%M%S")
    out.mkdir(parents=True, exist_ok=True)
    failed: Counter[str] = Counter()
    with load(options.load):
        for number in range(1, options.runs + 1):
            began_s = time.monotonic()
            found = run_once(number, options.arguments, out)
            for name, text in found.items():
                keep(number, name, text, out)
            failed.update(list(found))
            seconds = time.monotonic() - began_s
            about = {"commit": commit(), "load": options.load, "seconds": round(seconds), "failed": sorted(found)}
            note(options.out / "runs.jsonl", {"time": time.strftime("%Y-%m-%d %H:%M:%S"), **about})
            print(f"run {number} of {options.runs}: {len(found)} failed, {seconds:.0f} s", flush=True)
    print(f"{options.runs} runs beside {options.load} busy processes; what failed is kept in {out}")
    for name, count in failed.most_common():
        print(f"  {count:3} of {options.runs}  {name}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

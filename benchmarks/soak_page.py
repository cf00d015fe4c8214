"""The soak of the fault suite with the operator's page and a browser on it: nothing lost, nothing that grows.

    .venv/bin/python benchmarks/soak_page.py --minutes 30 --out runs/soak_page

The browser goes through the views, a minute in each, and draws what they show. The table says what was required and
what was measured; exit code 1 if something is not as required.
"""

import argparse
import json
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

from am_ros.cell.environment import enter_ros_environment

enter_ros_environment()

from am_ros.faults.bench import Bench  # noqa: E402  ROS's environment comes first
from am_ros.faults.soak import soak  # noqa: E402
from am_ros.faults.suite import Result, machine, table, write  # noqa: E402

VIEWS = ("", "goals", "teach", "episodes", "training", "check")
STAY_S = 60.0
SILENT_S = 60.0  # without a picture for longer, in views that have one, the browser has lost its page


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="for so long (default 30)")
    parser.add_argument("--out", type=Path, default=Path("runs/soak_page"), help="folder of results and log files")
    parser.add_argument("--browse", metavar="ADDRESS", help=argparse.SUPPRESS)  # the browser's own process
    arguments = parser.parse_args()
    if arguments.browse:
        return browse(arguments.browse)
    out = arguments.out.resolve()
    with Bench(out / "bench", short=False, say=lambda text, left_s=0.0: print(text, flush=True)) as bench:
        page = bench.start("operator_page", page_port=0)
        address = page.wait_for_line("page: http", 120.0).partition("page: ")[2].split()[0]
        command = [sys.executable, __file__, "--browse", address]
        browser = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            if browser.stdout.readline().strip() != "open":
                sys.exit("soak_page: the browser could not be opened")
            results = list(soak(bench, 60 * arguments.minutes, {"operator_page": page}))
        finally:
            said, _ = browser.communicate(timeout=120)
        results.append(judged(json.loads(said or "{}")))
    write(out / "summary.json", [asdict(result) for result in results])
    write(out / "machine.json", machine() | {"minutes": arguments.minutes})
    print(f"\n{table(results)}\n\n{out}/summary.json")
    return 0 if all(result.ok for result in results) else 1


def judged(told: dict) -> Result:
    """What the browser says of itself as a line of the table."""
    seen = {"pictures": 0, "seconds": 0.0, "views": 0, "silent_s": 0.0, "silent_view": "", "errors": ["it ended early"]}
    seen |= told
    return Result(
        "soak: the page in a browser",
        f"views that have pictures draw one at least every {SILENT_S:.0f} s; no error",
        f"{seen['pictures']} pictures drawn in {seen['seconds']:.0f} s, {seen['views']} views shown, the longest time "
        f"without one {seen['silent_s']:.1f} s, in the view {seen['silent_view'] or '-'}; "
        f"errors: {seen['errors'] or 'none'}",
        bool(seen["pictures"]) and not seen["errors"] and seen["silent_s"] < SILENT_S,
    )


def browse(address: str) -> int:
    """Show one view after the other until stdin is closed; then tell what was seen, as JSON."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or sys.exit("soak_page: chromium is not installed: sudo apt install chromium")
    errors: list[str] = []
    pictures, views, silent_s, silent_view = 0, 0, 0.0, ""
    began_s = time.monotonic()
    closed = when_closed()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        page.wait_for_selector("nav a")
        print("open", flush=True)
        while not closed.is_set():
            view = VIEWS[views % len(VIEWS)]
            page.click(f'nav a[href="/{view}"]')
            page.wait_for_selector(f'nav a[href="/{view}"][aria-current=page]')
            views, shown_s, last_s, last = views + 1, time.monotonic(), time.monotonic(), 0
            while time.monotonic() - shown_s < STAY_S and not closed.is_set():
                page.wait_for_timeout(1000)
                drawn = page.evaluate(
                    "[...document.querySelectorAll('canvas[data-live]')].filter((c) => c.checkVisibility())"
                    ".map((c) => Number(c.dataset.frames || 0))"
                )
                new = sum(drawn) - last if sum(drawn) >= last else sum(drawn)  # a canvas made anew counts from 0
                pictures, last = pictures + new, sum(drawn)
                if new or not drawn:
                    last_s = time.monotonic()
                if time.monotonic() - last_s > silent_s:
                    silent_s, silent_view = time.monotonic() - last_s, view or "cell"
        browser.close()
    told = {"pictures": pictures, "views": views, "silent_s": silent_s, "silent_view": silent_view}
    told |= {"seconds": time.monotonic() - began_s, "errors": errors[:5]}
    print(json.dumps(told), flush=True)
    return 0


def when_closed() -> threading.Event:
    """Set once whoever started this process has closed its stdin."""
    closed = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        closed.set()

    threading.Thread(target=wait, daemon=True).start()
    return closed


if __name__ == "__main__":
    sys.exit(main())

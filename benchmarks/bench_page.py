"""What the operator's page costs: processor time without and with a browser, and whether decisions become slower.

    .venv/bin/python benchmarks/bench_page.py --seconds 30 --steps 600

The browser draws pictures of 472x472 px at 20 Hz from a camera node, beside the simulated arm's joint states at 100 Hz.
Decisions are timed in one cell, with the page and whoever watches it stopped (SIGSTOP) during every other goal, so that
both kinds meet the same machine. Who watches: page_reader.py, which takes all that a browser takes and draws nothing,
as if the browser ran on another machine; Chromium, which draws in software, at the lowest priority; and Chromium as any
other program on the robot's machine. It runs in a session of its own, because the lowest priority is the session's.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import psutil

from am_ros.cell.environment import enter_ros_environment

enter_ros_environment()

from am_ros.cell.graph import NodeSpec, workcell_nodes  # noqa: E402  ROS's environment comes first
from am_ros.cell.supervisor import Supervisor  # noqa: E402

SIZE, RATE_HZ = 472, 20.0
MODES = ("reader", "browser", "browser_less_urgent")
START_S = 300.0  # on a machine that is overrun


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30.0, help="measure so long; 0: not at all")
    parser.add_argument("--steps", type=int, default=60, help="decisions timed in each mode, with and without; 0: none")
    parser.add_argument("--modes", nargs="+", default=MODES, choices=MODES, help="time decisions in these")
    arguments = parser.parse_args()
    if os.getsid(0) != os.getpid():
        return in_own_session()
    os.environ.setdefault("ROS_DOMAIN_ID", "88")
    with tempfile.TemporaryDirectory() as folder:
        result = processor_time(Path(folder), arguments.seconds) if arguments.seconds else {}
        for name in arguments.modes if arguments.steps else ():
            result[f"decision_ms_beside_{name}"] = decisions(Path(folder) / name, arguments.steps, name)
    result["load"] = [round(x, 1) for x in os.getloadavg()]
    print(json.dumps(result, indent=2))
    return 0


def in_own_session() -> int:
    """The same once more, as a process that leads a session; Ctrl-C goes on to it."""
    with subprocess.Popen([sys.executable, *sys.argv], start_new_session=True) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                process.send_signal(signal.SIGINT)


def processor_time(folder: Path, seconds: float) -> dict:
    """Shares of one core, and pictures per second that the browser drew."""
    pictures = folder / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(0)
    for number in range(20):
        noise = rng.integers(0, 255, (SIZE // 8, SIZE // 8, 3), np.uint8)
        cv2.imwrite(str(pictures / f"{number:02d}.png"), cv2.resize(noise, (SIZE, SIZE)))
    away = {"image_raw": "unused", "image_raw/compressed": "unused/compressed", "camera_info": "unused_info"}
    camera = {"source": str(pictures), "width": SIZE, "height": SIZE, "rate_hz": RATE_HZ}
    nodes = [
        NodeSpec("sim_workcell", remappings=away),
        NodeSpec("cartesian_controller"),
        NodeSpec("camera", parameters=camera),
        NodeSpec("goal_registry", parameters={"folder": str(folder / "goals")}),
        NodeSpec("episode_logger", parameters={"folder": str(folder / "bags")}),
        NodeSpec("operator_page", parameters={"page_port": 0}),
    ]
    with Supervisor(nodes, folder / "log") as cell:
        address = address_of(cell)
        process = psutil.Process(cell.processes["operator_page"].pid)
        time.sleep(12.0)  # until everything has started, and the page has ceased to listen
        alone = share(process, seconds)
        with open_browser(address) as page:
            page.wait_for_selector("canvas[data-live=camera][data-frames]", timeout=1000 * START_S)
            time.sleep(2.0)
            before, began_s = drawn(page), time.monotonic()
            watched = share(process, seconds)
            rate = (drawn(page) - before) / (time.monotonic() - began_s)
    # What does not depend on what else the machine does: processor time per picture, times the rate that was asked for.
    ms = 1000 * (watched - alone) / max(rate, 0.1)
    return {
        "core_share_without_browser": alone, "core_share_with_browser": watched, "pictures_per_s": round(rate, 1),
        "cpu_ms_per_picture": round(ms, 2), "core_share_at_full_rate": round(alone + ms * RATE_HZ / 1000, 4),
    }  # fmt: skip


def decisions(folder: Path, steps: int, mode: str) -> dict:
    """Percentiles of the policy's decision time, without the page and with it and one of MODES."""
    from am_msgs.srv import RecordGoal, ResetScene

    from am_ros.ros.introspection.client import RosClient

    nodes = workcell_nodes(
        stack="sim", policy="pick_place", variety=0.0, goals=str(folder / "goals"), bags=str(folder / "bags"),
        page=True, page_port=0,
    )  # fmt: skip
    goals: dict[bool, list[list[float]]] = {True: [], False: []}  # with the page: decisions of each goal
    with Supervisor(nodes, folder / "log") as cell, RosClient("bench_page") as client:
        cell.wait_until_up()
        address, page = address_of(cell), psutil.Process(cell.processes["operator_page"].pid)
        with watching(address, mode) as viewers:
            there = client.call(ResetScene, "sim_workcell/reset", task="pick_place", seed=1, phase=1, timeout_s=30.0)
            assert there.success
            assert client.call(RecordGoal, "goal_registry/record", goal_id="place").success
            while sum(map(len, goals[False])) < steps:
                for with_page in (True, False):
                    with contextlib.nullcontext() if with_page else stopped([page, *viewers]):
                        goals[with_page].append(pursue(client, 2 + len(goals[False])))
    return summary(goals)


def pursue(client, seed: int) -> list[float]:
    """Decision times [ms] of one goal in the scene of that seed."""
    from am_msgs.action import ReachGoal
    from am_msgs.srv import ResetScene

    client.call(ResetScene, "sim_workcell/reset", task="pick_place", seed=seed, phase=0, timeout_s=30.0)
    time.sleep(1.0)
    run = client.send_goal(ReachGoal, "policy_server/reach_goal", goal_id="place", max_steps=20)
    run.result(120.0)
    return [feedback.decision_ms for feedback in run.feedback if not feedback.warnings]


def summary(goals: dict[bool, list[list[float]]]) -> dict:
    """Percentiles without and with the page; of their difference, the middle 95 % of 2000 draws of pairs of goals."""
    pairs = [(goals[False][i], goals[True][i]) for i in range(len(goals[False]))]

    def percentiles(drawn: list) -> np.ndarray:
        return np.array([np.percentile(np.concatenate(side), (50, 99)) for side in zip(*drawn, strict=True)])

    found, rng = percentiles(pairs), np.random.default_rng(0)
    draws = [percentiles([pairs[i] for i in rng.integers(0, len(pairs), len(pairs))]) for _ in range(2000)]
    low, high = np.percentile([draw[1] - draw[0] for draw in draws], (2.5, 97.5), axis=0).round(2).tolist()
    without, beside = found.round(2).tolist()
    answer: dict = {"decisions": [sum(map(len, goals[side])) for side in (False, True)]}
    for i, name in enumerate(("p50", "p99")):
        longer = round(beside[i] - without[i], 2)
        answer[name] = {"without": without[i], "with": beside[i], "longer_by": longer, "ci95": [low[i], high[i]]}
    return answer


@contextlib.contextmanager
def stopped(processes: list[psutil.Process]) -> Iterator[None]:
    """Within it these processes do nothing."""
    alive = [process for process in processes if process.is_running()]
    for process in alive:
        process.suspend()
    try:
        yield
    finally:
        for process in alive:
            process.resume()


@contextlib.contextmanager
def watching(address: str, mode: str) -> Iterator[list[psutil.Process]]:
    """Someone who watches the page, in one of MODES, with the first picture there: their processes."""
    if mode == MODES[0]:
        with reading(address) as reader:
            yield [reader]
        return
    with open_browser(address) as page:
        page.wait_for_selector("canvas[data-live=camera][data-frames]", timeout=1000 * START_S)
        chromium = [p for p in psutil.Process().children(recursive=True) if "chrom" in p.name()]
        if mode == MODES[2]:  # the last, for it stays so: this session holds the browser and this bench, and no node
            for process in chromium:
                process.nice(19)
            with contextlib.suppress(OSError):
                Path("/proc/self/autogroup").write_text("19")
        yield chromium


@contextlib.contextmanager
def reading(address: str) -> Iterator[psutil.Process]:
    """A reader of the page in a process of its own, once it has its first picture."""
    command = [sys.executable, str(Path(__file__).with_name("page_reader.py")), address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        if process.stdout.readline() != "reading\n":
            sys.exit("bench_page: page_reader.py read nothing")
        yield psutil.Process(process.pid)
        process.send_signal(signal.SIGINT)
        taken = json.loads(process.stdout.read())
        assert taken["pictures"] > 20 and taken["changes"], taken


class open_browser:
    """Chromium on the page's Cell view."""

    def __init__(self, address: str):
        from playwright.sync_api import sync_playwright

        self._address, self._playwright = address, sync_playwright()

    def __enter__(self):
        path = shutil.which("chromium")
        if path is None:
            sys.exit("bench_page: chromium is not installed: sudo apt install chromium")
        started = self._playwright.__enter__()
        self._browser = started.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        page = self._browser.new_page()
        page.goto(self._address)
        return page

    def __exit__(self, *error) -> None:
        self._browser.close()
        self._playwright.__exit__(*error)


def address_of(cell: Supervisor) -> str:
    line = cell.processes["operator_page"].wait_for_line("page: http", START_S)
    return line.partition("page: ")[2].split()[0]


def share(process: psutil.Process, seconds: float) -> float:
    """Processor time per wall time."""
    before, began_s = process.cpu_times(), time.monotonic()
    time.sleep(seconds)
    after = process.cpu_times()
    spent = after.user + after.system - before.user - before.system
    return round(spent / (time.monotonic() - began_s), 4)


def drawn(page) -> int:
    return page.evaluate("Number(document.querySelector('canvas[data-live=camera]').dataset.frames)")


if __name__ == "__main__":
    sys.exit(main())

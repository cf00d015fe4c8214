"""What the operator's page costs: processor time without and with a browser, and whether decisions become slower.

    .venv/bin/python benchmarks/bench_page.py --seconds 30 --steps 60

The browser draws pictures of 472x472 px at 20 Hz from a camera node, beside the simulated arm's joint states at 100 Hz.
Decisions are timed four times: without the page; with it and page_reader.py, which takes all that a browser takes and
draws nothing, as if the browser ran on another machine; with Chromium, which draws in software, at the lowest priority;
and with it as any other program on the robot's machine.
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
MODES = ("without_page", "with_reader", "with_browser_less_urgent", "with_browser_beside")
START_S = 300.0  # on a machine that is overrun


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30.0, help="measure so long; 0: not at all")
    parser.add_argument("--steps", type=int, default=60, help="decisions to be timed, in each mode; 0: none")
    parser.add_argument("--modes", nargs="+", default=MODES, choices=MODES, help="time decisions in these")
    arguments = parser.parse_args()
    os.environ.setdefault("ROS_DOMAIN_ID", "88")
    with tempfile.TemporaryDirectory() as folder:
        result = processor_time(Path(folder), arguments.seconds) if arguments.seconds else {}
        for name in arguments.modes if arguments.steps else ():
            result[f"decision_ms_{name}"] = decisions(Path(folder) / name, arguments.steps, name)
    result["load"] = [round(x, 1) for x in os.getloadavg()]
    print(json.dumps(result, indent=2))
    return 0


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
    """Percentiles of the policy's decision time over goals of the simulated cell, in one of MODES."""
    from am_msgs.action import ReachGoal
    from am_msgs.srv import ResetScene

    from am_ros.ros.introspection.client import RosClient

    with_page = mode != MODES[0]
    nodes = workcell_nodes(
        stack="sim", policy="pick_place", variety=0.0, goals=str(folder / "goals"), bags=str(folder / "bags"),
        page=with_page, page_port=0,
    )  # fmt: skip
    taken: list[float] = []
    with Supervisor(nodes, folder / "log") as cell, RosClient("bench_page") as client:
        cell.wait_until_up()
        viewer = contextlib.ExitStack()
        if mode == MODES[1]:
            viewer.enter_context(reading(address_of(cell)))
        elif with_page:
            page = viewer.enter_context(open_browser(address_of(cell), 19 if mode == MODES[2] else 0))
            page.wait_for_selector("canvas[data-live=camera][data-frames]", timeout=1000 * START_S)
        goal = client.call(ResetScene, "sim_workcell/reset", task="pick_place", seed=1, phase=1, timeout_s=30.0)
        assert goal.success
        from am_msgs.srv import RecordGoal

        assert client.call(RecordGoal, "goal_registry/record", goal_id="place").success
        seed = 2
        while len(taken) < steps:
            client.call(ResetScene, "sim_workcell/reset", task="pick_place", seed=seed, phase=0, timeout_s=30.0)
            run = client.send_goal(ReachGoal, "policy_server/reach_goal", goal_id="place", max_steps=20)
            run.result(120.0)
            taken += [feedback.decision_ms for feedback in run.feedback if not feedback.warnings]
            seed += 1
        viewer.close()
    p50, p99 = np.percentile(taken, (50, 99))
    return {"p50": round(float(p50), 2), "p99": round(float(p99), 2), "decisions": len(taken)}


@contextlib.contextmanager
def reading(address: str) -> Iterator[None]:
    """A reader of the page in a process of its own, once it has its first picture."""
    command = [sys.executable, str(Path(__file__).with_name("page_reader.py")), address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        if process.stdout.readline() != "reading\n":
            sys.exit("bench_page: page_reader.py read nothing")
        yield
        process.send_signal(signal.SIGINT)
        taken = json.loads(process.stdout.read())
        assert taken["pictures"] > 20 and taken["changes"], taken


class open_browser:
    """Chromium on the page's Cell view, its processes less urgent by `nice`."""

    def __init__(self, address: str, nice: int = 0):
        from playwright.sync_api import sync_playwright

        self._address, self._playwright, self._nice = address, sync_playwright(), nice

    def __enter__(self):
        path = shutil.which("chromium")
        if path is None:
            sys.exit("bench_page: chromium is not installed: sudo apt install chromium")
        started = self._playwright.__enter__()
        self._browser = started.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        page = self._browser.new_page()
        page.goto(self._address)
        for process in psutil.Process().children(recursive=True):
            if self._nice and "chrom" in process.name():
                process.nice(self._nice)
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

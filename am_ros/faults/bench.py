"""What a fault is tried with: a folder, a ROS domain of its own, real nodes as processes, and a client of them."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from am_ros.cell.graph import NodeSpec
from am_ros.cell.processes import NodeProcess, stop_all
from am_ros.cell.shared_memory import remove_stale_segments
from am_ros.errors import AmRosError
from am_ros.faults.domain import claim_domain
from am_ros.ros.introspection.client import GoalRun, RosClient


class Bench:
    """A context manager; whatever was started on it is stopped when it ends, however that comes about.

    with Bench(folder, short=True) as bench:
        camera = bench.start("camera", ready="publishing", source=...)
        bench.client.call(...)
    """

    def __init__(self, folder: Path, short: bool, say: Callable = lambda text, left_s=0.0: None):
        self.folder, self.short = Path(folder), short
        self.random = np.random.default_rng(0)
        self._say = say
        self._started: list[NodeProcess] = []
        self._client: RosClient | None = None
        self._at_end: list[Callable[[], None]] = []
        self.kept: dict = {}  # what faults on this bench share

    def __enter__(self) -> "Bench":
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "log").mkdir(parents=True)
        remove_stale_segments()
        self.domain, self._lock = claim_domain()
        self.env = {**os.environ, "ROS_DOMAIN_ID": str(self.domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
        self.env |= {"ROS_LOG_DIR": str(self.folder / "log"), "OMP_NUM_THREADS": "1"}
        return self

    def __exit__(self, *_error) -> None:
        try:
            # First, while the graph is quiet: to destroy a participant while others leave has crashed in DDS.
            if self._client is not None:
                self._client.close()
        finally:
            stop_all(self._started)
        for undo in reversed(self._at_end):
            undo()
        self._lock.close()

    def pick(self, full, short):
        """One of two numbers: how much the full and how much the short version does."""
        return short if self.short else full

    def rounds(self, count: int, what: str) -> Iterator[int]:
        """0 ... count - 1, with a line now and then that says how far it is and how long it will take."""
        began = shown = time.monotonic()
        for i in range(count):
            yield i
            now = time.monotonic()
            if now - shown > (5.0 if now - began < 60.0 else 30.0) and i + 1 < count:
                shown = now
                self._say(f"{i + 1}/{count} {what}", (now - began) / (i + 1) * (count - i - 1))

    def during(self, seconds: float, what: str) -> Iterator[float]:
        """The time since the beginning [s], again and again until so many seconds are over; says how far it is."""
        began = shown = time.monotonic()
        while (elapsed := time.monotonic() - began) < seconds:
            yield elapsed
            if time.monotonic() - shown > 30.0:
                shown = time.monotonic()
                self._say(f"{elapsed:.0f}/{seconds:.0f} {what}", seconds - elapsed)

    def start(self, executable: str, *, ready: str = "", name: str = "", remap=None, **parameters) -> NodeProcess:
        """Start a node; `ready`: wait until a line of its output contains that."""
        return self.launch(NodeSpec(executable, name, "", parameters, (), remap or {}), ready)

    def launch(self, spec: NodeSpec, ready: str = "") -> NodeProcess:
        """As `start`, for a node that is described already."""
        process = NodeProcess(spec, self.env, self.folder / "log" / f"{spec.label}.log")
        self._started.append(process)
        if ready:
            process.wait_for_line(ready, 60.0)
        return process

    @property
    def client(self) -> RosClient:
        """A client in this process, in the bench's domain."""
        if self._client is None:
            self._client = RosClient("faults", domain_id=self.domain)
        return self._client

    def at_end(self, undo: Callable[[], None]) -> None:
        """Call `undo` when the bench ends, the last one first."""
        self._at_end.append(undo)


def wait_for_end(run: GoalRun, timeout_s: float, what: str) -> float:
    """Until a goal has ended; as `wait_until`."""
    return wait_until(lambda: run.done, timeout_s, what)


def wait_until(condition: Callable[[], object], timeout_s: float, what: str) -> float:
    """Poll until `condition()` is true; return how long that took [s]. Raises AmRosError naming `what`."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > timeout_s:
            raise AmRosError(f"{what}: not within {timeout_s} s")
        time.sleep(0.01)
    return time.monotonic() - began

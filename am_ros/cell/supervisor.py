"""Starts a list of nodes as processes, names the one that dies, and leaves none running."""

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

from am_ros.cell.bringup import UP
from am_ros.cell.graph import BRINGUP, NodeSpec
from am_ros.cell.processes import NodeProcess, stop_all
from am_ros.cell.shared_memory import remove_stale_segments
from am_ros.errors import AmRosError

WATCH_PERIOD_S = 0.1


class NodeDied(AmRosError):
    """A required node ended by itself; `returncode` is its exit code, negative for a signal."""

    def __init__(self, process: NodeProcess):
        super().__init__(process.obituary())
        self.returncode = process.returncode


class Supervisor:
    """The nodes of a cell as processes; a context manager that starts and stops them.

    with Supervisor(sim_nodes(), log_dir) as cell:
        cell.wait_until_up()
        cell.check()    # raises NodeDied, naming the node, if one is gone

    The output of each node goes to `log_dir/<name>.log` and, with `echo`, to stdout behind its name. If the
    supervisor's own process ends in whatever way, the kernel kills the nodes.
    """

    def __init__(
        self, specs: Iterable[NodeSpec], log_dir: Path, env: Mapping[str, str] | None = None, echo: bool = False
    ):
        self.specs = list(specs)
        self.log_dir = Path(log_dir)
        self.processes: dict[str, NodeProcess] = {}
        self._env, self._echo = env, echo
        self._mourned: set[str] = set()
        labels = [spec.label for spec in self.specs]
        twice = {label for label in labels if labels.count(label) > 1}
        if twice:
            raise AmRosError(f"node {', '.join(sorted(twice))}: listed twice; ROS names must be unique")

    def __enter__(self) -> "Supervisor":
        self.log_dir.mkdir(parents=True, exist_ok=True)
        remove_stale_segments()  # of nodes that were killed before
        try:
            for spec in self.specs:
                log_file = self.log_dir / f"{spec.label}.log"
                self.processes[spec.label] = NodeProcess(spec, self._env, log_file, self._echo)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def check(self) -> None:
        """Raise NodeDied if a required node has ended; say so, once, of one that is not required."""
        for label, process in self.processes.items():
            if process.returncode is None or label in self._mourned:
                continue
            if process.spec.required:
                raise NodeDied(process)
            self._mourned.add(label)
            print(process.obituary(), flush=True)

    def watch(self, stop: threading.Event) -> None:
        """Return when `stop` is set; raise NodeDied when a required node ends."""
        while not stop.wait(WATCH_PERIOD_S):
            self.check()

    def wait_until_up(self, stop: threading.Event | None = None) -> str:
        """Wait until bringup says that all lifecycle nodes are active; return its sentence, empty if `stop` was set.

        Empty at once for a list without bringup, whose nodes are up as they are.
        Raises NodeDied if a required node ends before; bringup itself does so when it cannot bring them up in time.
        """
        stop = stop or threading.Event()
        bringup = self.processes.get(BRINGUP)
        while bringup and not stop.is_set():
            said = bringup.output
            if f"]: {UP}" in said:
                return UP + said.partition(f"]: {UP}")[2].splitlines()[0]
            self.check()
            stop.wait(WATCH_PERIOD_S)
        return ""

    def stop(self) -> None:
        """SIGINT to one after the other, the last first; SIGTERM, then SIGKILL to those left. Safe to call again."""
        stop_all(list(self.processes.values()), in_turn=True)
        self.processes.clear()

"""Machines that die and join while several train together: torchrun twice on this one stands for two of them."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from am_ros.action import ActionSpace
from am_ros.bags.episodes import write_episode
from am_ros.faults.bench import Bench, wait_until
from am_ros.faults.suite import Result
from am_ros.faults.synthetic import make_episode
from am_ros.learning import checkpoint

# Who begins waits one second for others, not thirty. A busy machine is taken for a lost one sooner than an idle one.
_PROMPT = "keep_alive_interval=5,keep_alive_max_attempt=6,last_call_timeout=1"
_PATIENCE_S = 900.0


class Machine:
    """One `torchrun` with one process of a training; `log` gets what it says. At the `host` the others meet."""

    def __init__(self, port: int, log: Path, *command: str, host: bool = False):
        launcher = [
            sys.executable, "-m", "torch.distributed.run", "--nnodes", "1:2", "--nproc-per-node", "1",
            "--max-restarts", "20", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{port}",
            "--rdzv-conf", f"{_PROMPT},is_host={int(host)}", "--rdzv-id", "faults", "--local-addr", "127.0.0.1",
        ]  # fmt: skip
        env = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
        self.log = log
        with log.open("w") as file:
            self._process = subprocess.Popen([*launcher, *command], env=env, stderr=file, stdout=file)

    def said(self, pattern: str) -> list[str]:
        """All places of the log that match."""
        return re.findall(pattern, self.log.read_text(errors="replace"))

    @property
    def ended(self) -> int | None:
        """The exit code, None while it runs."""
        return self._process.poll()

    def kill(self) -> None:
        """End it and all it started by SIGKILL, as a power cut does."""
        for pid in [self._process.pid, *_children(self._process.pid)]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self._process.wait()


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def saved_update(out: Path) -> int:
    """Update of the last checkpoint, 0 if there is none."""
    place = out / "checkpoint"
    return checkpoint.load(place).meta["update"] if checkpoint.exists(place) else 0


def _wait_for_more(out: Path) -> int:
    """Wait for the next checkpoint; returns the update of the one before."""
    before = saved_update(out)
    wait_until(lambda: saved_update(out) > before, _PATIENCE_S, "training: the next checkpoint")
    return before


def node_killed(bench: Bench) -> Iterator[Result]:
    """The others go on from the last checkpoint"""
    for seed in range(8):
        write_episode(make_episode(f"e{seed}", steps=8, seed=seed), bench.folder / "bags", ActionSpace())
    kills, updates, port = bench.pick(5, 1), bench.pick(4000, 300), free_port()
    learner = ["--updates", str(updates), "--width", "32", "--channels", "4", "--precision", "fp32"]
    out = bench.folder / "out"
    command = ["-m", "am_ros.cli", "train", str(bench.folder / "bags"), *learner, "--out", str(out)]
    command += ["--checkpoint-every-s", "0.2"]
    first = Machine(port, bench.folder / "first.log", *command, host=True)
    kept, machines = [], [first]
    try:
        wait_until(lambda: saved_update(out), _PATIENCE_S, "training: a first checkpoint")
        for number in bench.rounds(kills, "kills"):
            joined = len(first.said(r"processes: 2"))
            machines.append(Machine(port, bench.folder / f"second_{number}.log", *command))
            both = machines[-1]

            def together(joined=joined, both=both) -> bool:
                said = [r"processes: 2", r"update \d+/"]
                return len(first.said(said[0]) + both.said(said[0])) > joined and bool(first.said(said[1]))

            wait_until(together, _PATIENCE_S, "training: a second machine")
            _wait_for_more(out)
            both.kill()
            kept.append(_wait_for_more(out))
        wait_until(lambda: first.ended is not None, _PATIENCE_S + updates, "training: its end")
    finally:
        for machine in machines:
            if machine.ended is None:
                machine.kill()
    alone = [int(update) for update in first.said(r"goes on from update (\d+), processes: 1\b")]
    resumed = alone[-len(kept) :]
    yield Result(
        f"training on two machines: one killed by SIGKILL, {kills} time{'s' if kills > 1 else ''}",
        "the other goes on from the last checkpoint, 0 updates lost beyond it, to the planned update",
        f"killed after the checkpoints of updates {_listed(kept)}, went on from {_listed(resumed)}; "
        f"ended at update {saved_update(out)} of {updates} (exit code {first.ended})",
        resumed == kept and saved_update(out) == updates and first.ended == 0,
    )


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))

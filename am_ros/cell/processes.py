"""A node as a process that is watched: its output kept, stopped politely, gone when its parent goes."""

import ctypes
import functools
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from am_ros.cell.environment import child_environment
from am_ros.cell.graph import NodeSpec

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None, use_errno=True)  # loaded here: after fork, before exec, little else is safe

# How long a node may take to stop after each signal before the next one follows [s]. The logger closes a bag and the
# trainer writes a checkpoint within the first.
STOP_TIMEOUTS_S = ((signal.SIGINT, 8.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 5.0))
KEPT_LINES = 5000
# For a node to start or to end by itself: PyTorch alone takes 20 s to import where ten processes want each core.
PATIENCE_S = 60.0


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when the thread that started it ends, however that comes about (Linux).

    To be called first thing in a child process, a worker of a node for instance, with os.getpid() of the parent.
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # it died before the call
        os._exit(1)


class NodeProcess:
    """A running node.

    `lines` holds the last lines of its output (stdout and stderr together), as they come. Start it from a thread
    that outlives it: the kernel kills it when that thread ends.
    """

    def __init__(
        self,
        spec: NodeSpec,
        env: Mapping[str, str] | None = None,
        log_file: Path | None = None,
        echo: bool = False,
    ):
        self.spec = spec
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._echo = echo
        self._log = open(log_file, "a", buffering=1, encoding="utf-8") if log_file else None
        self._news = threading.Condition()
        self._process = subprocess.Popen(
            spec.command(),
            env=child_environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in the terminal reaches the supervisor alone, which stops all in order
            preexec_fn=functools.partial(die_with_parent, os.getpid()),
        )
        self._reader = threading.Thread(target=self._read, daemon=True, name=f"output of {spec.label}")
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; the negative number of the signal that killed it."""
        return self._process.poll()

    @property
    def output(self) -> str:
        """Everything it has said so far, as one text."""
        with self._news:
            return "\n".join(self.lines)

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Wait until the process has ended by itself; return its exit code. Raises TimeoutError."""
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.spec.label} still runs after {timeout_s} s; it said:\n{self.output}") from None
        self._reader.join(2.0)
        return code

    def wait_for_line(self, text: str, timeout_s: float = PATIENCE_S) -> str:
        """Wait until a line of output contains `text`; return it. Raises TimeoutError, also if the process ends."""
        deadline = time.monotonic() + timeout_s
        with self._news:
            while True:
                for line in self.lines:
                    if text in line:
                        return line
                ended = not self._reader.is_alive()
                if ended or time.monotonic() > deadline:
                    reason = "ended" if ended else f"ran {timeout_s} s"
                    said = "\n".join(self.lines)
                    raise TimeoutError(f"{self.spec.label} {reason} without saying {text!r}; it said:\n{said}")
                self._news.wait(0.1)

    def obituary(self) -> str:
        """How and with which last words it ended, as one sentence."""
        self._reader.join(2.0)
        code = self.returncode
        how = f"exit code {code}" if code is None or code >= 0 else f"signal {signal.Signals(-code).name}"
        last = next((line for line in reversed(self.lines) if line.strip()), "(no output)")
        return f"{self.spec.label} ended with {how}: {last.strip()}"

    def signal(self, number: int) -> None:
        """Send a signal to the node, which stops its own workers in order."""
        self._process.send_signal(number)

    def stop(self) -> int:
        """SIGINT, then SIGTERM, then SIGKILL, each with its time limit; return the exit code."""
        return stop_all([self])[0]

    def close(self) -> int:
        """Kill what is left of the node and of whatever it started, release the log file; return the exit code."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        code = self._process.wait(STOP_TIMEOUTS_S[-1][1])
        self._reader.join(2.0)
        if self._log:
            self._log.close()
        return code

    def _read(self) -> None:
        output = self._process.stdout
        assert output  # a pipe, as asked for
        for raw in output:
            line = raw.decode(errors="replace").rstrip("\n")
            with self._news:
                self.lines.append(line)
                self._news.notify_all()
            if self._log:
                self._log.write(line + "\n")
            if self._echo:
                print(f"[{self.spec.label}] {line}", flush=True)
        output.close()


def stop_all(processes: list[NodeProcess], in_turn: bool = False) -> list[int]:
    """Stop several nodes within one set of time limits; return their exit codes.

    `in_turn`: the last one first, and each next one when that has ended or has had its `stop_wait_s`.
    """
    for number, timeout_s in STOP_TIMEOUTS_S:
        running = [p for p in reversed(processes) if p.returncode is None]
        for process in running:
            process.signal(number)
            if in_turn and number == signal.SIGINT:
                _wait_for_end([process], process.spec.stop_wait_s)
        _wait_for_end(running, timeout_s)
    return [process.close() for process in processes]


def _wait_for_end(processes: list[NodeProcess], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while any(p.returncode is None for p in processes) and time.monotonic() < deadline:
        time.sleep(0.02)

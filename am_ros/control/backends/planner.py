"""The planner's process as the controller sees it: asked one thing at a time, killed when it hangs, started again.

MoveIt's bindings hold the interpreter while they plan, and destroying them may end the process: so they get one of
their own, whose death costs a step and not the arm.
"""

import functools
import json
import os
import signal
import subprocess
import threading
import time
from concurrent.futures import Future, InvalidStateError
from typing import Any, TypeVar

from am_ros.cell.environment import child_environment
from am_ros.cell.processes import die_with_parent
from am_ros.control.backends.wire import Answer, PlanRequest, parse_answer
from am_ros.control.types import Plan, Vector
from am_ros.errors import AmRosError

T = TypeVar("T")

class PlannerProcess:
    """Starts `command`, sends it `config` (JSON text), then requests. To be used from one thread, which outlives it."""

    def __init__(self, command: list[str], config: str, timeout_s: float, start_s: float):
        self._command, self._config = command, config
        self._timeout_s, self._start_s = timeout_s, start_s
        self._run: _Run | None = None
        self._asked = 0

    def start(self) -> str:
        """Start it and wait until it is ready; returns who answers. Raises AmRosError with the planner's own reason, or
        "backend_gone: ..."."""
        self._run = _Run(self._command, self._config, self._start_s)
        return self._run.ready.result()

    def plan(self, q: Vector, position_m: Vector, quaternion: Vector, velocity_scale: float) -> Plan:
        """The trajectory to that pose of the tip, within the timeout.

        AmRosError, in the future or at once: "backend_gone: ..." if the process has died or was killed because it hung
        (it is started again with the next request), or the planner's own refusal.
        """
        run = self._run
        if run is None or run.fault:
            fault = run.fault if run else "backend_gone: the planner is not running"
            self._run = _Run(self._command, self._config, self._start_s)
            raise AmRosError(f"{fault}; it is started again")
        if not run.ready.done():
            raise AmRosError("backend_gone: the planner is still starting")
        self._asked += 1
        request = PlanRequest(
            self._asked, tuple(map(float, q)), tuple(position_m), tuple(quaternion), velocity_scale, self._timeout_s
        )
        return run.ask(request, self._timeout_s)

    def close(self) -> None:
        """End it."""
        if self._run:
            self._run.kill("backend_gone: the controller ends")


class _Run:
    """One life of the process. `fault` says how it ended; `ready` holds who answers."""

    def __init__(self, command: list[str], config: str, start_s: float):
        self.fault = ""
        self.ready: Future[str] = Future()
        self._pending: tuple[int, Plan] | None = None
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            command,
            env=child_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            # Ctrl-C in a terminal is for the controller, which ends this when the arm is at rest.
            start_new_session=True,
            preexec_fn=functools.partial(die_with_parent, os.getpid()),
        )
        assert self._process.stdin and self._process.stdout  # pipes, as asked for
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._limit(start_s, self.ready, f"backend_gone: the planner was not ready within {start_s:g} s")
        threading.Thread(target=self._read, daemon=True, name="planner").start()
        self._write(config)

    def ask(self, request: PlanRequest, timeout_s: float) -> Plan:
        """Send it; an answer to an earlier request that comes after this is dropped."""
        future: Plan = Future()
        with self._lock:
            self._pending = request.id, future
        self._limit(timeout_s, future, f"backend_gone: the planner hung for {timeout_s:g} s and was killed")
        self._write(request.line())
        return future

    def kill(self, why: str) -> None:
        """End it with SIGKILL: a planner that hangs in C++ sees nothing else. Nothing is said twice."""
        with self._lock:
            self.fault = self.fault or why
            pending, self._pending = self._pending, None
        self._process.send_signal(signal.SIGKILL)
        _settle(self.ready, error=AmRosError(self.fault))
        if pending:
            _settle(pending[1], error=AmRosError(self.fault))

    def _limit(self, seconds: float, future: Future[Any], why: str) -> None:
        timer = threading.Timer(seconds, lambda: None if future.done() else self.kill(why))
        timer.daemon = True
        future.add_done_callback(lambda _: timer.cancel())
        timer.start()

    def _write(self, line: str) -> None:
        try:
            self._stdin.write(line + "\n")
        except OSError:  # it is gone: the reading thread says so
            pass

    def _read(self) -> None:
        """In a thread: what the process says, until it ends."""
        why = ""
        try:
            why = self._greet(self._stdout.readline())
            while not why and (line := self._stdout.readline()):
                self._take(parse_answer(line))
        except (AmRosError, UnicodeDecodeError, ValueError) as error:
            why = f"backend_gone: {error}"
        if not why:
            why = f"backend_gone: the planner {_ending(self._process)}"
        self.kill(why)
        self._process.wait()

    def _greet(self, line: str) -> str:
        """The first line; returns why there will be no other."""
        if not line:
            return ""
        greeting = _object(line)
        if "ready" in greeting:
            _settle(self.ready, str(greeting["ready"]))
            return ""
        return str(greeting.get("fatal", f"backend_gone: the planner said {line[:80]!r}"))

    def _take(self, answer: Answer) -> None:
        with self._lock:
            if self._pending is None or self._pending[0] != answer.id:
                return
            (_, future), self._pending = self._pending, None
        _settle(future, answer.trajectory, AmRosError(answer.refused) if answer.trajectory is None else None)


def _settle(future: Future[T], result: T | None = None, error: AmRosError | None = None) -> None:
    """Set it, unless another thread was quicker."""
    try:
        if error:
            future.set_exception(error)
        elif result is not None:
            future.set_result(result)
    except InvalidStateError:
        pass


def _object(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {}


def _ending(process: subprocess.Popen[str]) -> str:
    """How a process ended that has closed its output."""
    deadline_s = time.monotonic() + 1.0
    while process.poll() is None and time.monotonic() < deadline_s:
        time.sleep(0.01)
    code = process.returncode
    if code is None:
        return "has closed its output"
    return f"ended with exit code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"

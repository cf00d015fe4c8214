"""Jobs shared among processes, here or on a Ray cluster: bounded memory, and nothing left running at the end."""

import contextlib
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TextIO, TypeAlias, TypeVar

from am_ros.errors import AmRosError
from am_ros.ray_jobs import Cluster, Job, run_on_cluster
from am_ros.signals import leave_to_parent, spare_resource_tracker

T = TypeVar("T")
NICE = 10  # of a process beside the robot's nodes on the same machine: they come first
Workers: TypeAlias = int | Cluster  # so many processes of this machine, or a Ray cluster


def come_second(nice: int = NICE) -> None:
    """Let the robot's nodes on this machine come first: before this process, and before its session if it leads one.

    `nice`: 0 ... 19, as Linux has it: how far behind them.

    Linux with autogroup, as most desktops have it, shares a processor among sessions first, and each node has its own:
    there `nice` counts among the processes of one session only.
    """
    os.setpriority(os.PRIO_PROCESS, 0, max(nice, os.getpriority(os.PRIO_PROCESS, 0)))
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):  # a kernel without autogroup
            Path("/proc/self/autogroup").write_text(str(nice))


def run_jobs(
    function: Callable[..., T],
    jobs: Iterable[Job],
    workers: Workers,
    what: str,
    name: Callable[[Job], str] = repr,
    shared: tuple[Path, ...] = (),
) -> Iterator[T]:
    """Results of `function(*job)` as they end, in any order; one worker runs them in order in this very process.

    Only a few jobs are under way at any time. Whatever stops the caller (an error in a job, Ctrl-C, the end of
    the iteration) stops the workers at once, within their jobs. Raises AmRosError if `workers` is no positive number
    or if a worker dies; `what` names who asked. On a cluster a dead worker's job is run again: jobs must bear that.
    There `name(job)` names a job that failed, and every machine must see the folders `shared`, which jobs write into.
    """
    return _run(function, jobs, workers, what, False, name, shared)


def run_in_order(
    function: Callable[..., T],
    jobs: Iterable[Job],
    workers: Workers,
    what: str,
    name: Callable[[Job], str] = repr,
    shared: tuple[Path, ...] = (),
) -> Iterator[T]:
    """The same as run_jobs, with the results in the order of the jobs; a few wait for their turn at most."""
    return _run(function, jobs, workers, what, True, name, shared)


def check_workers(workers: Workers) -> None:
    """Raise AmRosError unless somebody is to work."""
    count = workers if isinstance(workers, int) else workers.at_most
    if count is not None and count < 1:
        raise AmRosError(f"parameter workers: {count} is not a positive number")


def at_most(workers: Workers, jobs: int) -> Workers:
    """No more processes than there are jobs; at least one. A cluster's are there already."""
    return max(1, min(workers, jobs)) if isinstance(workers, int) and workers > 0 else workers


def _run(
    function: Callable[..., T],
    jobs: Iterable[Job],
    workers: Workers,
    what: str,
    in_order: bool,
    name: Callable[[Job], str],
    shared: tuple[Path, ...],
) -> Iterator[T]:
    check_workers(workers)
    if isinstance(workers, Cluster):
        return run_on_cluster(function, iter(jobs), workers, what, in_order, name, shared)
    if workers == 1:
        return (function(*job) for job in jobs)
    return _run_in_pool(function, iter(jobs), workers, what, in_order)


def _run_in_pool(
    function: Callable[..., T], jobs: Iterator[Job], workers: int, what: str, in_order: bool
) -> Iterator[T]:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when a worker imports NumPy and OpenCV
    spare_resource_tracker()
    context = multiprocessing.get_context("spawn")
    # The workers hold the reading end. When the writing end closes, here or because this process died, they end.
    lifeline, end = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, context, start_worker, (lifeline,))
    try:
        running = [pool.submit(function, *job) for job in islice(jobs, 2 * workers)]
        while running:
            done = running[:1] if in_order else list(wait(running, return_when=FIRST_COMPLETED).done)
            for future in done:
                yield future.result()
                running.remove(future)
                running += [pool.submit(function, *job) for job in islice(jobs, 1)]
    except BrokenProcessPool:
        end.close()  # the pool waits for the others, which no signal ends
        raise AmRosError(f"{what}: a worker process died (out of memory?)") from None
    except BaseException:
        end.close()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        end.close()
        lifeline.close()


def start_worker(lifeline: Connection) -> None:
    """First thing in a worker process: it ends when the other end of the pipe `lifeline` is closed."""
    leave_to_parent()
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()


def _end_with(lifeline: Connection) -> None:
    lifeline.poll(None)  # returns at the end of the pipe, for nothing is ever written into it
    os._exit(1)


class ProgressLine:
    """One line about how far it is, on a terminal overwritten in place, elsewhere one every ten seconds."""

    def __init__(self, stream: TextIO, what: str, unit: str):
        """For example ("evaluate", "trials")."""
        self._stream, self._what, self._unit = stream, what, unit
        self._first: tuple[float, int] | None = None  # time and count of the first call
        self._shown = 0.0

    def clear(self) -> None:
        """Take the line off a terminal, for something else is printed."""
        if self._stream.isatty():
            print("\r\x1b[K", end="", file=self._stream, flush=True)

    def show(self, done: int, total: int, note: str = "") -> None:
        """Say that `done` of `total` are done, and the time left at the speed since the first call.

        The first result takes as long as the processes take to start, which says nothing of the others.
        """
        now, terminal = time.monotonic(), self._stream.isatty()
        self._first = self._first or (now, done)
        if done < total and now - self._shown < (0.2 if terminal else 10.0):
            return
        self._shown = now
        began, before = self._first
        parts = [f"{self._what}: {done}/{total} {self._unit}", *([note] if note else [])]
        if done == total or done > before:
            parts.append(f"{(now - began) * (total - done) / max(1, done - before):.0f} s left")
        end = "" if terminal and done < total else "\n"
        line = ", ".join(parts)
        print(f"\r\x1b[K{line}" if terminal else line, end=end, file=self._stream, flush=True)

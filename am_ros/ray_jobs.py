"""Jobs on the machines of a Ray cluster: what a dead worker or node had is run again, and the caller's end ends all."""

import os
import secrets
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from am_ros import __version__
from am_ros.errors import AmRosError
from am_ros.signals import as_raised, handlers_now, put_back

T = TypeVar("T")
Job: TypeAlias = tuple[Any, ...]  # the arguments of a function

# How often a job is begun before it is given up: one that takes its worker down each time would never end.
ATTEMPTS = 4
# For a driver to get an answer from the head of the cluster [s].
CONNECT_S = 10.0
# How long a folder on a network file system may take to show a new file to another machine (NFS: acdirmax is 60 s, a
# look-up that failed is asked again after acdirmin, 30 s) [s].
SHARED_S = 35.0
# How often it is asked how many processors the cluster has, for nodes come and go [s].
CENSUS_S = 2.0
# Without any processor for so long, nobody is coming to do the jobs [s].
DESERTED_S = 60.0


@dataclass(frozen=True)
class Cluster:
    """A running Ray cluster: `address` as ray.init takes it (HOST:PORT, `auto`); `at_most` so many jobs at a time."""

    address: str
    at_most: int | None = None


@dataclass(frozen=True)
class _Caller:
    """Who asks, for the worker: the folder that relative paths count from, the version, and files that it must see."""

    folder: str
    version: str
    tokens: tuple[str, ...]


def run_on_cluster(
    function: Callable[..., T],
    jobs: Iterator[Job],
    cluster: Cluster,
    what: str,
    in_order: bool,
    name: Callable[[Job], str],
    shared: tuple[Path, ...] = (),
) -> Iterator[T]:
    """Results of `function(*job)` as they end, or in the order of the jobs, each from a process in the cluster.

    The jobs must bear being run twice. `name(job)` says in a few words which one it is; `shared` are the folders that
    jobs write into, which every machine must see. Raises AmRosError, with the job's name, if a job fails, or if its
    worker died ATTEMPTS times; if Ray is missing or no cluster answers.
    """
    ray = _import_ray()
    with _connected(ray, cluster.address) as ours, _tokens(shared) as tokens:
        caller = _Caller(os.getcwd(), __version__, tokens)
        crew = _Crew(ray, function, cluster, what, name, caller)
        try:
            yield from crew.results(jobs, in_order)
        except KeyboardInterrupt as interrupt:  # Ray's own, raised within ray.wait
            raise as_raised(interrupt) from None
        finally:
            if not ours:  # else the end of the connection ends them
                crew.dismiss()


class _Crew:
    """The jobs that are under way."""

    def __init__(
        self, ray: Any, function: Callable[..., Any], cluster: Cluster, what: str, name: Callable[[Job], str],
        caller: _Caller,
    ):  # fmt: skip
        self._ray, self._function, self._cluster = ray, function, cluster
        self._what, self._name, self._caller = what, name, caller
        # Tried again by us, who count: Ray tries a job that outgrows the memory for ever.
        self._remote = ray.remote(max_retries=0, num_cpus=1)(_work)
        errors = ray.exceptions
        self._lost = (
            errors.WorkerCrashedError, errors.NodeDiedError, errors.LocalRayletDiedError, errors.OutOfMemoryError,
            errors.ObjectLostError,
        )  # fmt: skip
        self._running: dict[Any, tuple[Job, int]] = {}  # by Ray's reference: the job, and which attempt it is
        self._order: list[Any] = []  # the same references in the order of the jobs
        self._asked_s = self._seen_s = float("-inf")
        self._cpus = 0

    def results(self, jobs: Iterator[Job], in_order: bool) -> Iterator[Any]:
        """Feed the jobs in, a few ahead of the processors, and give what comes out."""
        exhausted = object()
        waiting: Any = next(jobs, exhausted)
        while self._running or waiting is not exhausted:
            while waiting is not exhausted and len(self._running) < self._room():
                self._start(waiting, 1)
                waiting = next(jobs, exhausted)
            wanted = self._order[:1] if in_order else self._order
            done = self._ray.wait(wanted, num_returns=1, timeout=CENSUS_S)[0] if wanted else []
            for reference in done:
                yield from self._take(reference)

    def dismiss(self) -> None:
        """End what still runs, in the middle of it.

        Only that: Ray aborts the caller's process if it cancels a job in the moment in which its result arrives.
        """
        if self._order:
            for reference in self._ray.wait(self._order, num_returns=len(self._order), timeout=0)[1]:
                self._ray.cancel(reference, force=True)

    def _room(self) -> int:
        """How many jobs may be under way: twice as many as there are processors, so that none waits for us."""
        now = time.monotonic()
        if now - self._asked_s > CENSUS_S:
            self._cpus = int(self._ray.cluster_resources().get("CPU", 0))
            self._asked_s = now
            self._seen_s = now if self._cpus or self._seen_s < 0 else self._seen_s
            if now - self._seen_s > DESERTED_S:
                raise AmRosError(f"{self._what}: the Ray cluster at {self._cluster.address} has no processor left")
        return self._cluster.at_most or 2 * self._cpus

    def _start(self, job: Job, attempt: int, place: int | None = None) -> None:
        task = self._remote.options(name=f"{self._what}: {self._name(job)}")
        reference = task.remote(self._function, job, self._caller)
        self._running[reference] = (job, attempt)
        self._order.insert(len(self._order) if place is None else place, reference)

    def _take(self, reference: Any) -> Iterator[Any]:
        """The result of a job that has ended; none if it has to be run again."""
        job, attempt = self._running[reference]
        place = self._forget(reference)
        name = f"{self._what}: {self._name(job)}"
        try:
            problem, result = self._ray.get(reference)
        except self._lost as error:
            if attempt == ATTEMPTS:
                how = type(error).__name__
                raise AmRosError(f"{name}: given up, its worker died {attempt} times (out of memory? {how})") from None
            self._start(job, attempt + 1, place)
            return
        except self._ray.exceptions.RayError as error:
            last = str(error).strip().splitlines()[-1].strip()
            raise AmRosError(f"{name}: could not be run on its node ({last})") from None
        if problem:
            raise AmRosError(f"{name}: {problem}")
        yield result

    def _forget(self, reference: Any) -> int:
        """Its place in the order."""
        del self._running[reference]
        place = self._order.index(reference)
        del self._order[place]
        return place


def _work(function: Callable[..., Any], job: Job, caller: _Caller) -> tuple[str, Any]:
    """In a worker: what went wrong, as a sentence or nothing, and the result."""
    try:
        _enter(caller)
        return "", function(*job)
    except AmRosError as error:
        return str(error), None
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        text = " ".join(f"{type(error).__name__} {error}".split())
        return f"a fault of this program on {socket.gethostname()}: {text} ({at.filename}, line {at.lineno})", None


@cache
def _enter(caller: _Caller) -> None:
    """Once per process: be in the caller's folder where it is there too, and make sure that both see the same."""
    host = socket.gethostname()
    if caller.version != __version__:
        raise AmRosError(f"node {host} has am_ros {__version__} and the caller {caller.version}: install the same")
    if os.path.isdir(caller.folder):
        os.chdir(caller.folder)
    deadline = time.monotonic() + SHARED_S
    for token in caller.tokens:
        while not os.path.exists(token):
            if time.monotonic() > deadline:
                folder = os.path.dirname(token)
                raise AmRosError(f"node {host} does not see folder {folder} of the caller: all nodes must share it")
            time.sleep(0.5)
            if os.path.isdir(os.path.dirname(token)):
                os.listdir(os.path.dirname(token))  # an NFS client asks the server again


@contextmanager
def _tokens(folders: tuple[Path, ...]) -> Iterator[tuple[str, ...]]:
    """A hidden file in each folder, by which workers know that it is the caller's; absolute paths."""
    made: list[Path] = []
    try:
        for folder in folders:
            token = folder.resolve() / f".am_ros_{secrets.token_hex(8)}"
            try:
                token.touch()
            except OSError as error:
                raise AmRosError(f"folder {folder}: cannot be written ({error.strerror})") from None
            made.append(token)
        yield tuple(str(token) for token in made)
    finally:
        for token in made:
            token.unlink(missing_ok=True)


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to others
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else it warns of what a later version will do
    try:
        import ray
    except ImportError:
        raise AmRosError("--ray: needs Ray, which is not installed: pip install 'am_ros[cluster]'") from None
    return ray


@contextmanager
def _connected(ray: Any, address: str) -> Iterator[bool]:
    """Be a driver of the cluster; one that this process already is stays it. Gives whether the connection is ours."""
    if ray.is_initialized():
        yield False
        return
    _probe(address)
    handlers = handlers_now()
    try:
        ray.init(address=address, log_to_driver=False, logging_level="error")
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise AmRosError(f"--ray {address}: no Ray cluster to be had there ({reason})") from None
    put_back(handlers)  # Ray's own takes SIGTERM for a crash, and aborts
    try:
        yield True
    finally:
        ray.shutdown()


def _probe(address: str) -> None:
    """Ask HOST:PORT for a connection: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if "/" in address or not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise AmRosError(f"--ray {address}: no Ray cluster answers there ({error})") from None

"""`--workers` and `--ray`: who does the jobs of a verb."""

from am_ros.errors import AmRosError
from am_ros.ray_jobs import Cluster
from am_ros.workers import Workers


def add_worker_flags(parser, what: str = "processes") -> None:
    """Add them; workers_of() reads them."""
    parser.add_argument(
        "--workers", type=int, help=f"{what} (default 1; with --ray: at most so many jobs at a time, default no limit)"
    )
    parser.add_argument(
        "--ray", metavar="ADDRESS", help="spread the jobs over this Ray cluster, HOST:PORT or auto (docs/cluster.md)"
    )


def workers_of(arguments) -> Workers:
    """What was asked for."""
    if arguments.ray is None:
        return 1 if arguments.workers is None else arguments.workers
    if not arguments.ray:
        raise AmRosError("--ray: is empty; it takes HOST:PORT, or auto")
    return Cluster(arguments.ray, arguments.workers)

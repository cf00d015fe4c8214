"""am-ros page: the operator's page on the folders of a disk, without any node."""

import signal
import threading
from pathlib import Path

from am_ros import configuration
from am_ros.errors import AmRosError


def register(subparsers) -> None:
    """Add the parser; one flag per parameter of the page."""
    from am_ros.page.config import PageConfig

    parser = subparsers.add_parser(
        "page",
        help="show bags, goals, trainings and evaluations of a disk in a browser",
        description="Serve the operator's page on folders: look at episodes, label, verify, salvage and delete them, "
        "see goals, trainings, evaluations. `am-ros up ... page:=true` serves it on a running cell. Ctrl-C ends it.",
    )
    parser.add_argument("folder", type=Path, nargs="+", help="folders, with all that is below")
    configuration.add_flags(parser, PageConfig)


def run(arguments) -> int:
    """Serve until Ctrl-C or SIGTERM; 0 then."""
    from am_ros.page.config import PageConfig
    from am_ros.page.disk import DiskSource

    config = configuration.from_flags(PageConfig, arguments)
    try:
        from am_ros.page.server import Server
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("am_ros"):
            raise
        raise AmRosError(f"page: {error.name} is not installed: pip install 'am_ros[page]'") from None
    server = Server(DiskSource(arguments.folder), config)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    try:
        print(f"{server.announce(server.start())}; Ctrl-C ends it", flush=True)
        while not stop.wait(0.5):
            if not server.running:
                raise AmRosError("page: the server has ended")
    finally:
        server.close()
    return 0

"""am-ros faults: break the system on purpose, one fault after the other, and say what came of it."""

from pathlib import Path

from am_ros.errors import AmRosError
from am_ros.faults.suite import names, run_suite, table


def register(subparsers) -> None:
    """Add the parser."""
    parser = subparsers.add_parser("faults", help="break the system on purpose and measure what comes of it")
    parser.add_argument("--short", action="store_true", help="a few of each instead of all: minutes instead of an hour")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=names(), help=f"of {', '.join(names())}")
    parser.add_argument("--out", type=Path, default=Path("runs/faults"), help="folder of the results (runs/faults)")


def run(arguments) -> int:
    """Exit code: 0 everything as required, 1 something is not."""
    unknown = [name for name in arguments.only if name not in names()]
    if unknown:
        raise AmRosError(f"--only {unknown[0]}: there is no such fault; there are {', '.join(names())}")
    results = run_suite(arguments.only, arguments.short, arguments.out.resolve())
    failed = sum(not result.ok for result in results)
    print(f"\n{table(results)}\n\n{len(results) - failed} of {len(results)} as required; {arguments.out}/summary.json")
    return 1 if failed else 0

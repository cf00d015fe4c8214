"""The verbs of `am-ros`, one module each, and `arguments`: flags that several of them have.

A module `<verb>.py` has two functions, and its verb is listed in `am_ros.cli.COMMANDS`:

    register(subparsers) -> None    adds the parser of that name: subparsers.add_parser("<verb>", help=..., ...)
    run(arguments) -> int           does it; the exit code, 0 when done; raises AmRosError for bad input
"""

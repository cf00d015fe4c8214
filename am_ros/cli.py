"""am-ros: one command, one module of `am_ros/commands/` per verb."""

import argparse
import importlib
import sys

from am_ros import __version__
from am_ros.cell.environment import enter_ros_environment
from am_ros.errors import AmRosError
from am_ros.signals import exit_code, raised

# One line per verb: its module in am_ros/commands and the line that `am-ros --help` shows. Only the module of the
# verb that is called is imported, so that `am-ros bags` does not wait for torch.
COMMANDS = (
    ("demo", "record, learn, reach goals: the whole loop on the simulated cell"),
    ("collect", "record episodes of the simulated cell in parallel, without ROS"),
    ("bags", "look at, check, repair, draw and replay recorded episodes"),
    ("goals", "record, list, show and check goal images"),
    ("teleop", "move the arm by keys or joystick, record episodes, label them"),
    ("store", "make a replay store of bags, put it at a URL, check it"),
    ("train", "learn from a folder of bags, without ROS"),
    ("improve", "fine-tune a policy online in the simulated cell: collect, learn, judge, again"),
    ("model", "what the networks are and cost"),
    ("evaluate", "trials of checkpoints, the expert or random actions"),
    ("qmap", "draw what a checkpoint's Q wants, over the table, step by step"),
    ("reach", "have the policy of a running cell pursue a goal, and draw what came of it"),
    ("check", "look at a cell before anything moves, and say what is wrong with it"),
    ("up", "start the nodes of a cell (simulated, real, to record, to train) and watch over them"),
    ("page", "show bags, goals, trainings and evaluations of a disk in a browser"),
    ("faults", "break the system on purpose and measure what comes of it"),
)


def main(argv: list[str] | None = None) -> int:
    """Run one verb; return the exit code: 0 done, 2 bad input (one sentence on stderr), 130 after Ctrl-C.

    A closed terminal (SIGHUP) and SIGTERM are taken as Ctrl-C is; the code is then 128 and the signal's number.
    """
    argv = sys.argv[1:] if argv is None else argv
    enter_ros_environment()
    try:
        with raised():
            arguments = _parse(argv)
            return arguments.run(arguments) or 0
    except AmRosError as error:
        print(f"am-ros: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        return exit_code(interrupt)
    except BrokenPipeError:  # `am-ros bags list | head`
        sys.stderr.close()
        return 141


def _parse(argv: list[str]) -> argparse.Namespace:
    """argparse ends a list of words at the first option, but `key:=value` may stand behind options too."""
    parser = _parser(argv)
    arguments, rest = parser.parse_known_args(argv)
    if rest and (not hasattr(arguments, "settings") or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        arguments.settings += rest
    return arguments


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, as everything else here does."""

    def error(self, message: str):
        raise AmRosError(f"{self.prog.removeprefix('am-ros').strip() or 'command'}: {message}")


def _parser(argv: list[str]) -> argparse.ArgumentParser:
    parser = _Parser(prog="am-ros", description="Record bags, learn from them, and make the camera see a goal image.")
    parser.add_argument("--version", action="version", version=f"am-ros {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    names = [name for name, _ in COMMANDS]
    wanted = next((a for a in argv if not a.startswith("-")), None)
    for name, summary in COMMANDS:
        if wanted == name or wanted not in names:
            _register(subparsers, name, summary, load=wanted == name)
    return parser


def _register(subparsers, name: str, summary: str, load: bool) -> None:
    if not load:
        subparsers.add_parser(name, help=summary, add_help=False)
        return
    module = importlib.import_module(f"am_ros.commands.{name}")
    module.register(subparsers)
    subparsers.choices[name].set_defaults(run=module.run)


if __name__ == "__main__":
    sys.exit(main())

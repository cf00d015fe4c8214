"""am-ros reach: have the policy of a running cell pursue a goal, step by step, and draw what came of it."""

from pathlib import Path

from am_ros.errors import AmRosError

CANCEL_S = 10.0


def register(subparsers) -> None:
    """Add the parser."""
    parser = subparsers.add_parser(
        "reach",
        help="have the policy of a running cell pursue a goal (Ctrl-C stops the arm)",
        description="Send a goal to policy_server/reach_goal and tell each step. Exit code 0: the policy ended by "
        "itself or made all its steps, 1: a fault ended it, 2: bad input, 130: Ctrl-C, and the arm was stopped.",
    )
    parser.add_argument("goal", help="a goal of the cell's registry, or a picture (PNG or JPEG)")
    parser.add_argument("--max-steps", type=int, default=0, help="steps at most (default: the server's own)")
    parser.add_argument("--namespace", default="", help="ROS namespace of the cell (default: the root)")
    parser.add_argument("--task", default="", help="name of the task, written into the recorded episode")
    parser.add_argument("--out", type=Path, help="draw start, steps, end and goal into this PNG")


def run(arguments) -> int:
    """Pursue; see the parser for the exit code."""
    if not 0 <= arguments.max_steps <= 10_000:
        raise AmRosError(f"--max-steps {arguments.max_steps}: is outside 0 ... 10000")
    from am_ros.ros.commanding.pursuit import Pursuit
    from am_ros.ros.introspection.client import RosClient

    with RosClient("reach", namespace=arguments.namespace) as client:
        pursuit = Pursuit(client, arguments.goal, arguments.task)
        try:
            for sentence in pursuit.run(arguments.max_steps):
                print(sentence, flush=True)
        except KeyboardInterrupt:
            print(pursuit.cancel(CANCEL_S), flush=True)
            raise
        finally:
            if arguments.out and pursuit.frames:
                print(pursuit.draw(arguments.out), flush=True)
        return 1 if pursuit.fault else 0

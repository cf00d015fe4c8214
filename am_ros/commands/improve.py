"""am-ros improve: fine-tune a policy online, in the simulated cell: collect, learn, judge, again."""

import sys
import time
from dataclasses import replace
from pathlib import Path

from am_ros.commands.learner_flags import add_learner_flags, learner_config
from am_ros.configuration import add_flags, from_flags
from am_ros.evaluation.online.ledger import NAME, PICTURE
from am_ros.evaluation.online.loop import Status, improve
from am_ros.evaluation.online.plan import LoopConfig, Plan
from am_ros.evaluation.policy_episodes import Exploration
from am_ros.learning.keeper import start_network
from am_ros.learning.recipes import RECIPES, find_recipe
from am_ros.learning.trainer_config import LearnerConfig
from am_ros.sim.tasks import TASKS, find_task

# Of the learner, but here the loop decides them.
DECIDED = ("updates", "seed", "minutes", "processes", "milestones", "reward_task")


def register(subparsers) -> None:
    """Add the parser; one flag per field of loop, exploration and learner."""
    parser = subparsers.add_parser("improve", help="fine-tune a policy online: collect, learn, judge, again")
    parser.add_argument("bags", type=Path, nargs="*", help="bags or folders of bags to begin with, if any")
    parser.add_argument("--task", required=True, help=f"one of {', '.join(TASKS)}")
    parser.add_argument("--out", type=Path, required=True, help="folder for bags, policies, figures; resumed if used")
    parser.add_argument("--start-from", type=Path, help="checkpoint whose weights and network are the first ones")
    parser.add_argument(
        "--recipe",
        help=f"where the learner's flags start from: {', '.join(RECIPES)} (default: qt_opt for a task without goal "
        "image, best for others)",
    )
    add_flags(parser.add_argument_group("loop"), LoopConfig)
    add_flags(parser.add_argument_group("exploration while collecting"), Exploration)
    add_learner_flags(parser, skip=DECIDED)


def run(arguments) -> int:
    """Run the loop with progress on stderr."""
    task = find_task(arguments.task)
    recipe = find_recipe(arguments.recipe or ("best" if task.goal_image else "qt_opt"))
    learner = learner_config(arguments, _base(recipe, arguments.start_from), updates=1, seed=0)
    loop, exploration = from_flags(LoopConfig, arguments), from_flags(Exploration, arguments)
    plan = Plan(task.name, learner, loop, exploration, arguments.start_from)
    line = _Line()
    try:
        rounds = improve(plan, arguments.out, tuple(arguments.bags), line.show, line.say)
    except KeyboardInterrupt:
        line.say(f"interrupted; everything in {arguments.out} is kept, and the same command goes on with it")
        raise
    print(f"{'episodes before':>15}{'updates':>9}{'judged':>8}{'95 % interval':>17}{'collecting':>12}")
    for row in rounds:
        (low, high), collected = row["evaluation"]["ci95"], row.get("collection")
        rate = f"{collected['success_rate']:.0%}" if collected else "-"
        judged = f"{row['evaluation']['success_rate']:.0%}"
        print(f"{row['episodes_before']:>15}{row['update']:>9}{judged:>8}{f'{low:.0%} ... {high:.0%}':>17}{rate:>12}")
    print(f"figures: {arguments.out / NAME}, {arguments.out / PICTURE}")
    return 0


def _base(recipe: LearnerConfig, start_from: Path | None) -> LearnerConfig:
    """The recipe with the network to start from, and a learning rate that does not fall.

    Every policy on the way has to act as well as it can, and episodes of the last round deserve the updates that those
    of the first had. So a run can be made longer, too.
    """
    network = start_network(start_from, recipe.network)
    return replace(recipe, network=network, trainer=replace(recipe.trainer, decay_from=1.0))


class _Line:
    """One line about where it stands: on a terminal overwritten in place, elsewhere a new one every ten seconds."""

    def __init__(self):
        self._terminal = sys.stderr.isatty()
        self._shown, self._open = 0.0, False

    def show(self, status: Status) -> None:
        """Say where it stands, if that was not said a moment ago."""
        ended, now = status.done == status.total, time.monotonic()
        if not ended and now - self._shown < (0.2 if self._terminal else 10.0):
            return
        self._shown, self._open = now, self._terminal and not ended
        text = f"improve: {status}"
        end = "" if self._open else "\n"
        print(f"\r\x1b[K{text}" if self._terminal else text, end=end, file=sys.stderr, flush=True)

    def say(self, sentence: str) -> None:
        """Say a sentence on a line of its own."""
        print(("\n" if self._open else "") + f"improve: {sentence}", file=sys.stderr, flush=True)
        self._open = False

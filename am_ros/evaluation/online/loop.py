"""Online fine-tuning: collect episodes with the policy, learn from all of them, again and again (sections 5.2, 6.6).

Policy 0 is what the run starts from, after the offline updates if there are any; policy k + 1 is policy k after the
episodes that it collected. In `out`:

    policies/000 ...        the policies, as checkpoints: `am-ros evaluate out --curve` finds them
    bags/round_000/ ...     the episodes that each of them collected, a bag per episode
    replay/, checkpoint/    the store and the learner, as `am-ros train` has them; metrics.csv
    improvement.json, .png  what was done and how it went

Every part is made if it is not there, so a run that was killed goes on where it was: a policy depends on nothing but
the bags before it, and a bag on nothing but its policy and its scene.
"""

import fcntl
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from am_ros.action import ActionSpace
from am_ros.bags.finder import find_bags
from am_ros.episode import Outcome
from am_ros.errors import AmRosError
from am_ros.evaluation.actors import ActorConfig
from am_ros.evaluation.online.ledger import PICTURE, Ledger, improvement_curve
from am_ros.evaluation.online.plan import Plan
from am_ros.evaluation.outputs import check_folder
from am_ros.evaluation.policy_episodes import PolicyRound, collect_round
from am_ros.evaluation.statistics import summarise, wilson_interval
from am_ros.evaluation.trials import TrialPlan, run_trials
from am_ros.learning import checkpoint
from am_ros.learning.progress import Progress
from am_ros.learning.trainer import Trainer
from am_ros.replay.from_bags import ingest
from am_ros.replay.store import ReplayStore
from am_ros.signals import held_back

JUDGED = ("trials", "successes", "success_rate", "ci95", "success_once_rate", "mean_steps", "ends")
LEARNS, JUDGES, COLLECTS = "updates", "trials", "episodes"


@dataclass
class Status:
    """Where a run stands: `done` of `total` updates, trials or episodes of this round."""

    round: int
    rounds: int
    unit: str
    done: int
    total: int
    reached: float | None = None  # share of these trials or episodes
    judged: float | None = None  # success rate of the latest policy that was judged
    seconds_left: float | None = None  # of the whole run; None while a part of it was not seen yet

    def __str__(self):
        reached = "" if self.reached is None else f", {self.reached:.0%} reached"
        judged = "" if self.judged is None or self.unit == JUDGES else f", judged {self.judged:.0%}"
        left = "" if self.seconds_left is None else f", {self.seconds_left:.0f} s left"
        return f"round {self.round}/{self.rounds}: {self.done}/{self.total} {self.unit}{reached}{judged}{left}"


def improve(
    plan: Plan,
    out,
    bags: tuple = (),
    on_status: Callable[[Status], None] = lambda status: None,
    say: Callable[[str], None] = lambda sentence: None,
) -> list[dict]:
    """Do what is missing of the plan in `out`, beginning with what `bags` hold; return the ledger's rounds.

    `on_status` is called often, `say` with sentences that people should read. Raises AmRosError if `out` holds another
    plan or is in use, and KeyboardInterrupt with all work kept.
    """
    out = Path(out)
    for folder in bags:
        find_bags(folder)
    check_folder(out, "out")
    with _claim(out):
        return _Run(plan, out, on_status, say).go(bags)


class _Run:
    def __init__(self, plan: Plan, out: Path, on_status, say):
        self.plan, self.out, self._on_status, self._say = plan, out, on_status, say
        self.ledger = Ledger(out, plan.describe())
        self.store = ReplayStore.open_or_create(out / "replay", (plan.learner.network.image_size,) * 2)
        self._paces: dict[str, tuple[float, int]] = {}  # unit -> seconds and how many, in this call

    def go(self, bags) -> list[dict]:
        rounds = self.plan.loop.rounds
        for folder in bags:
            self._ingest(folder, lambda done, total: self._on_status(Status(0, rounds, "bags read", done, total)))
        for number in range(rounds + 1):
            policy = self._policy(number)
            row = self.ledger.row(number)
            row |= {"episodes_before": number * self.plan.loop.episodes, "update": policy.meta["update"]}
            if "evaluation" not in row:
                row["evaluation"] = self._judge(number)
                self._record()
            if number < rounds:
                if "collection" not in row:
                    row["collection"] = self._collect(number, policy)
                    self._record()
                self._ingest(self._bags(number))
        return self.ledger.rounds[: rounds + 1]

    def _policy_folder(self, number: int) -> Path:
        return self.out / "policies" / f"{number:03d}"

    def _bags(self, number: int) -> Path:
        return self.out / "bags" / f"round_{number:03d}"

    def _ingest(self, folder: Path, on_progress: Callable[[int, int], None] = lambda done, total: None) -> None:
        report = ingest(folder, self.store, ActionSpace(), on_progress)
        for sentence in report.refused.values():
            self._say(f"refused: {sentence}")

    def _policy(self, number: int) -> checkpoint.Checkpoint:
        """Policy `number`, learned now if it is not there."""
        folder = self._policy_folder(number)
        if not checkpoint.exists(folder):
            found = self._learn(number)
            checkpoint.save(folder, found.description, found.tensors)
        return checkpoint.load(folder)

    def _learn(self, number: int) -> checkpoint.Checkpoint:
        plan, last = self.plan, self.plan.updates_before(number)
        trainer = Trainer(plan.learner, self.out, ActionSpace(), start_from=plan.start_from)
        if trainer.update < last and self._can_learn(number):
            began, first = time.monotonic(), trainer.update

            def show(progress: Progress) -> None:
                self._show(number, LEARNS, progress.update - first, last - first, began)

            with held_back(trainer.stop):  # nothing that was learned is lost
                trainer.fit(self.store, show, until_update=last)
        elif not checkpoint.exists(trainer.checkpoint_folder):
            trainer.save(self.store, Progress(0, plan.learner.trainer.updates, 0.0, 0.0, 0.0))
        return checkpoint.load(trainer.checkpoint_folder)

    def _can_learn(self, number: int) -> bool:
        goals, lacks = self.plan.learner.goals, ""
        if not len(self.store):
            lacks = "episode"
        elif goals.reward_share and not self.store.summary().get(goals.reward_task, {}).get("successes"):
            lacks = f"success of {goals.reward_task}"
        if lacks and number == 0:
            raise AmRosError(f"parameter first_updates: the given bags hold no {lacks} to learn from")
        if lacks:
            self._say(f"no {lacks} to learn from yet: policy {number} is policy {number - 1}, its updates come later")
        return not lacks

    def _judge(self, number: int) -> dict:
        loop, task = self.plan.loop, self.plan.task.name
        actor = ActorConfig(str(self._policy_folder(number)))
        trials, began = [], time.monotonic()
        for trial in run_trials([TrialPlan(actor, (task,), loop.trials, variety=loop.variety)], loop.workers):
            trials.append(trial)
            reached = sum(t.success for t in trials) / len(trials)
            self._show(number, JUDGES, len(trials), loop.trials, began, reached)
        figures = summarise(trials)[task]
        return {name: figures[name] for name in JUDGED}

    def _collect(self, number: int, policy: checkpoint.Checkpoint) -> dict:
        plan, loop, began = self.plan, self.plan.loop, time.monotonic()
        exploration = plan.exploration
        if policy.meta["update"] == 0 and plan.start_from is None:
            # What weights without any learning want is no policy, and at worst it is to terminate.
            exploration = replace(exploration, exploration=1.0)
        what = PolicyRound(
            plan.task.name, self._policy_folder(number), policy.meta["files"]["model"], exploration, plan.sim,
            self._bags(number), plan.first_scene(number),
        )  # fmt: skip
        facts, successes = [], 0
        for bag in collect_round(what, loop.episodes, loop.workers):
            facts.append(bag)
            successes += bag.info.outcome == Outcome.SUCCESS
            self._show(number, COLLECTS, len(facts), loop.episodes, began, successes / len(facts))
        return {
            "episodes": len(facts), "successes": successes, "success_rate": successes / len(facts),
            "ci95": list(wilson_interval(successes, len(facts))), "steps": sum(f.steps for f in facts),
            "ends": dict(sorted(Counter(f.info.reason for f in facts).items())),
            "seconds": round(time.monotonic() - began, 1),
        }  # fmt: skip

    def _record(self) -> None:
        self.ledger.save()
        improvement_curve(self.ledger.rounds, self.plan.task.name, self.out / PICTURE)

    def _show(self, number: int, unit: str, done: int, total: int, began: float, reached: float | None = None) -> None:
        loop = self.plan.loop
        self._paces[unit] = time.monotonic() - began, done
        rounds_left = loop.rounds - number
        left = {
            LEARNS: rounds_left * loop.updates,
            JUDGES: rounds_left * loop.trials,
            COLLECTS: rounds_left * loop.episodes,
        }
        # A round learns a policy, judges it, and collects with it; the last policy collects nothing.
        if unit == LEARNS:
            left[LEARNS] += total - done
            left[JUDGES] += loop.trials
        elif unit == JUDGES:
            left[JUDGES] += total - done
        else:
            left[COLLECTS] -= done
        seconds = None
        if all(self._paces.get(u, (0.0, 0))[1] for u, count in left.items() if count):
            seconds = sum(count * self._paces[u][0] / self._paces[u][1] for u, count in left.items() if count)
        judged = self.ledger.last_rate("evaluation")
        round_number = number + (unit == COLLECTS)  # round k makes policy k, by what policy k - 1 collects
        self._on_status(Status(round_number, loop.rounds, unit, done, total, reached, judged, seconds))


@contextmanager
def _claim(out: Path) -> Iterator[None]:
    """Own the folder as long as this lasts."""
    folder = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise AmRosError(f"out {out}: another process is at work in it") from None
    finally:
        os.close(folder)

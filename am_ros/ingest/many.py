"""Many foreign bags: in several processes, in order, none twice, and none that stops the others."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from am_ros.action import ActionSpace
from am_ros.episode import Outcome
from am_ros.errors import AmRosError
from am_ros.ingest.conversion import BagReport, ingest_bag
from am_ros.ingest.ledger import Ledger
from am_ros.ingest.mapping import Mapping
from am_ros.ingest.naming import Planned
from am_ros.ingest.writing import THERE, Writer
from am_ros.workers import Workers, at_most, run_in_order


@dataclass(frozen=True)
class Made:
    """An episode in a few words."""

    name: str
    steps: int
    seconds: float
    reason: str
    outcome: Outcome


@dataclass
class Result:
    """What came of one bag."""

    bag: Planned
    report: BagReport
    episodes: list[Made]


def ingest_all(
    bags: list[Planned], mapping: Mapping, action_space: ActionSpace, ledger: Ledger | None, workers: Workers = 1
) -> Iterator[Result]:
    """Results in the order of the bags. The episodes go into the folder of the ledger; without one, nowhere.

    What an earlier run read to its end, and whose episodes lie there unchanged, is not read again. A bag that cannot
    be read, or brings the program down, is one sentence in its report.
    """
    known = {bag.path: entry for bag in bags if ledger is not None and (entry := ledger.has(bag.recording))}
    unread = [bag for bag in bags if bag.path not in known and bag.copy_of is None]
    out = None if ledger is None else ledger.folder
    jobs = ((bag, mapping, action_space, out) for bag in unread)
    shared = () if out is None else (out,)
    workers = at_most(workers, len(unread))
    results = run_in_order(_ingest, jobs, workers, "bags ingest", lambda job: str(job[0].path), shared)
    for bag in bags:
        if bag.copy_of is not None:
            yield Result(bag, BagReport(bag.path, notes=[f"is a copy of {bag.copy_of}: read once"]), [])
        elif bag.path in known:
            yield _known(bag, known[bag.path])
        else:
            result = next(results)
            report = result.report
            if ledger is not None and not report.problem:
                ledger.add(bag.recording, bag.name, [e.name for e in result.episodes], report.steps, report.lost)
            yield result


def _ingest(bag: Planned, mapping: Mapping, action_space: ActionSpace, out: Path | None) -> Result:
    result = Result(bag, BagReport(bag.path), [])
    episodes = ingest_bag(bag.path, bag.name, mapping, action_space, result.report)
    if out is not None:
        episodes = Writer(out, bag, action_space).write(episodes, result.report)
    try:
        for e in episodes:
            seconds = float(e.stamps_ns[-1] - e.stamps_ns[0]) / 1e9
            result.episodes.append(Made(e.info.episode_id, len(e), seconds, e.info.reason, e.info.outcome))
    except AmRosError as error:
        result.report.problem = str(error)
    except Exception as error:  # a fault of ours must not cost the other bags
        what = f"{type(error).__name__} {' '.join(str(error).split())}"
        result.report.problem = f"bag {bag.path}: not understood, a fault of this program: {what}"
    return result


def _known(bag: Planned, entry: dict) -> Result:
    report = BagReport(bag.path, episodes=len(entry["episodes"]), steps=entry["steps"], lost=entry["lost"])
    if entry["episodes"]:
        report.dropped.note(THERE, count=len(entry["episodes"]))
    report.notes.append("was read by an earlier run")
    return Result(bag, report, [])

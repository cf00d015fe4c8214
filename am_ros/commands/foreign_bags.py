"""am-ros bags topics, mapping, ingest, export: bags of other cells in, data sets for other learners out."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from am_ros import configuration
from am_ros.action import ActionSpace
from am_ros.bags.finder import find_all
from am_ros.commands.worker_flags import add_worker_flags, workers_of
from am_ros.errors import AmRosError
from am_ros.workers import ProgressLine


def register(verbs) -> None:
    """Add the verbs to those of `am-ros bags`."""
    verb = verbs.add_parser("topics", help="what a bag of another cell (rosbag2 or ROS 1) holds: types, counts, rates")
    verb.add_argument("path", type=Path, nargs="+", help="a bag, a .bag, .mcap or .db3 file, or a folder of such")
    verbs.add_parser("mapping", help="print a mapping file with every key at its default and what it means")
    verb = verbs.add_parser("ingest", help="make episodes of bags that another cell recorded")
    verb.add_argument("path", type=Path, nargs="+", help="bags, .bag, .mcap or .db3 files, or folders of such")
    verb.add_argument("--mapping", type=Path, required=True, help="a YAML file: which topic is what (docs/ingest.md)")
    verb.add_argument("--out", type=Path, help="folder of the episodes' bags; not needed with --dry-run")
    verb.add_argument("--dry-run", action="store_true", help="read and cut, list what would be made, write nothing")
    verb.add_argument("--prefix", default="", help="put before the names of the episodes, to tell sessions apart")
    add_worker_flags(verb, "processes that read the bags")
    verb.add_argument("--json", type=Path, help="write the report to this file too")
    configuration.add_flags(verb, ActionSpace)
    verb = verbs.add_parser("export", help="make a data set for another learner of a folder of episodes")
    verb.add_argument("path", type=Path, help="a bag, or a folder of bags")
    verb.add_argument("--lerobot", type=Path, required=True, metavar="OUT", help="a LeRobot v3 data set, a new folder")
    verb.add_argument("--repo-id", default="", help="its name, USER/NAME (default: local/ and the folder's name)")
    verb.add_argument("--fps", type=int, default=0, help="steps per second it claims (default: the bags' median)")
    configuration.add_flags(verb, ActionSpace)


def topics(arguments) -> int:
    """Print a table per bag; exit code 1 if one cannot be read."""
    from am_ros.ingest.foreign import ForeignBag

    found, unreadable = find_all(arguments.path), 0
    for path in found.bags:
        try:
            with ForeignBag(path) as bag:
                duration_s, total = bag.duration_s, sum(t.messages for t in bag.topics.values())
                print(f"{path}: {bag.storage}, {duration_s:.1f} s, {total} messages")
                width = max((len(name) for name in bag.topics), default=0)
                for topic in bag.topics.values():
                    rate = f"{topic.messages / duration_s:8.1f} Hz" if duration_s > 0.01 else " " * 11
                    told = "" if topic.encoding in ("cdr", "ros1") else f"  serialised as {topic.encoding or 'several'}"
                    kind = topic.type_name or "several types, or none named"
                    print(f"  {topic.name:{width}}  {topic.messages:8} {rate}  {kind}{told}")
                _print_files(bag.notes, bag.lost)
                unreadable += bool(bag.lost)
        except AmRosError as error:
            print(error)
            unreadable += 1
    _print_lines(found.sentences())
    return 1 if unreadable else 0


def mapping(_arguments) -> int:
    """Print the template."""
    from am_ros.ingest.mapping import describe_keys

    print(describe_keys())
    return 0


def ingest(arguments) -> int:
    """Exit code 1 if a bag, or a part of it, was refused, or nothing came of all of them."""
    # Not at the top: `am-ros bags info` need not wait for the kinematics.
    from am_ros.ingest.ledger import Ledger
    from am_ros.ingest.many import ingest_all
    from am_ros.ingest.mapping import load_mapping
    from am_ros.ingest.naming import plan, recordings_among

    rules = load_mapping(arguments.mapping)
    action_space = configuration.from_flags(ActionSpace, arguments)
    if arguments.out is None and not arguments.dry_run:
        raise AmRosError("bags ingest: --out is missing (or --dry-run)")
    if not arguments.dry_run:
        try:
            arguments.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise AmRosError(f"--out {arguments.out}: cannot be made: {error.strerror}") from None
    found = find_all(arguments.path)
    ledger = None if arguments.out is None else Ledger(arguments.out, rules, action_space)
    bags = plan(recordings_among(found.bags, arguments.out), ledger, arguments.prefix)
    progress = ProgressLine(sys.stderr, "ingest", "bags") if len(bags) > 1 else None
    reports = []
    kept = None if arguments.dry_run else ledger
    for result in ingest_all(bags, rules, action_space, kept, workers_of(arguments)):
        reports.append(result.report)
        if progress is not None:
            progress.clear()
        for episode in result.episodes:
            _print_episode(episode)
        _print_report(result.report)
        if progress is not None:
            progress.show(len(reports), len(bags))
    total = sum(r.episodes for r in reports), sum(r.steps for r in reports)
    refused, in_part = sum(bool(r.problem) for r in reports), sum(bool(r.lost and not r.problem) for r in reports)
    done = "would be made" if arguments.dry_run else f"written to {arguments.out}"
    _print_lines(found.sentences())
    part = f", {in_part} read in part" if in_part else ""
    print(f"{total[0]} episodes with {total[1]} steps {done}, from {len(reports)} bags; {refused} bags refused{part}")
    if arguments.json is not None:
        content = {"mapping": asdict(rules), "bags": [r.as_json() for r in reports]}
        try:
            arguments.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise AmRosError(f"--json {arguments.json}: cannot be written: {error.strerror}") from None
    return 1 if refused or in_part or not total[0] else 0


def export(arguments) -> int:
    """Write the data set, load it back, and say what is in it."""
    from am_ros.bags import lerobot

    action_space = configuration.from_flags(ActionSpace, arguments)
    options = lerobot.Options(arguments.repo_id, arguments.fps)
    done = lerobot.export(arguments.path, arguments.lerobot, action_space, options)
    print(done)
    return 0


def _print_episode(episode) -> None:
    outcome = "" if not episode.outcome else f"  {episode.outcome.name.lower()}"
    print(f"  {episode.name}: {episode.steps} steps, {episode.seconds:.1f} s, {episode.reason}{outcome}")


def _print_report(report) -> None:
    facts = report.as_json()
    if report.storage:
        print(f"{report.path}: {report.storage}, {report.duration_s:.1f} s")
        for topic, count in report.messages.items():
            print(f"  {count:8} messages on {topic}")
        print(
            f"  {report.images:8} images in episodes: {report.episodes} episodes, {report.steps} steps of "
            f"{100 * facts['step_median_m']:.1f} cm (median), {100 * facts['step_largest_m']:.1f} cm (largest)"
        )
    else:
        print(f"{report.path}:")
    for reason, count in report.dropped.most_common():
        print(f"  {count:8} {reason}")
        if reason in report.dropped.first:
            print(f"           first: {report.dropped.first[reason]}")
    _print_files(report.notes, report.lost)
    for clock in report.clocks:
        print(f"  clock: {clock}")
    if report.camera_offset is not None:
        print(f"  camera against tool: {report.camera_offset}")
    for doubt in report.doubts:
        print(f"  WARNING: {doubt}")
    if report.hint:
        print(f"  hint: {report.hint}")
    if report.problem:
        print(f"  REFUSED: {report.problem}")


def _print_files(notes: list[str], lost: list[str]) -> None:
    _print_lines([*(f"  note: {note}" for note in notes), *(f"  LOST: {what}" for what in lost)])


def _print_lines(lines: list[str]) -> None:
    for line in lines:
        print(line)


VERBS = {"topics": topics, "mapping": mapping, "ingest": ingest, "export": export}

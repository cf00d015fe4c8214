"""am-ros bags: look at, check, repair, draw and replay recorded episodes."""

import json
import sys
from collections import Counter
from pathlib import Path

from am_ros import configuration
from am_ros.action import ActionSpace
from am_ros.bags.episodes import read_episode
from am_ros.bags.finder import find, find_all
from am_ros.bags.labels import LABELS, label_in
from am_ros.bags.relabel import set_label
from am_ros.bags.rerun_log import show_in_rerun
from am_ros.bags.salvage import salvage
from am_ros.bags.strip import draw_strip
from am_ros.bags.verify import Report, summarize, verify
from am_ros.bags.writer import UNFINISHED
from am_ros.commands import foreign_bags
from am_ros.commands.worker_flags import add_worker_flags, workers_of
from am_ros.errors import AmRosError
from am_ros.workers import ProgressLine, at_most, run_in_order


def register(subparsers) -> None:
    """Add the verb and its own verbs."""
    parser = subparsers.add_parser("bags", help="look at, check, repair, draw and replay recorded episodes")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    verb = verbs.add_parser("info", help="a table of the bags in a folder, or all about one")
    verb.add_argument("path", type=Path, help="a bag, or a folder of bags")
    verb = verbs.add_parser("verify", help="check checksums, counts, stamps, images; exit code 1 if anything is wrong")
    verb.add_argument("path", type=Path, help="a bag, or a folder of bags")
    add_worker_flags(verb, "processes that read the bags")
    configuration.add_flags(verb, ActionSpace)
    verb = verbs.add_parser("salvage", help="make a proper bag of what is whole in an unfinished or damaged one")
    verb.add_argument("path", type=Path, nargs="+", help="a bag, an unfinished bag, or an .mcap file")
    verb.add_argument("--out", type=Path, help="folder of the new bags (default: `salvaged` beside the old one)")
    verb = verbs.add_parser("show", help="draw an episode as a picture, or open it in Rerun")
    verb.add_argument("path", type=Path, help="a bag")
    verb.add_argument("--out", type=Path, help="the PNG file (default: EPISODE.png here)")
    verb.add_argument("--rerun", action="store_true", help="open it in Rerun's viewer (pip install 'am_ros[rerun]')")
    verb.add_argument("--save", type=Path, help="with --rerun: write an .rrd file in place of opening the viewer")
    configuration.add_flags(verb, ActionSpace)
    verb = verbs.add_parser("label", help="say what episodes are worth; `am-ros train --labels` chooses by it")
    verb.add_argument("path", type=Path, nargs="+", help="bags, or folders of bags")
    verb.add_argument("label", choices=LABELS, help="what to write into their metadata")
    verb = verbs.add_parser("play", help="publish bags as topics (a ROS node)")
    verb.add_argument("path", type=Path, nargs="+", help="bags, or folders of bags")
    verb.add_argument("--rate", type=float, default=1.0, help="times the original speed; 0: as fast as possible")
    verb.add_argument("--subscribers", type=int, default=1, help="wait until each topic has so many (default 1)")
    foreign_bags.register(verbs)


def run(arguments) -> int:
    """Exit code: 0 all well, 1 a bag is not."""
    verbs = {"info": _info, "verify": _verify, "salvage": _salvage, "show": _show, "label": _label, "play": _play}
    return {**verbs, **foreign_bags.VERBS}[arguments.verb](arguments)


def _info(arguments) -> int:
    bags, passed = _bags_at(arguments.path)
    if bags == [arguments.path]:
        return _print_one(summarize(arguments.path))
    names = f"{'task':12} {'outcome':8} {'label':5} {'source':13} reason"
    print(f"{'bag':32} {'steps':>5} {'seconds':>8} {'MB':>7}  {names}")
    total: Counter[str] = Counter()
    damaged = 0
    for bag in bags:
        report = summarize(bag)
        total.update(bags=1, steps=report.steps, bytes=report.bytes)
        name = str(bag.relative_to(arguments.path))
        if report.info is None:
            print(f"{name:32} {report.problems[0]}")
            damaged += 1
            continue
        info = report.info
        print(
            f"{name:32} {report.steps:5} {report.duration_s:8.1f} {report.bytes / 1e6:7.2f}  {info.task:12} "
            f"{info.outcome.name.lower():8} {label_in(info.extra):5} {info.source:13} {info.reason}"
        )
    _print_lines(passed)
    print(f"{total['bags']} bags, {total['steps']} steps, {total['bytes'] / 1e6:.1f} MB")
    return 1 if damaged else 0


def _print_one(report: Report) -> int:
    print(f"{report.path}: {report.bytes / 1e6:.2f} MB, {report.duration_s:.1f} s, {report.steps} steps")
    if report.info is not None:
        fields = {k: v for k, v in vars(report.info).items() if k != "extra"}
        for name, value in {**fields, "outcome": report.info.outcome.name.lower(), **report.info.extra}.items():
            print(f"  {name}: {value}")
    for topic, count in sorted(report.counts.items()):
        print(f"  {count:7} on {topic}")
    _print_lines([f"  note: {note}" for note in report.notes])
    for problem in report.problems:
        print(f"  PROBLEM: {problem}")
    return 0 if report.ok else 1


def _verify(arguments) -> int:
    action_space = configuration.from_flags(ActionSpace, arguments)
    bags, passed = _bags_at(arguments.path)
    workers = at_most(workers_of(arguments), len(bags))
    jobs = ((bag, action_space) for bag in bags)
    progress = ProgressLine(sys.stderr, "verify", "bags") if len(bags) > 1 else None
    done = faulty = 0
    for bag, report in zip(bags, run_in_order(verify, jobs, workers, "bags verify", lambda job: str(job[0]))):
        done, faulty = done + 1, faulty + (not report.ok)
        if progress is not None:
            progress.clear()
        _print_lines([f"bag {bag}: note: {note}" for note in report.notes])
        for problem in report.problems:
            print(problem if problem.startswith("bag ") else f"bag {bag}: {problem}")
        if progress is not None:
            progress.show(done, len(bags))
    _print_lines(passed)
    print(f"{len(bags)} bags checked, {faulty} with problems")
    return 1 if faulty else 0


def _salvage(arguments) -> int:
    for path in arguments.path:
        result = salvage(path, arguments.out)
        what = f"{result.steps} complete steps" if result.steps else "no complete step, so no episode to learn from"
        ending = "" if result.complete else "; its end was lost"
        print(f"{result.path}: {result.messages} messages, {what}{ending}")
        for damage in result.damage:
            print(f"  {damage}")
    return 0


def _show(arguments) -> int:
    import cv2

    if arguments.rerun:
        print(show_in_rerun(arguments.path, arguments.save))
        return 0
    if arguments.save is not None:
        raise AmRosError("--save: needs --rerun; a picture goes to --out")
    action_space = configuration.from_flags(ActionSpace, arguments)
    episode = read_episode(arguments.path, action_space)
    out = arguments.out or Path(f"{episode.info.episode_id}.png")
    if out.suffix.lower() != ".png" or not cv2.imwrite(str(out), draw_strip(episode, action_space)[..., ::-1]):
        raise AmRosError(f"--out {out}: cannot be written as a PNG file")
    print(out)
    return 0


def _label(arguments) -> int:
    found = find_all(arguments.path)
    bags = found.bags
    for bag in bags:
        set_label(bag, arguments.label)
    _print_lines(found.sentences())
    print(f"{len(bags)} bags labelled {arguments.label}")
    return 0


def _play(arguments) -> int:
    from am_ros.nodes import bag_player

    parameters = {
        "bags": json.dumps([str(path) for path in arguments.path]),
        "rate": float(arguments.rate),
        "subscribers": arguments.subscribers,
    }
    return bag_player.main(
        ["--ros-args", *(a for name, value in parameters.items() for a in ("-p", f"{name}:={value}"))]
    )


def _bags_at(path: Path) -> tuple[list[Path], list[str]]:
    """The bags of a folder with the unfinished ones in it, for here it is asked what is wrong; or the one bag.

    And what else lies there, a sentence each.
    """
    if path.is_file() or path.name.endswith(UNFINISHED):
        return [path], []
    found = find(path)
    bags = sorted(found.bags + found.unfinished)
    for unfinished in found.unfinished:
        del found.passed[unfinished]
    if not bags:
        raise AmRosError("; ".join([f"bag folder {path}: holds no bag", *found.sentences()]))
    return bags, found.sentences()


def _print_lines(lines: list[str]) -> None:
    for line in lines:
        print(line)

"""am-ros store: make a replay store of bags, put it at a URL, check it."""

import sys
from pathlib import Path

from am_ros.action import ActionSpace
from am_ros.bags.labels import LABELS, check_labels
from am_ros.errors import AmRosError
from am_ros.replay import elsewhere
from am_ros.replay.from_bags import ingest
from am_ros.replay.shard import JPEG, PNG, RAW
from am_ros.replay.store import SHARD_MB, ReplayStore
from am_ros.storage.remote import is_url, place
from am_ros.workers import ProgressLine


def register(subparsers) -> None:
    """Add the parsers."""
    parser = subparsers.add_parser("store", help="replay stores: make one of bags, put it at a URL, check it")
    verbs = parser.add_subparsers(dest="verb", required=True)
    build = verbs.add_parser("build", help="make a replay store of bags, or add to one")
    build.add_argument("bags", type=place, nargs="+", help="bags or folders of bags, or their URL")
    build.add_argument("--out", type=Path, required=True, help="folder of the store")
    build.add_argument("--image-size", type=int, default=64, help="pixels (default 64)")
    build.add_argument(
        "--images", choices=(RAW, PNG, JPEG), default=RAW,
        help="how images are kept: raw; png: the bag's file where it has this size, else a PNG: the same pixels; "
        "jpeg: else a JPEG: about the same pixels",
    )  # fmt: skip
    build.add_argument("--shard-mb", type=float, default=SHARD_MB, help=f"size of a shard (default {SHARD_MB})")
    build.add_argument("--labels", nargs="+", default=LABELS, metavar="LABEL", help="only bags with these labels")
    build.add_argument("--workers", type=int, default=1, help="processes that read the bags (default 1)")
    build.set_defaults(act=_build)
    push = verbs.add_parser("push", help="copy the closed shards of a store that are not there yet to a URL")
    push.add_argument("store", type=Path)
    push.add_argument("url", help="for instance s3://bucket/name")
    push.set_defaults(act=_push)
    check = verbs.add_parser("check", help="read a store and compare it with its checksums")
    check.add_argument("store", type=place, help="folder or URL")
    check.set_defaults(act=_check)


def run(arguments) -> int:
    """Do what was asked for."""
    return arguments.act(arguments)


def _build(arguments) -> int:
    store = ReplayStore.open_or_create(
        arguments.out, (arguments.image_size,) * 2, arguments.images, arguments.shard_mb
    )
    refused, labels = 0, check_labels(arguments.labels)
    for bags in arguments.bags:
        line = ProgressLine(sys.stderr, "reading", "bags").show
        report = ingest(bags, store, ActionSpace(), line, labels=labels, workers=arguments.workers)
        refused += len(report.refused)
        for sentence in [*report.refused.values(), *report.passed]:
            print(sentence, file=sys.stderr)
    store.close_shard()
    print(f"{arguments.out}: {len(store.episodes)} episodes, {len(store)} transitions, {refused} bags refused")
    return 1 if refused else 0


def _push(arguments) -> int:
    if not is_url(arguments.url):
        raise AmRosError(f"{arguments.url}: is no URL; a folder is copied as any other")
    store = ReplayStore.open(arguments.store)
    store.close_shard()
    count = elsewhere.push(arguments.store, arguments.url, ProgressLine(sys.stderr, "push", "shards").show)
    print(f"{arguments.url}: {count} shards put there")
    return 0


def _check(arguments) -> int:
    store = ReplayStore.open(arguments.store)
    before = len(store.episodes)
    damaged = store.check()
    for sentence in damaged:
        print(sentence)
    print(f"{arguments.store}: {len(store.episodes)} of {before} episodes are whole, {len(damaged)} shards damaged")
    return 1 if damaged else 0

"""am-ros train: learn from a folder of bags, without ROS."""

import dataclasses
import json
import sys
import threading
from pathlib import Path

from am_ros.action import ActionSpace
from am_ros.bags.labels import LABELS, check_labels
from am_ros.commands.learner_flags import add_learner_flags, learner_config
from am_ros.errors import AmRosError
from am_ros.evaluation.curves import learning_curve
from am_ros.evaluation.outputs import check_file
from am_ros.learning.group import launched
from am_ros.learning.keeper import start_network
from am_ros.learning.parallel import train
from am_ros.learning.progress import Progress
from am_ros.learning.recipes import RECIPES, find_recipe
from am_ros.learning.trainer import Trainer
from am_ros.learning.trainer_config import CLONING
from am_ros.replay.from_bags import ingest
from am_ros.replay.store import ReplayStore
from am_ros.signals import held_back
from am_ros.storage.remote import Place, is_url, place
from am_ros.workers import ProgressLine

SIGNAL_COMES_S = 10.0  # torchrun looks every 0.1 s whether a machine waits, on a machine that others use, too


def register(subparsers) -> None:
    """Add the parser; one flag per field of the learner's configuration."""
    parser = subparsers.add_parser("train", help="learn from a folder of bags, without ROS")
    parser.add_argument(
        "bags", type=place, nargs="*", help="bags or folders of bags, or their URL (or a replay store in --out)"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for store, checkpoint, metrics; resumed if used"
    )
    parser.add_argument(
        "--recipe", default="default", help=f"where the flags below start from: {', '.join(RECIPES)} (default: default)"
    )
    parser.add_argument(
        "--replay", type=place,
        help="folder of the replay store (default: OUT/replay); under torchrun each machine then reads its own bags; "
        "or the URL of a store that is learned from as it is",
    )  # fmt: skip
    parser.add_argument("--start-from", type=Path, help="checkpoint whose weights are the first ones")
    parser.add_argument(
        "--labels", nargs="+", default=LABELS, metavar="LABEL",
        help=f"learn from bags with these labels only: {', '.join(LABELS)} (default: all)",
    )  # fmt: skip
    parser.add_argument("--workers", type=int, default=1, help="processes that read the bags (default 1)")
    parser.add_argument("--json", type=Path, help="write what was learned from, and how fast, to this file")
    add_learner_flags(parser)


def run(arguments) -> int:
    """Ingest, train with progress on stderr, draw the curve."""
    recipe, labels = find_recipe(arguments.recipe), check_labels(arguments.labels)
    recipe = dataclasses.replace(recipe, network=start_network(arguments.start_from, recipe.network))
    config = learner_config(arguments, recipe)
    action_space, launch = ActionSpace(), launched()
    folder = arguments.replay or arguments.out / "replay"
    # One process writes a store: the first of all where it is shared, else the first of each machine.
    if launch is not None and (launch.local_rank if arguments.replay else launch.rank):
        return _learn(config, folder, arguments, action_space)[0]
    if arguments.json and (launch is None or not launch.rank):
        check_file(arguments.json, "json")
    if is_url(folder):
        if arguments.bags:
            raise AmRosError(f"{folder}: a replay store at a URL is learned from as it is; leave the bags out")
        store = ReplayStore.open(folder)
    elif config.network.preset == "state":
        if arguments.bags:
            raise AmRosError("preset state: learns from vectors, bags hold images; for arrays see docs/library.md")
        store = ReplayStore.open(folder)
    else:
        store = ReplayStore.open_or_create(folder, (config.network.image_size,) * 2)
    refused = 0
    for bags in arguments.bags:
        reading = ProgressLine(sys.stderr, "reading", "bags").show
        report = ingest(bags, store, action_space, reading, labels=labels, workers=arguments.workers)
        refused += len(report.refused)
        for sentence in report.refused.values():
            _say(f"refused: {sentence}")
        for bag, name in report.renamed.items():
            _say(f"bag {bag}: another episode has its name: taken as {name}")
        for sentence in report.passed:
            _say(sentence)
        left_out = f", {report.left_out} left out by label" if report.left_out else ""
        _say(f"{bags}: {report.added} episodes added, {report.known} known, {len(report.refused)} refused{left_out}")
        if report.relabelled:
            _say(f"{bags}: {report.relabelled} of those left out are in {store.folder} already: use another --out")
    if not is_url(folder):
        store.close_shard()  # from now on its bytes are checked when they are read
    if not len(store):
        raise AmRosError(f"{folder if is_url(folder) else folder.parent}: there is no episode to learn from")
    _say(f"{len(store.episodes)} episodes, {len(store)} transitions")
    _say(f"the training ends after {config.trainer.limits}")
    code, progress, trainer = _learn(config, folder, arguments, action_space)
    if code or trainer.group.rank:
        return code
    _say(f"\n{progress}")
    for folder in (arguments.out / CLONING, arguments.out):
        if (folder / "metrics.csv").exists():
            learning_curve(folder / "metrics.csv", folder / "learning_curve.png")
    if arguments.json:
        result = {
            **dataclasses.asdict(progress), "trained_s": trainer.trained_s, "episodes": len(store.episodes),
            "transitions": len(store), "refused": refused, "data_hash": store.data_hash,
        }  # fmt: skip
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    _say(f"checkpoint: {trainer.checkpoint_folder}")
    return 0


def _learn(config, folder: Place, arguments, action_space: ActionSpace) -> tuple[int, Progress, Trainer]:
    """Train until it is over or a signal comes: (exit code, last Progress, trainer).

    Where torchrun starts the processes again because a machine joins or leaves, it stops each of them by a signal. The
    first one that gets it stops all after the same update, with a checkpoint. The others then wait for theirs: one that
    leaves before would tell its torchrun that the training is over.
    """
    trainers: list[Trainer] = []
    stopped = threading.Event()

    def stop() -> None:
        stopped.set()
        for trainer in trainers:
            trainer.stop()

    def begins(trainer) -> None:
        trainers.append(trainer)
        if launched() and not trainer.group.rank:
            _say(f"goes on from update {trainer.update}, processes: {trainer.group.size}")
        if stopped.is_set():
            trainer.stop()

    try:
        with held_back(stop):
            progress = train(config, folder, arguments.out, action_space, _show, begins, arguments.start_from)
            if launched() and progress.ended == "stopped" and not stopped.wait(SIGNAL_COMES_S):
                _say(f"update {progress.update}: another process of this training was stopped, and all with it")
                return 1, progress, trainers[-1]
    except KeyboardInterrupt:
        if not trainers or not trainers[0].group.rank:
            kept = trainers[-1].checkpoint_folder if trainers else arguments.out / "checkpoint"
            _say(f"\ninterrupted; {kept} holds the last checkpoint")
        raise
    return 0, progress, trainers[-1]


def _show(progress) -> None:
    _say(str(progress), end="\r" if sys.stderr.isatty() else "\n")


def _say(text: str, end: str = "\n") -> None:
    print(text, end=end, file=sys.stderr, flush=True)

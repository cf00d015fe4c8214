"""am-ros collect: episodes of noisy scripted experts in the simulated cell, or of a policy, as bags."""

import json
import shlex
import sys
import time
from collections import Counter
from pathlib import Path

from am_ros.commands.shared_flags import add_tasks_flag, add_variety_flag, find_tasks
from am_ros.commands.worker_flags import add_worker_flags, workers_of
from am_ros.configuration import add_flags, from_flags
from am_ros.episode import Outcome
from am_ros.errors import AmRosError
from am_ros.evaluation.outputs import check_file
from am_ros.sim.camera import CameraConfig
from am_ros.sim.collect import RECORD, Collection, collect
from am_ros.sim.dataset_card import README
from am_ros.sim.depot import Depot
from am_ros.sim.episodes import Mixture, fixed_noise
from am_ros.sim.split import PARTS, parse_split
from am_ros.sim.workcell import SimConfig
from am_ros.storage.remote import below, is_url, place
from am_ros.workers import ProgressLine


def register(subparsers) -> None:
    """Add the parser."""
    parser = subparsers.add_parser("collect", help="write bags of noisy scripted experts in the simulated cell")
    add_tasks_flag(parser)
    parser.add_argument("--episodes", type=int, default=1000, help="of each task (default 1000)")
    parser.add_argument("--out", type=place, required=True, help="folder or URL; what lies there is kept and counted")
    add_worker_flags(parser)
    parser.add_argument("--seed", type=int, default=0, help="of scenes and noise (default 0)")
    parser.add_argument("--image-size", type=int, default=CameraConfig.image_size, help="pixels (default 64)")
    add_variety_flag(parser)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument(
        "--split",
        metavar=",".join(PARTS),
        help="cut each episode where the object is lifted, into bags that nothing connects",
    )
    parser.add_argument(
        "--policy", help="a checkpoint acts as in a trial, on the scenes that the experts of the same --seed had"
    )
    parser.add_argument("--noise", type=float, help="the same noise in all episodes: 0 expert ... 1 random")
    add_flags(parser.add_argument_group("mixture, unless --noise is given"), Mixture)


def run(arguments) -> int:
    """Collect, show progress, print the figures."""
    if arguments.noise is not None and not 0 <= arguments.noise <= 1:
        raise AmRosError(f"parameter noise: {arguments.noise} is outside 0 ... 1")
    mixture = from_flags(Mixture, arguments) if arguments.noise is None else fixed_noise(arguments.noise)
    tasks = find_tasks(arguments.task)
    sim = from_flags(SimConfig, arguments, camera=from_flags(CameraConfig, arguments))
    parts = () if arguments.split is None else parse_split(arguments.split)
    url = arguments.out if is_url(arguments.out) else ""
    if arguments.policy:
        return _trials(arguments, tasks, sim)
    out = Depot(url).folder if url else arguments.out
    collection = Collection(tasks, arguments.episodes, out, arguments.seed, mixture, sim, parts, url)
    if arguments.json:
        check_file(arguments.json, "json")
    command = "am-ros " + shlex.join(sys.argv[1:])
    progress = ProgressLine(sys.stderr, "collect", "episodes").show
    figures = collect(collection, workers_of(arguments), progress, command)
    present = figures["episodes"] - figures["new_episodes"]
    print(f"{figures['new_episodes']} episodes collected, {present} were there; {figures['new_steps']} steps, "
          f"{figures['steps_per_s']} per second")  # fmt: skip
    for task, figure in figures["tasks"].items():
        if figure["episodes"]:
            print(f"  {task}: {figure['success_rate']:.0%} of {figure['episodes']} episodes reached the goal")
    print(f"{below(arguments.out, README)} describes the data set")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


def _trials(arguments, tasks: tuple[str, ...], sim: SimConfig) -> int:
    """Episodes of a policy, a folder for each task; those that are there count."""
    # torch, which takes seconds to load and no expert needs
    from am_ros.evaluation.policy_episodes import AS_IN_A_TRIAL, PolicyRound, collect_round
    from am_ros.learning import checkpoint

    for name, given in (("split", arguments.split), ("noise", arguments.noise), ("out", is_url(arguments.out))):
        if given is not None and given is not False:
            raise AmRosError(f"parameter {name}: {getattr(arguments, name)} does not go with --policy")
    experts = Collection(tasks, arguments.episodes, arguments.out, arguments.seed, sim=sim)  # whose scenes they are
    if (arguments.out / RECORD).exists():
        raise AmRosError(f"out {arguments.out}: holds episodes of experts; give a policy's a folder of their own")
    if arguments.json:
        check_file(arguments.json, "json")
    weights = checkpoint.load(arguments.policy).meta["files"]["model"]
    progress, began = ProgressLine(sys.stderr, "collect", "episodes"), time.monotonic()
    figures: dict[str, dict] = {}
    for number, task in enumerate(tasks):
        folder = arguments.out / task
        what = PolicyRound(task, Path(arguments.policy), weights, AS_IN_A_TRIAL, sim, folder, experts.scene(0))
        ends = []
        for facts in collect_round(what, arguments.episodes, workers_of(arguments)):
            ends.append(facts.info)
            done = number * arguments.episodes + len(ends)
            progress.show(done, len(tasks) * arguments.episodes, task)
        reached = sum(info.outcome == Outcome.SUCCESS for info in ends)
        figures[task] = {"episodes": len(ends), "reached": reached, "ends": dict(Counter(info.reason for info in ends))}
    for task, figure in figures.items():
        print(f"  {task}: {figure['reached']} of {figure['episodes']} episodes reached the goal; {figure['ends']}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"tasks": figures, "wall_s": time.monotonic() - began}, indent=2) + "\n")
    return 0

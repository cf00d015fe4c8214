"""What the choices of the method are worth, measured where an update is cheap: on vectors in place of images.

    python benchmarks/vector_study.py collect --task pick_place --episodes 3000 --workers 2 --out runs/vectors
    python benchmarks/vector_study.py run runs/vectors --updates 20000 --seeds 3 --workers 2 --out runs/vector_study
    python benchmarks/vector_study.py table runs/vector_study --json docs/data/vector_study.json

    python benchmarks/vector_study.py run runs/bottle --task grasp_bottle --variants qt_opt --episodes 300 \
        --start-from runs/foods/q_alone_8000/0/checkpoint --out runs/bottle_study       # fine-tune on 300 episodes

The task `fixture_in_place` is known here alone: fixture_placing with the fixture always at the same place, so that what
was seen in one scene can be a goal in another one.

Choices are made on other scenes (`--first-scene`) than those of the figures.

A variant is the recipe that its name begins with and the fields that follow, `best,method.gamma=0.9`. What ran already
is not run again. Every variant is judged on the same scenes, as it acts by default and, if that is something else, by
a search over Q alone; one with a cloning head by that, too.
"""

import argparse
import json
import math
import shutil
import sys
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path

import numpy as np
from output import output_file

from am_ros import configuration
from am_ros.episode import EpisodeInfo, Outcome
from am_ros.errors import AmRosError
from am_ros.evaluation.actors import ActorConfig
from am_ros.evaluation.statistics import summarise
from am_ros.evaluation.trials import TrialPlan, run_trials
from am_ros.evaluation.ways import ways_to_act
from am_ros.learning.recipes import find_recipe
from am_ros.learning.trainer import Trainer
from am_ros.learning.trainer_config import LearnerConfig
from am_ros.replay.arrays import Rows
from am_ros.replay.store import ReplayStore
from am_ros.sim.episodes import Mixture
from am_ros.sim.scene import Scenario, tool_down, upright
from am_ros.sim.tasks import TASKS, layout
from am_ros.sim.tasks.fixture_placing import MAX_WAY_M, MIN_WAY_M, START_LOW_M, FixturePlacing
from am_ros.sim.vectors import VECTOR_SIZE, collect_vectors
from am_ros.workers import ProgressLine, run_jobs

FIRST_SCENE = 3000


class FixtureInPlace(FixturePlacing):
    """fixture_placing with one place of the fixture for all scenes."""

    name = "fixture_in_place"
    place_m = (0.56, 0.0, layout.BLOCK_REST_M)  # of the block in it

    def draw(self, rng: np.random.Generator) -> Scenario:
        """A random arm above a random block, a step or two away from the fixture."""
        tool, tool_yaw = layout.draw_tool(rng, (*layout.TOOL_LOW_M[:2], START_LOW_M))
        block = layout.draw_block(rng)
        while not MIN_WAY_M <= math.dist(block, self.place_m) <= MAX_WAY_M:
            block = layout.draw_block(rng)
        yaw = rng.uniform(-math.pi / 4, math.pi / 4)
        return self.arranged(tool_down(tool, tool_yaw), upright(block, yaw), self.place_m, 0.0)


TASKS[FixtureInPlace.name] = FixtureInPlace()


def variant(name: str, updates: int, seed: int) -> LearnerConfig:
    """The configuration of a variant."""
    recipe, *changes = name.split(",")
    config = find_recipe(recipe)
    network = replace(config.network, preset="state", observation_size=VECTOR_SIZE, width=128)
    trainer = replace(config.trainer, updates=updates, seed=seed)
    made = changed(replace(config, network=network, trainer=trainer), changes, name)
    made.check_prior(config)
    return made.settled()


def changed(config: LearnerConfig, changes: list[str], name: str) -> LearnerConfig:
    """`config` with each change `part.field=value`; `name` is the variant's, for what cannot be."""
    for change in changes:
        path, _, text = change.partition("=")
        config = _changed(config, path.split("."), text, name)
    configuration.check(config)
    return config


def _changed(config, path: list[str], text: str, name: str):
    """`config` with the field at that path set to what the text says."""
    if path[0] not in {f.name for f in fields(config)}:
        raise AmRosError(f"variant {name}: there is no field {path[0]}")
    old = getattr(config, path[0])
    if is_dataclass(old):
        return replace(config, **{path[0]: _changed(old, path[1:], text, name)})
    value = text == "true" if isinstance(old, bool) else type(old)(text)
    return replace(config, **{path[0]: value})


@dataclass(frozen=True)
class Study:
    """What all variants of a study share."""

    data: Path
    out: Path
    updates: int
    tasks: tuple[str, ...]
    trials: int
    episodes: int | None = None  # only the first ones of the data
    start_from: Path | None = None
    first_scene: int = FIRST_SCENE


def first_episodes(store: ReplayStore, count: int, folder: Path) -> ReplayStore:
    """A store of the first episodes of another one."""
    part = ReplayStore.create_for_vectors(folder, *store.observation_shape, store.action_dim)
    rows = []
    for entry in store.episodes[:count]:
        first, last = entry["first"], entry["first"] + entry["steps"]
        info = EpisodeInfo(entry["id"], entry["task"], seed=entry["seed"], outcome=Outcome(entry["outcome"]))
        seen = slice(first, last + 1)
        rows.append(Rows(info, store.observations[seen], store.states[seen], store.actions[first:last]))
    part.append_rows(rows)
    return part


def run_one(name: str, seed: int, study: Study) -> dict:
    """Train and judge one variant with one seed; the figures are kept in a file of their own."""
    updates, tasks, trials = study.updates, study.tasks, study.trials
    label = f"{name} from {study.start_from}" if study.start_from else name
    suffix = "" if study.episodes is None else f"_{study.episodes}episodes"
    suffix += "_started" if study.start_from else ""
    folder = study.out / f"{name.replace(',', '+')}_{updates}{suffix}" / str(seed)
    result = folder / "result.json"
    if result.exists():
        return json.loads(result.read_text())
    config = variant(name, updates, seed)
    store = ReplayStore.open(study.data)
    if study.episodes is not None:
        shutil.rmtree(folder / "replay", ignore_errors=True)
        store = first_episodes(store, study.episodes, folder / "replay")
    trainer = Trainer(config, folder, start_from=study.start_from)
    trainer.fit(store)
    checkpoint = str(folder / "checkpoint")
    figures = {}
    for actor, search in ways_to_act(config.acting, config.method.method, config.network.behaviour_prior).items():
        plan = TrialPlan(ActorConfig(checkpoint, search=search), tasks, trials, study.first_scene, variety=0.0)
        for task, summary in summarise(list(run_trials([plan]))).items():
            key = actor if len(tasks) == 1 else f"{actor}/{task}"
            figures |= {key: summary["success_rate"], f"{key}_once": summary["success_once_rate"]}
            figures[f"{key}_terminated"] = summary["ends"].get("terminated", 0) / trials
    answer = {
        "variant": label,
        "episodes": len(store.episodes),
        "seed": seed,
        "updates": updates,
        "updates_per_s": round(updates / trainer.trained_s, 1),
        "minutes": round(trainer.trained_s / 60, 1),
        "trials": trials,
        **figures,
    }
    result.write_text(json.dumps(answer | {"config": asdict(config)}, indent=2) + "\n")
    return answer


def results(out: Path) -> list[dict]:
    """The figures of every run in the folder."""
    found = [json.loads(path.read_text()) for path in sorted(out.glob("*/*/result.json"))]
    return [{name: value for name, value in one.items() if name != "config"} for one in found]


def table(out: Path) -> str:
    """Mean over the seeds and their range, a line per variant."""
    rows: dict[tuple, list[dict]] = {}
    for one in results(out):
        rows.setdefault((one["variant"], one.get("episodes"), one["updates"]), []).append(one)
    kinds = ("as_it_acts", "q_alone", "prior")
    columns = sorted({c for runs in rows.values() for r in runs for c in r if c.split("/")[0] in kinds})
    columns = [c for c in columns if not c.endswith(("_once", "_terminated"))]
    lines = ["| variant | episodes | updates | seeds | " + " | ".join(columns) + " |"]
    lines.append("|---" * (4 + len(columns)) + "|")
    for (name, episodes, updates), runs in rows.items():
        cells = [_cell([r[c] for r in runs if c in r]) for c in columns]
        lines.append(f"| {name} | {episodes} | {updates} | {len(runs)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(values: list[float]) -> str:
    if not values:
        return ""
    mean = f"{sum(values) / len(values):.0%}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.0%} ... {max(values):.0%})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    collecting = verbs.add_parser("collect")
    collecting.add_argument("--task", default="pick_place")
    collecting.add_argument("--episodes", type=int, default=3000)
    collecting.add_argument("--seed", type=int, default=11)
    collecting.add_argument("--workers", type=int, default=1)
    collecting.add_argument("--split", action="store_true", help="cut episodes where the object is lifted")
    configuration.add_flags(collecting, Mixture)
    collecting.add_argument("--out", type=Path, required=True)
    running = verbs.add_parser("run")
    running.add_argument("data", type=Path)
    running.add_argument("--variants", nargs="+", default=["best"])
    running.add_argument("--updates", type=int, default=20000)
    running.add_argument("--seeds", type=int, default=3)
    running.add_argument("--workers", type=int, default=1)
    running.add_argument("--task", default="pick_place", help="one, or several separated by commas")
    running.add_argument("--episodes", type=int, help="only the first ones of the data")
    running.add_argument("--start-from", type=Path, help="checkpoint whose weights are the first ones")
    running.add_argument("--trials", type=int, default=100, help="per task")
    running.add_argument("--first-scene", type=int, default=FIRST_SCENE, help="of the evaluation set")
    running.add_argument("--out", type=Path, required=True)
    showing = verbs.add_parser("table")
    showing.add_argument("out", type=Path)
    showing.add_argument("--json", type=output_file, help="write every run's figures to this file")
    a = parser.parse_args()
    if a.verb == "collect":
        show = ProgressLine(sys.stderr, "collect", "episodes").show
        tasks = tuple(a.task.split(","))
        mixture = configuration.from_flags(Mixture, a)
        store = collect_vectors(tasks, a.episodes, a.out, a.seed, mixture, a.workers, a.split, show)
        print(json.dumps(store.summary(), indent=2))
    elif a.verb == "run":
        for name in a.variants:
            variant(name, a.updates, 0)  # what cannot be is said before anything runs
        tasks = tuple(a.task.split(","))
        study = Study(a.data, a.out, a.updates, tasks, a.trials, a.episodes, a.start_from, a.first_scene)
        jobs = [(n, s, study) for s in range(a.seeds) for n in a.variants]
        for done in run_jobs(run_one, jobs, a.workers, "study"):
            print({k: v for k, v in done.items() if k != "config"}, flush=True)
        print(table(a.out))
    else:
        print(table(a.out))
        if a.json:
            a.json.write_text("[\n" + ",\n".join(json.dumps(one) for one in results(a.out)) + "\n]\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""am-ros demo: the whole loop on the simulated cell - record, learn, act, judge - every part as its own process."""

import json
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from am_ros.cell.environment import child_environment
from am_ros.configuration import add_flags, from_flags, parameter
from am_ros.errors import AmRosError

OFFLINE_SCENES = 1000  # the first of them: no scene of the trials through the nodes


@dataclass(frozen=True)
class DemoConfig:
    """How much of everything; the defaults fit into 15 minutes on two cores, set-up included."""

    recorded_episodes: int = parameter(8, "episodes recorded through the nodes, per task", range=(1, 10_000))
    reach_episodes: int = parameter(800, "further episodes of reach, written by the collector", range=(0, 1_000_000))
    pick_place_episodes: int = parameter(1500, "further episodes of pick_place", range=(0, 1_000_000))
    # In minutes the cloning head learns most, and it takes after its demonstrators: fewer random and half episodes
    # than `am-ros collect` has.
    random_share: float = parameter(0.1, "share of collected episodes that act at random", range=(0.0, 1.0))
    lift_share: float = parameter(0.1, "share of collected episodes that end after the lift", range=(0.0, 1.0))
    noise_high: float = parameter(0.5, "most noise of the other collected episodes", range=(0.0, 1.0))
    recipe: str = parameter("best", "what is learned, and how: a recipe of `am-ros train`")
    train_minutes: float = parameter(7.0, "minutes of training", range=(0.05, 10_000.0))
    reach_trials: int = parameter(20, "goals to reach with the arm", range=(1, 10_000))
    pick_place_trials: int = parameter(20, "goals to reach with the block", range=(0, 10_000))
    # Too few trials to tell two rates apart: these follow without the nodes, which takes a tenth of the time.
    offline_trials: int = parameter(
        100, "further goals of the last task, without the nodes: by the model, and by its cloning head alone",
        range=(0, 10_000),
    )  # fmt: skip
    # Light, colours and a camera that differ from scene to scene take more data and time than the demo has.
    variety: float = parameter(0.0, "how far they differ: 0 not at all ... 1", range=(0.0, 1.0))
    real_time_factor: float = parameter(3.0, "speed of the simulated cell", range=(0.1, 10.0))
    samples: int = parameter(0, "CEM: candidates per iteration when acting; 0: the checkpoint's", range=(0, 4096))
    iterations: int = parameter(0, "CEM: refits when acting; 0: the checkpoint's", range=(0, 20))
    workers: int = parameter(2, "processes of the collector and of the trainer", range=(1, 256))


def register(subparsers) -> None:
    """Add the parser."""
    parser = subparsers.add_parser("demo", help="record, learn, reach goals: the whole loop on the simulated cell")
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder for everything (default runs/demo)")
    add_flags(parser, DemoConfig)


def run(arguments) -> int:
    """Run the stages; what an earlier call left in the folder is used again."""
    demo = Demo(arguments.out.resolve(), from_flags(DemoConfig, arguments))
    return demo.run()


class Demo:
    """The stages of the demo over one output folder."""

    def __init__(self, out: Path, config: DemoConfig):
        self.out, self.config = out, config
        self.began = time.monotonic()
        self.bags, self.goals, self.pictures = out / "bags", out / "goals", out / "pictures"
        self.checkpoint = out / "checkpoint"
        self.tasks = ("reach", "pick_place") if config.pick_place_trials else ("reach",)
        self.collected = {task: getattr(config, f"{task}_episodes") for task in self.tasks}
        self.out.mkdir(parents=True, exist_ok=True)

    def run(self) -> int:
        """Record, learn, act and judge; exit code 0."""
        self.record()
        self.collect()
        training = self.learn()
        summary = self.judge(training) | self.compare()
        summary["wall_s"] = round(time.monotonic() - self.began, 1)
        (self.out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
        self.say(f"done in {summary['wall_s']:.0f} s; everything is in {self.out}")
        command = [str(Path(sys.executable).parent / "am-ros"), "page", str(self.out)]
        self.say(f"look at it in a browser: {shlex.join(command)}")
        return 0

    def record(self) -> None:
        """Noisy scripted episodes through the nodes, each logged into a bag of its own."""
        from am_msgs.action import RunExpert

        from am_ros.sim.tasks import find_task, train_seed

        recorded = self.bags / "recorded"
        wanted = self.config.recorded_episodes * len(self.tasks)
        if _count_bags(recorded) >= wanted:
            self.say(f"record: {wanted} episodes are there already")
            return
        recorded.mkdir(parents=True, exist_ok=True)
        self.say(f"record: {wanted} episodes through the nodes")
        with self.cell("record", expert=True) as (_, client):
            for number in range(_count_bags(recorded), wanted):
                task = self.tasks[number % len(self.tasks)]
                noise = (0.0, 0.2, 0.4, 0.6)[number // len(self.tasks) % 4]
                goal = client.send_goal(
                    RunExpert,
                    "scripted_expert/run_expert",
                    timeout_s=30.0,
                    task=task,
                    seed=train_seed(10**9 + number),
                    noise=noise,
                )
                result = goal.result(timeout_s=20.0 * find_task(task).max_steps)
                if not result.success:
                    raise AmRosError(f"scripted_expert: {result.message}")
                word = "reached" if result.reached else "missed"
                self.say(f"record: {number + 1}/{wanted} {task}, noise {noise}: {result.steps} steps, {word}")
            _wait_for(
                lambda: _count_bags(recorded) >= wanted, 10.0, f"{recorded}: fewer than {wanted} bags were closed"
            )

    def collect(self) -> None:
        """The bulk of the data: the same bags, written in parallel without going through DDS."""
        for task, episodes in self.collected.items():
            self.say(f"collect: {episodes} {task} episodes")
            self._call(
                "collect",
                "--task",
                task,
                "--episodes",
                episodes,
                "--workers",
                self.config.workers,
                "--seed",
                0,
                "--random-share",
                self.config.random_share,
                "--lift-share",
                self.config.lift_share,
                "--noise-high",
                self.config.noise_high,
                "--variety",
                self.config.variety,
                "--out",
                self.bags / "collected" / task,
            )

    def learn(self) -> dict:
        """Trainer node: takes the collected bags from their folder and the recorded ones as replayed topics."""
        from am_msgs.msg import TrainingMetrics

        from am_ros.cell.graph import NodeSpec
        from am_ros.cell.supervisor import Supervisor
        from am_ros.evaluation.curves import learning_curve
        from am_ros.ros.introspection.client import RosClient
        from am_ros.ros.node.common import RELIABLE_QOS

        training, report = self.out / "training", self.out / "training" / "trained.json"
        if report.exists() and self.checkpoint.exists():
            self.say("learn: the model is there already")
            return json.loads(report.read_text())
        recorded = self.config.recorded_episodes * len(self.tasks)
        episodes = recorded + sum(self.collected.values())
        trainer = NodeSpec(
            "trainer",
            parameters={
                "out": str(training),
                "bags": str(self.bags / "collected") if any(self.collected.values()) else "",
                "min_episodes": episodes,
                "recipe": self.config.recipe,
                "minutes": self.config.train_minutes,
                "processes": self.config.workers,
            },
        )
        with Supervisor([trainer], self.out / "log" / "learn") as cell, RosClient("demo") as client:
            metrics = client.receive(TrainingMetrics, "trainer/metrics", RELIABLE_QOS)
            self.say(f"learn: replaying {recorded} bags as topics, reading the others from their folder")
            self._call("bags", "play", self.bags / "recorded", "--rate", 0)
            shown, patience = 0.0, time.monotonic() + 300
            while not (metrics and metrics[-1].done):
                cell.check()
                time.sleep(0.2)
                if not metrics and time.monotonic() > patience:
                    log = self.out / "log" / "learn" / "trainer.log"
                    raise AmRosError(f"trainer: fewer than {episodes} episodes came in within 300 s; see {log}")
                if metrics and time.monotonic() - shown > 10:
                    shown, last = time.monotonic(), metrics[-1]
                    part = f"{last.part}: " if last.part else ""
                    self.say(
                        f"learn: {part}update {last.update}, {last.updates_per_s:.1f}/s, data wait "
                        f"{last.data_wait_share:.0%}, {last.seconds_left:.0f} s left"
                    )
            last = metrics[-1]
        shutil.copytree(training / "checkpoint", self.checkpoint, dirs_exist_ok=True)
        learning_curve(training / "metrics.csv", self.pictures / "learning_curve.png")
        result = {
            "updates": last.update,
            "updates_per_s": last.updates_per_s,
            "episodes": last.episodes,
            "transitions": last.transitions,
            "data_wait_share": last.data_wait_share,
        }
        report.write_text(json.dumps(result))
        return result

    def judge(self, training: dict) -> dict:
        """Trials through the nodes: goal images by the registry, actions by the policy server, truth by the cell."""
        from am_msgs.srv import LoadCheckpoint

        from am_ros.evaluation.pictures import contact_sheet, overview
        from am_ros.evaluation.statistics import percentiles, summarise, table
        from am_ros.ros.trials import RosTrials

        shutil.rmtree(self.goals, ignore_errors=True)
        counts = {"reach": self.config.reach_trials, "pick_place": self.config.pick_place_trials}
        trials = []
        with self.cell("judge") as (cell, client):
            loaded = client.call(
                LoadCheckpoint, "policy_server/load_checkpoint", path=str(self.checkpoint.absolute()), timeout_s=30
            )
            if not loaded.success:
                raise AmRosError(f"policy_server/load_checkpoint: {loaded.message}")
            runner = RosTrials(client)
            for task in self.tasks:
                for scene in range(counts[task]):
                    cell.check()
                    trial = runner.run(task, scene, goal_id=f"{task}_{scene:02d}")
                    trials.append(trial)
                    contact_sheet(trial, self.pictures / f"{task}_{scene:02d}.png")
                    done = [t for t in trials if t.task == task]
                    word = "reached" if trial.success else "missed"
                    self.say(
                        f"judge: {task} {scene + 1}/{counts[task]}: {word}, {trial.distance_m * 100:.1f} cm, "
                        f"{trial.steps} steps, {trial.end}; so far {sum(t.success for t in done)}/{len(done)}"
                    )
            published, received = runner.count_images()
        for task in self.tasks:
            overview([t for t in trials if t.task == task], self.pictures / f"{task}.png")
        tasks = summarise(trials)
        print(f"\n{table(tasks)}", flush=True)
        decision = percentiles([ms for t in trials for ms in t.decision_ms])
        print(
            f"training: {training['updates']} updates, {training['updates_per_s']:.1f} per second, on "
            f"{training['episodes']} episodes; decision: {decision['p50']:.1f} ms (p99 {decision['p99']:.1f} ms); "
            f"images: {published} published, {received} received\n",
            flush=True,
        )
        return {
            **tasks,
            "decision_ms": decision,
            "updates": training["updates"],
            "updates_per_s": training["updates_per_s"],
            "episodes": training["episodes"],
            "transitions": training["transitions"],
            "images_published": published,
            "images_received": received,
        }

    def compare(self) -> dict:
        """What Q adds: the model as it acts, and its cloning head alone, on the same scenes without the nodes."""
        from am_ros.evaluation.statistics import table
        from am_ros.evaluation.ways import AS_IT_ACTS, HEAD_ALONE, compare_ways

        config, task = self.config, self.tasks[-1]
        if not config.offline_trials:
            return {}
        self.say(f"compare: {config.offline_trials} further goals of {task} without the nodes, with Q and without")
        figures = compare_ways(
            self.checkpoint, task, config.offline_trials, OFFLINE_SCENES, config.variety, config.workers,
            (AS_IT_ACTS, HEAD_ALONE),
        )  # fmt: skip
        names = {AS_IT_ACTS: "the model", HEAD_ALONE: "its head alone"}
        print(f"\n{task}, without the nodes:\n{table({names[way]: row for way, row in figures.items()})}\n", flush=True)
        return {"offline": {"task": task, "first_scene": OFFLINE_SCENES, **figures}}

    def cell(self, stage: str, expert: bool = False):
        """The simulated cell with all its nodes as processes, and a client of them."""
        from am_ros.cell.graph import sim_nodes

        nodes = sim_nodes(
            goals=str(self.goals),
            bags=str(self.bags / ("recorded" if expert else "judged")),
            checkpoints=str(self.out),
            expert=expert,
            real_time_factor=self.config.real_time_factor,
            variety=self.config.variety,
            samples=self.config.samples,
            iterations=self.config.iterations,
        )
        return _Cell(nodes, self.out / "log" / stage)

    def say(self, text: str) -> None:
        """One line of progress with the time since the start."""
        print(f"[{time.monotonic() - self.began:6.1f} s] {text}", flush=True)

    def _call(self, *arguments) -> None:
        """Another verb of am-ros in a process of its own."""
        command = [sys.executable, "-m", "am_ros.cli", *map(str, arguments)]
        code = subprocess.run(command, env=child_environment()).returncode
        if code:
            raise AmRosError(f"am-ros {arguments[0]}: ended with exit code {code}")


class _Cell:
    """Supervisor and client of a cell as one context manager."""

    def __init__(self, nodes, log: Path):
        from am_ros.cell.supervisor import Supervisor
        from am_ros.ros.introspection.client import RosClient

        self._supervisor = Supervisor(nodes, log)
        self._make_client = lambda: RosClient("demo")

    def __enter__(self):
        self._supervisor.__enter__()
        try:
            self._supervisor.wait_until_up()
            self._client = self._make_client()
        except BaseException:
            self._supervisor.__exit__(*sys.exc_info())
            raise
        return self._supervisor, self._client

    def __exit__(self, *error):
        self._client.close()
        return self._supervisor.__exit__(*error)


def _count_bags(folder: Path) -> int:
    from am_ros.bags.finder import find_bags

    return len(find_bags(folder)) if folder.is_dir() else 0


def _wait_for(condition, timeout_s: float, sentence: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AmRosError(sentence)
        time.sleep(0.1)

"""Trainer node: takes bags from a folder and replayed topics, trains in a worker process, always answers."""

import sys
import time
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

from am_msgs.msg import EpisodeEvent, Step, TrainingMetrics
from am_msgs.srv import IngestBags
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage
from std_srvs.srv import SetBool, Trigger

from am_ros import topics
from am_ros.action import ActionSpace
from am_ros.bags.assembler import EpisodeAssembler
from am_ros.bags.labels import LABELS, NONE, check_labels
from am_ros.configuration import parameter
from am_ros.errors import AmRosError
from am_ros.learning.progress import Progress
from am_ros.learning.recipes import RECIPES, find_recipe
from am_ros.learning.trainer_config import CLONING, LearnerConfig
from am_ros.learning.worker import TrainingWorker
from am_ros.paths import inside
from am_ros.replay.from_bags import ingest
from am_ros.replay.store import ReplayStore
from am_ros.ros.node.backlog import NOTHING, Answer, Backlog
from am_ros.ros.node.clocks import steady_timer
from am_ros.ros.node.common import KEEP_ALL_QOS, RELIABLE_QOS, NodeThread, declare, run
from am_ros.ros.services import TrainingServices
from am_ros.storage.remote import Place

LOOK_S = 1.0  # for episodes of which something was lost


@dataclass(frozen=True)
class TrainerNodeConfig:
    """Where data comes from and where results go."""

    out: str = parameter("runs/training", "folder for the replay store, checkpoints and metrics")
    bags: str = parameter("", "bag folder to watch; empty: only replayed topics and ~/ingest")
    ingest_folder: str = parameter("", "folder that ~/ingest may read bags from; empty: that of `bags`")
    queue_mb: int = parameter(
        1024, "memory for replayed messages that wait to become episodes; more are lost and named [MB]",
        range=(1, 65_536),
    )  # fmt: skip
    watch_period_s: float = parameter(5.0, "look for new bags so often [s]", range=(0.2, 3600.0))
    min_episodes: int = parameter(1, "begin to train once the store holds so many episodes", range=(1, 10_000_000))
    labels: tuple[str, ...] = parameter(
        LABELS, f"learn from episodes with these labels only: {', '.join(LABELS)}; what is replayed as topics has none"
    )
    recipe: str = parameter("default", "where the learner's parameters start from", choices=tuple(RECIPES))


class TrainerNode(Node):
    """Replayed steps and images become episodes by the same code as bags; both land in one store."""

    def __init__(self):
        super().__init__("trainer")
        self.config = declare(self, TrainerNodeConfig)
        self.learner = _declare_learner(self, find_recipe(self.config.recipe))
        self.action_space = declare(self, ActionSpace)
        self._labels = check_labels(self.config.labels)
        self.out = Path(self.config.out)
        if self.config.bags and not Path(self.config.bags).is_dir():
            raise AmRosError(f"parameter bags: {self.config.bags} is not a folder")
        size = (self.learner.network.image_size,) * 2
        self.store = ReplayStore.open_or_create(self.out / "replay", size)
        self._assembler = EpisodeAssembler(self.action_space, size)
        self._jobs = Backlog(self.config.queue_mb * 1_000_000)
        self._refused: dict[Place, str] = {}
        self._worker: TrainingWorker | None = None
        self._paused = False

        self._metrics = self.create_publisher(TrainingMetrics, "~/metrics", RELIABLE_QOS)
        taken = {topics.IMAGE_COMPRESSED: CompressedImage, topics.STEP: Step, topics.EPISODE_EVENT: EpisodeEvent}
        for topic, kind in taken.items():
            self.create_subscription(kind, topic, partial(self._take, topic), KEEP_ALL_QOS)
        # Its coroutine waits for the bags; in a group of its own it holds up nobody else.
        apart = MutuallyExclusiveCallbackGroup()
        self.create_service(IngestBags, "~/ingest", self._on_ingest, callback_group=apart)
        self.create_service(Trigger, "~/save", self._on_save)
        self.create_service(SetBool, "~/pause", self._on_pause)
        TrainingServices(self, self.out, self.out / CLONING, lambda: self._paused)
        if self.config.bags:
            steady_timer(self, self.config.watch_period_s, lambda: self._jobs.put(("bags", self.config.bags, None)))
            self._jobs.put(("bags", self.config.bags, None))
        self._thread = NodeThread(self, self._work, "ingestion")

    def close(self) -> None:
        """Save and end the training."""
        self._jobs.put(None)
        self._thread.join(5.0)
        if self._worker is not None:
            self._worker.close()

    def _take(self, topic: str, message) -> None:
        if not self._jobs.offer(topic, message):
            lost = f"a message of topic {topic} is lost: more than queue_mb = {self.config.queue_mb} MB wait already"
            self.get_logger().warning(lost, throttle_duration_sec=5.0)

    def _work(self) -> None:
        """The ingestion thread: the only writer of the store."""
        began, look_s = False, 0.0
        while (job := self._jobs.get(LOOK_S)) is not None:
            try:
                self._do(*job)
            except AmRosError as error:
                self.get_logger().warning(str(error))
            if self._jobs.empty() and time.monotonic() >= look_s:
                look_s = time.monotonic() + LOOK_S
                for sentence in self._assembler.give_up(time.monotonic()):
                    self.get_logger().warning(sentence)
            if not began and len(self.store.episodes) >= self.config.min_episodes:
                began = True
                self._start_training()

    def _do(self, kind: str, what, extra) -> None:
        if kind == NOTHING:
            return
        if kind == "message":
            episode = self._assembler.add(what, extra)
            if episode is not None and NONE not in self._labels:
                raise AmRosError(f"episode {episode.info.episode_id!r}: replayed without label, left out")
            if episode is not None and self.store.append([episode]):
                self.get_logger().info(
                    f"replayed episode {episode.info.episode_id}: {len(episode)} steps, "
                    f"{len(self.store.episodes)} episodes in the store"
                )
            return
        try:
            report = ingest(what, self.store, self.action_space, self._log_ingestion(what), set(self._refused),
                            self._labels)
        except AmRosError as error:
            if extra is not None:
                extra(None, str(error))
            raise
        for sentence in report.refused.values():
            self.get_logger().warning(f"refused: {sentence}")
        self._refused |= report.refused
        if report.added:
            self.get_logger().info(
                f"{what}: {report.added} episodes added, {len(report.refused)} bags refused, "
                f"{len(self.store.episodes)} episodes in the store"
            )
        if extra is not None:
            extra(report, "")

    def _log_ingestion(self, folder):
        began = time.monotonic()

        def log(done, total):
            elapsed = time.monotonic() - began
            if elapsed > 2.0:
                self.get_logger().info(
                    f"reading {folder}: {done}/{total} bags, {elapsed / done * (total - done):.0f} s left",
                    throttle_duration_sec=2.0,
                )

        return log

    def _start_training(self) -> None:
        self.get_logger().info(f"training on {len(self.store.episodes)} episodes, {len(self.store)} transitions")
        self._worker = TrainingWorker(self.learner, self.store.folder, self.out, self.action_space, self._on_training)
        if self._paused:
            self._worker.send("pause")

    def _on_training(self, kind: str, content) -> None:
        if kind == "failed":
            self.get_logger().error(f"training failed: {content}")
            return
        self._publish(content, done=kind == "done")
        if kind == "done":
            self.get_logger().info(f"training done: {content}; checkpoint in {self.out / 'checkpoint'}")
        else:
            self.get_logger().info(str(content), throttle_duration_sec=5.0)

    def _publish(self, progress: Progress, done: bool) -> None:
        message = TrainingMetrics(
            done=done,
            part=progress.part,
            update=progress.update,
            updates_total=progress.updates,
            updates_per_s=progress.updates_per_s,
            data_wait_share=progress.data_wait_share,
            seconds_left=progress.seconds_left,
            episodes=len(self.store.episodes),
            transitions=len(self.store),
            names=list(progress.metrics),
            values=[float(v) for v in progress.metrics.values()],
        )
        message.header.stamp = self.get_clock().now().to_msg()
        self._metrics.publish(message)

    async def _on_ingest(self, request, response):
        """Read bags now; the answer comes when they are in the store."""
        done, folder = Answer(self.executor), self.config.ingest_folder or self.config.bags
        try:
            path = inside(request.path, [folder] if folder else [], "ingest_folder")
        except AmRosError as error:
            response.message = str(error)
            return response
        self._jobs.put(("bags", path, done))
        report, sentence = await done.future
        response.success = report is not None
        if report is None:
            response.message = sentence
        else:
            response.episodes, response.refused = report.added, len(report.refused)
            response.message = f"{report.added} added, {report.known} known, {len(report.refused)} refused"
            response.message += f", {report.left_out} left out by label" if report.left_out else ""
        return response

    def _on_save(self, _request, response):
        worker = self._worker
        response.success = worker is not None and worker.alive
        response.message = "a checkpoint follows" if response.success else "no training is running"
        if worker is not None and worker.alive:
            worker.send("save")
        return response

    def _on_pause(self, request, response):
        self._paused = request.data
        if self._worker is not None:
            self._worker.send("pause" if request.data else "resume")
        response.success, response.message = True, "paused" if request.data else "running"
        return response


def _declare_learner(node, recipe: LearnerConfig) -> LearnerConfig:
    """The recipe, changed by the node's parameters; searches are as the recipe has them."""
    parts = {f.name: getattr(recipe, f.name) for f in fields(LearnerConfig) if f.name != "acting"}
    learner = replace(recipe, **{n: declare(node, type(p), p, skip=("target_cem",)) for n, p in parts.items()})
    learner.check_prior(recipe)
    if learner.network.preset == "state":
        raise AmRosError("parameter preset: 'state' learns from vectors, bags hold images: use small or qt_opt")
    return learner


def main(args=None) -> int:
    """Entry point of the executable."""
    return run(TrainerNode, "trainer", args)


if __name__ == "__main__":
    sys.exit(main())

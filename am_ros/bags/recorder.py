"""The episode logger without ROS: raw messages in, one bag per episode out, all disk work in one thread."""

import os
import queue
import shutil
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from am_ros import images, topics
from am_ros.bags import types
from am_ros.bags.assembler import DISCARD, END, START, consumed_name
from am_ros.bags.labels import DISCARDED, LABEL, check_label
from am_ros.bags.marks import MESSAGES_LOST, RENAMED, STEPS_MISSING, TYPE_CHANGED, SequenceGaps
from am_ros.bags.quarantine import Report, quarantine, say_nothing
from am_ros.bags.relabel import delete_bag, set_label
from am_ros.bags.writer import EpisodeBag, unique_episode_id
from am_ros.configuration import parameter
from am_ros.episode import EpisodeInfo, Outcome, check_name
from am_ros.errors import AmRosError

# How long after END the last image and step are waited for: they come by other topics, so they may be later.
STRAGGLER_PATIENCE_S = 2.0
T = TypeVar("T")


@dataclass(frozen=True)
class RecorderConfig:
    """Parameters of the episode logger."""

    folder: str = parameter("bags", "folder of the bags, made if it does not exist")
    image_source: str = parameter(
        "compressed",
        "image topic to record: image_raw/compressed as it is, or image_raw, which the logger then encodes",
        choices=("compressed", "raw"),
    )
    image_encoding: str = parameter("jpeg", "encoding of images recorded from image_raw", choices=("jpeg", "png"))
    jpeg_quality: int = parameter(95, "quality of JPEG images recorded from image_raw", range=(1, 100))
    # Half of the second that a killed logger may lose: the other half is for a disk that is slow to flush.
    flush_period_s: float = parameter(
        0.5, "time between flushes to disk, the most a crash loses [s]", range=(0.05, 60.0)
    )
    history_s: float = parameter(
        2.0,
        "what came this long before the start is recorded too, because the first image may be older than the start [s]",
        range=(0.0, 30.0),
    )
    queue_mb: int = parameter(
        256, "memory for messages that wait for the disk; more are lost and counted [MB]", range=(1, 16_384)
    )
    free_disk_mb: int = parameter(500, "with less free disk space no episode is started [MB]", range=(0, 10_000_000))


class Received(NamedTuple):
    """A message as it came from DDS."""

    topic: str
    type_name: str
    raw: bytes
    time_ns: int  # of reception, by the node's clock
    number: int = 0  # that its publisher gave it; 0: not known


class Closed(NamedTuple):
    """A finished bag."""

    path: Path
    messages: int


class EpisodeRecorder:
    """Records episodes named by EpisodeEvent messages or by start() and stop().

    Every method returns at once; a worker thread writes. `report(problem: bool, text: str)` is called from that
    thread with one sentence per bag or problem. The futures carry an AmRosError if the request was refused. `ours`:
    what we call the topics that the driver calls otherwise; every bag says it, and holds them by the driver's names.
    """

    def __init__(self, config: RecorderConfig, report: Report = say_nothing, ours: Mapping[str, str] = {}):
        self.config, self._ours = config, dict(ours)
        self.folder = Path(config.folder)
        self.messages_lost: Counter[str] = Counter()  # per topic, on the way here or because the disk was too slow
        self._report = report
        self._queue: queue.SimpleQueue[Received | Callable[[], object] | None] = queue.SimpleQueue()
        self._queued_bytes = 0
        self._lock = threading.Lock()
        self._history: deque[Received] = deque()
        self._history_bytes = 0
        self._recordings: list[_Recording] = []
        self._gaps: dict[str, SequenceGaps] = {}
        self._foreign: dict[str, str] = {}  # what of another type is published now, by topic
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise AmRosError(f"parameter folder: {self.folder} cannot be made: {error.strerror}") from None
        try:
            with tempfile.TemporaryFile(dir=self.folder) as file:
                file.write(b"?")
        except OSError as error:
            raise AmRosError(f"parameter folder: {self.folder} cannot be written: {error.strerror}") from None
        self._worker = threading.Thread(target=self._work, name="recorder", daemon=True)
        quarantine(self.folder, report)
        self._worker.start()

    def receive(self, message: Received) -> None:
        """Take a message; it is counted as lost if the queue is full, and so are those that never came before it."""
        lost = self._gaps.setdefault(message.topic, SequenceGaps()).lost_before(message.number)
        with self._lock:
            full = self._queued_bytes + len(message.raw) > self.config.queue_mb * 1_000_000
            self._queued_bytes += 0 if full else len(message.raw)
        if lost + full:
            self._queue.put(lambda: self._count_lost(message.topic, lost + full))
        if not full:
            self._queue.put(message)

    def watch_type(self, topic: str, foreign: str) -> None:
        """Note what of another type is published on a topic now (empty: nothing), which nobody can receive here."""
        self._queue.put(lambda: self._note_type(topic, foreign))

    def start(self, info: EpisodeInfo, now_ns: int) -> Future[Path]:
        """Record everything from now on; result: path of the bag once it is closed. Empty id: one is chosen."""
        if not info.episode_id:
            info = replace(info, episode_id=unique_episode_id())
        return self._request(lambda: self._start(info, now_ns, manual=True).bag.path)

    def stop(self, outcome: Outcome = Outcome.UNKNOWN, reason: str = "stopped") -> Future[Closed]:
        """Close the newest bag; result: Closed."""
        return self._request(lambda: self._close(self._newest(), outcome=outcome, reason=reason))

    def discard(self) -> Future[str]:
        """Delete the newest bag that is being written; result: its episode id."""
        return self._request(lambda: self._discard(self._newest()))

    def label(self, episode_id: str, label: str) -> Future[Path]:
        """Label the bag of an episode, being recorded or closed, or delete it (`discarded`); result: its path."""
        return self._request(lambda: self._label(episode_id, label))

    def awaits_end(self) -> bool:
        """Whether an episode that somebody plays has not been ended by them yet."""
        return any(r.played and r.end is None for r in list(self._recordings))

    def close(self) -> None:
        """Write what is queued, close all bags, end the thread."""
        if self._worker.is_alive():
            self._queue.put(None)
            self._worker.join()

    def check(self) -> None:
        """Raise RuntimeError if the worker thread died, which only a programming error makes it do."""
        if not self._worker.is_alive():
            raise RuntimeError("the recorder's thread died; see the traceback above")

    # Everything below runs in the worker thread.

    def _work(self) -> None:
        next_flush = time.monotonic() + self.config.flush_period_s
        while True:
            try:
                item = self._queue.get(timeout=max(0.0, min(0.1, next_flush - time.monotonic())))
                if item is None:
                    break
                if isinstance(item, Received):
                    with self._lock:
                        self._queued_bytes -= len(item.raw)
                    self._handle(item)
                else:
                    item()
            except queue.Empty:
                pass
            except (AmRosError, OSError, ValueError) as error:
                self._report(True, str(error))
            now = time.monotonic()
            for recording in [r for r in self._recordings if r.close_at is not None and now >= r.close_at]:
                self._guard(recording, self._close, recording)
            if now >= next_flush:
                for recording in list(self._recordings):
                    self._guard(recording, recording.bag.flush)
                next_flush = now + self.config.flush_period_s
        for recording in list(self._recordings):
            self._guard(recording, self._close, recording, reason=recording.bag.info.reason or "logger stopped")

    def _request(self, action: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()

        def answer() -> None:
            try:
                future.set_result(action())
            except (AmRosError, OSError) as error:
                future.set_exception(AmRosError(str(error)))

        self._queue.put(answer)
        return future

    def _label(self, episode_id: str, label: str) -> Path:
        path = self.folder / check_name(episode_id, "episode id")
        recording = next((r for r in self._recordings if r.bag.info.episode_id == episode_id), None)
        if label == DISCARDED:
            if recording is None:
                delete_bag(path)
            else:
                self._discard(recording)
        elif recording is None:
            set_label(path, label)
        else:
            recording.bag.note({LABEL: check_label(label)})
        return path

    def _handle(self, message: Received) -> None:
        event = None
        if consumed_name(self._ours.get(message.topic, message.topic)) == topics.EPISODE_EVENT:
            event = types.deserialize(message.type_name, message.raw)
            if event.type == START:
                self._start_automatically(event, message.time_ns)
        for recording in list(self._recordings):
            self._guard(recording, self._write, recording, message)
        self._remember(message)
        if event is not None and event.type in (END, DISCARD):
            self._end(event)
        for recording in [r for r in self._recordings if r.complete()]:
            self._guard(recording, self._close, recording)

    def _start_automatically(self, event: Any, time_ns: int) -> None:
        if any(r.bag.info.episode_id == event.episode_id for r in self._recordings):
            return  # begun by the start service
        for recording in [r for r in self._recordings if not r.manual]:
            # Its actor died, or its last image is lost: two episodes at once do not happen in one workcell.
            reason = recording.bag.info.reason if recording.close_at else "interrupted"
            self._guard(recording, self._close, recording, reason=reason)
        self._start(EpisodeInfo(event.episode_id, event.task, event.goal_id, event.source, event.seed), time_ns)

    def _start(self, info: EpisodeInfo, now_ns: int, manual: bool = False) -> "_Recording":
        try:
            free_mb = shutil.disk_usage(self.folder).free / 1e6
        except OSError as error:
            raise AmRosError(
                f"episode {info.episode_id!r}: not recorded: parameter folder: {self.folder} cannot be used: "
                f"{error.strerror}"
            ) from None
        if free_mb < self.config.free_disk_mb:
            raise AmRosError(
                f"episode {info.episode_id!r}: not recorded: {free_mb:.0f} MB free on the disk of "
                f"{self.folder}, parameter free_disk_mb wants {self.config.free_disk_mb}"
            )
        renamed = {f"{RENAMED} {topic}": name for topic, name in self._ours.items()}
        bag = EpisodeBag(self.folder, replace(info, extra={**info.extra, **renamed}))
        recording = _Recording(bag, manual)
        recording.type_changes.update(self._foreign)
        self._recordings.append(recording)
        for message in () if manual else self._history:
            if message.time_ns >= now_ns - self.config.history_s * 1e9:
                self._guard(recording, self._write, recording, message)
        return recording

    def _count_lost(self, topic: str, count: int) -> None:
        self.messages_lost[topic] += count
        for recording in self._recordings:
            recording.lost[topic] += count

    def _note_type(self, topic: str, foreign: str) -> None:
        if foreign == self._foreign.get(topic, ""):
            return
        if not foreign:
            del self._foreign[topic]
            return
        self._foreign[topic] = foreign
        for recording in self._recordings:
            recording.type_changes[topic] = foreign
        self._report(True, f"topic {topic}: {TYPE_CHANGED}: {foreign}; the other topics are recorded")

    def _end(self, event: Any) -> None:
        for recording in [r for r in self._recordings if r.bag.info.episode_id == event.episode_id]:
            if event.type == DISCARD:
                self._discard(recording)
                continue
            recording.end = event
            recording.close_at = time.monotonic() + STRAGGLER_PATIENCE_S
            bag = recording.bag
            bag.info = replace(bag.info, outcome=Outcome(event.outcome), reason=event.reason)

    def _remember(self, message: Received) -> None:
        self._history.append(message)
        self._history_bytes += len(message.raw)
        oldest_ns, limit = message.time_ns - self.config.history_s * 1e9, self.config.queue_mb * 1_000_000
        while self._history[0].time_ns < oldest_ns or (self._history_bytes > limit and len(self._history) > 1):
            self._history_bytes -= len(self._history.popleft().raw)

    def _write(self, recording: "_Recording", message: Received) -> None:
        """Write a message into a bag, unless it is of another episode."""
        topic, type_name, raw, time_ns, _ = message
        if recording.bag.type_of(topic) not in (None, type_name):
            self._note_type(topic, type_name)
            recording.lost[topic] += 1
            return
        kind = consumed_name(self._ours.get(topic, topic))
        if kind in (topics.STEP, topics.EPISODE_EVENT):
            msg = types.deserialize(type_name, raw)
            if msg.episode_id == recording.bag.info.episode_id:
                recording.played = True
                recording.steps_seen.update([msg.index] if kind == topics.STEP else [])
            elif not recording.manual:
                return
        elif kind is not None:
            recording.newest_image_ns = max(recording.newest_image_ns, types.header_stamp_ns(raw))
        if kind == topics.IMAGE:
            topic, type_name = topic + "/compressed", topics.RECORDED[topics.IMAGE_COMPRESSED]
            raw = self._encode(raw)
        recording.bag.write(topic, type_name, raw, time_ns)

    def _encode(self, raw: bytes) -> bytes:
        msg = types.deserialize("sensor_msgs/msg/Image", raw)
        rgb = images.array_from_image(msg)
        jpeg = self.config.image_encoding == "jpeg"
        data = images.encode_jpeg(rgb, self.config.jpeg_quality) if jpeg else images.encode_png(rgb)
        name = topics.RECORDED[topics.IMAGE_COMPRESSED]
        return types.serialize(
            name,
            types.message(
                name, header=msg.header, format=self.config.image_encoding, data=np.frombuffer(data, np.uint8)
            ),
        )

    def _newest(self) -> "_Recording":
        if not self._recordings:
            raise AmRosError("no episode is being recorded")
        return self._recordings[-1]

    def _close(self, recording: "_Recording", **changes: Any) -> Closed:
        self._recordings.remove(recording)
        bag = recording.bag
        marks = recording.marks()
        extra = {**bag.info.extra, **marks}
        closed = Closed(bag.close(**{"extra": extra, **changes}), sum(bag.counts.values()))
        notes = "".join(f"; {name}: {what}" for name, what in marks.items())
        self._report(bool(marks), f"recorded {closed.path}: {closed.messages} messages{notes}")
        return closed

    def _discard(self, recording: "_Recording") -> str:
        self._recordings.remove(recording)
        recording.bag.discard()
        self._report(False, f"discarded episode {recording.bag.info.episode_id!r}")
        return recording.bag.info.episode_id

    def _guard(
        self, recording: "_Recording", action: Callable[..., object], *arguments: object, **changes: object
    ) -> None:
        """Do something with one recording; if the disk fails, give up that one and leave it for salvage."""
        try:
            action(*arguments, **changes)
        except OSError as error:
            if recording in self._recordings:
                self._recordings.remove(recording)
            recording.bag.abandon()
            self._report(
                True,
                f"bag {recording.bag.unfinished_path}: given up, `am-ros bags salvage` recovers it: "
                f"{os.strerror(error.errno) if error.errno else error}",
            )
        except AmRosError as error:
            self._report(True, str(error))


@dataclass
class _Recording:
    bag: EpisodeBag
    manual: bool  # started by a service: takes the steps and events of every episode
    lost: Counter[str] = field(default_factory=Counter)  # messages by topic
    type_changes: dict[str, str] = field(default_factory=dict)  # by topic
    steps_seen: set[int] = field(default_factory=set)
    newest_image_ns: int = -1
    played: bool = False  # a step or an event of it came: somebody will say when it ends
    end: Any = None  # EpisodeEvent, once it came
    close_at: float | None = None  # after END: when to stop waiting for what is missing, by the monotonic clock

    def marks(self) -> dict[str, str]:
        """What went wrong, as it goes into the bag's metadata."""
        marks = {f"{MESSAGES_LOST} {topic}": str(count) for topic, count in sorted(self.lost.items())}
        marks |= {f"{TYPE_CHANGED} {topic}": what for topic, what in sorted(self.type_changes.items())}
        missing = self.end.steps - len(self.steps_seen) if self.end is not None else 0
        return marks | ({f"{STEPS_MISSING} {topics.STEP}": str(missing)} if missing > 0 else {})

    def complete(self) -> bool:
        """END and everything it speaks of has been written."""
        return (
            self.end is not None
            and len(self.steps_seen) >= self.end.steps
            and self.newest_image_ns >= types.stamp_ns(self.end.observation.image_stamp)
        )

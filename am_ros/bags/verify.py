"""Check a bag thoroughly and say everything that is wrong with it, not just the first thing."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from am_ros import images, topics
from am_ros.action import ActionSpace
from am_ros.bags import types
from am_ros.bags.assembler import CONSUMED, START, EpisodeAssembler, consumed_name
from am_ros.bags.marks import marks_of
from am_ros.bags.reader import BagReader, Recorded
from am_ros.bags.writer import UNFINISHED
from am_ros.episode import EpisodeInfo
from am_ros.errors import AmRosError
from am_ros.paths import Folder

# A pause in the images this many times longer than usual is a gap. A camera that skips one image makes 2.
GAP_FACTOR = 4.0
# What comes 100 times a second may stutter with the machine; a pause this long is a gap all the same.
MIN_GAP_S = {topics.JOINT_STATES: 0.5, topics.EE_POSE: 0.5}
# A bag that the logger recorded in a cell has one of these, and then it has to have both; one of `am-ros collect` has
# the topics of the episode alone.
LIVE = (topics.JOINT_STATES, topics.EE_POSE, topics.CAMERA_INFO)
PROBLEMS_PER_TOPIC = 3  # further ones of the same kind are counted, not listed


@dataclass
class Report:
    """What is in a bag and what is wrong with it."""

    path: Path
    info: EpisodeInfo | None = None
    counts: Counter[str] = field(default_factory=Counter)  # messages by topic
    steps: int = 0
    duration_s: float = 0.0  # from the first to the last message
    bytes: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what is odd, and no problem

    @property
    def ok(self) -> bool:
        return not self.problems


def summarize(path: Folder) -> Report:
    """Contents of a bag, with checksums and counts verified but no image decoded."""
    return _examine(path, action_space=None)


def verify(path: Folder, action_space: ActionSpace) -> Report:
    """Everything that can be checked: checksums, counts, topics, stamps, gaps, images, and whether it is an episode."""
    return _examine(path, action_space)


def _examine(path: Folder, action_space: ActionSpace | None) -> Report:
    report = Report(Path(path))
    try:
        reader = BagReader(path)
        report.bytes = sum(f.stat().st_size for f in reader.files)
        examiner = _Examiner(report, action_space)
        times_ns: tuple[int, int] | None = None  # of the first and the last message
        for message in reader.messages():
            first_ns, last_ns = times_ns or (message.log_time_ns, 0)
            times_ns = min(first_ns, message.log_time_ns), max(last_ns, message.log_time_ns)
            examiner.add(message)
        report.duration_s = (times_ns[1] - times_ns[0]) / 1e9 if times_ns else 0.0
        examiner.finish()
        if report.path.name.endswith(UNFINISHED):
            report.problems.append("was never closed: `am-ros bags salvage` makes a bag of it")
        elif reader.metadata is None and report.path.is_dir():
            report.problems.append("metadata.yaml is missing: `am-ros bags salvage` rebuilds it")
        report.info = reader.info()
        if reader.lost_custom_data:
            report.notes.append("metadata.yaml has lost its custom_data (`ros2 bag reindex`), with it a later label")
        report.problems += marks_of(report.info)
    except AmRosError as error:
        report.problems.append(str(error))
    return report


class _Examiner:
    def __init__(self, report: Report, action_space: ActionSpace | None):
        self._report = report
        self._assembler = EpisodeAssembler(action_space) if action_space else None
        self._stamps: dict[str, list[int]] = {}
        self._start_ns: int | None = None  # stamp of the episode's START
        self._namespace = ""
        self._topics: dict[str, str] = {}  # topic -> its name in topics.RECORDED, whatever the driver calls it
        self._repeats: Counter[str] = Counter()

    def add(self, message: Recorded) -> None:
        """Look at one message."""
        self._report.counts[message.topic] += 1
        kind = consumed_name(message.name)
        if message.topic not in self._topics:
            self._topics[message.topic] = topics.in_bag(message.name) or ""
        if kind == topics.STEP:
            self._report.steps += 1
        if self._assembler is None:
            return
        if kind is not None and message.type_name != CONSUMED[kind]:
            self._problem(message.topic, f"has type {message.type_name}, expected {CONSUMED[kind]}")
            return
        try:
            if kind is not None:
                msg = types.deserialize(message.type_name, message.raw)
                if kind in (topics.IMAGE, topics.IMAGE_COMPRESSED):
                    self._check_image(message.topic, kind, msg)
                elif kind == topics.EPISODE_EVENT and msg.type == START:
                    self._start_ns = types.stamp_ns(msg.header.stamp)
                    self._namespace = message.topic.removesuffix(kind)
                self._assembler.add(kind, msg)
            elif types.has_header(message.type_name):
                self._check_order(message.topic, types.header_stamp_ns(message.raw))
        except AmRosError as error:
            self._problem(message.topic, str(error))

    def finish(self) -> None:
        """Say what is missing, now that everything has been seen."""
        if self._assembler is None:
            return
        kinds = set(self._topics.values())
        if not kinds & {topics.IMAGE, topics.IMAGE_COMPRESSED}:
            self._report.problems.append(f"no images: topic {topics.IMAGE_COMPRESSED} is missing")
        required = [topics.STEP, topics.EPISODE_EVENT]
        self._report.problems += [f"topic {topic} is missing" for topic in required if topic not in kinds]
        live = [topic for topic in LIVE if topic not in kinds]
        if len(live) < len(LIVE):
            self._report.problems += [f"topic {self._namespace}{topic} is missing" for topic in live]
        self._check_gaps()
        for topic, count in self._repeats.items():
            if count > PROBLEMS_PER_TOPIC:
                self._report.problems.append(f"topic {topic}: {count - PROBLEMS_PER_TOPIC} further problems")
        try:
            self._assembler.finish()
        except AmRosError as error:
            self._report.problems.append(str(error))

    def _check_image(self, topic: str, kind: str, msg: Any) -> None:
        stamp = types.stamp_ns(msg.header.stamp)
        self._check_order(topic, stamp)
        try:
            _ = images.array_from_compressed(msg) if kind == topics.IMAGE_COMPRESSED else images.array_from_image(msg)
        except AmRosError as error:
            self._problem(topic, f"image {len(self._stamps[topic]) - 1}: {error}")

    def _check_order(self, topic: str, stamp: int) -> None:
        stamps = self._stamps.setdefault(topic, [])
        if stamps and stamp < stamps[-1]:
            self._problem(topic, f"message {len(stamps)}: its stamp goes back by {(stamps[-1] - stamp) / 1e9:.3f} s")
        stamps.append(stamp)

    def _check_gaps(self) -> None:
        """Pauses of what comes regularly, from the START on: before it, scenes are rearranged."""
        newest = max((stamps[-1] for stamps in self._stamps.values()), default=0)
        for topic, stamps in self._stamps.items():
            shortest = self._min_gap_s(topic)
            if shortest is None or len(stamps) < 4:
                continue
            image = self._topics[topic] in (topics.IMAGE, topics.IMAGE_COMPRESSED)
            # The other topics go on at least as long as the images, or they went silent.
            ends = np.array(stamps if image else [*stamps, max(newest, stamps[-1])], np.int64)
            pauses = np.diff(ends) / 1e9
            usual = float(np.median(pauses))
            begun = ends[1:] > (self._start_ns or 0)
            gaps = np.flatnonzero((pauses > max(GAP_FACTOR * max(usual, 1e-3), shortest)) & begun)
            if len(gaps):
                worst = int(gaps[np.argmax(pauses[gaps])])
                self._report.problems.append(
                    f"topic {topic}: {len(gaps)} gaps, the longest of {pauses[worst]:.2f} s after "
                    f"{'image' if image else 'message'} {worst} where {usual:.2f} s are usual"
                )

    def _min_gap_s(self, topic: str) -> float | None:
        """The shortest pause of a topic that is a gap; None where messages do not come regularly."""
        if self._topics[topic] in (topics.IMAGE, topics.IMAGE_COMPRESSED):
            return 0.0
        return MIN_GAP_S.get(self._topics[topic])

    def _problem(self, topic: str, text: str) -> None:
        self._repeats[topic] += 1
        if self._repeats[topic] <= PROBLEMS_PER_TOPIC:
            self._report.problems.append(f"topic {topic}: {text}")

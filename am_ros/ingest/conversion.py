"""A foreign bag to episodes, and what came of it in numbers."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from am_ros.action import CONTINUOUS_DIM, TERMINATE, ActionSpace
from am_ros.bags.labels import LABEL
from am_ros.episode import Episode, EpisodeInfo, Outcome
from am_ros.errors import AmRosError
from am_ros.ingest.clocks import Clocks, ClocksDiffer, TopicClock
from am_ros.ingest.cutting import Cutter, End
from am_ros.ingest.dropped import Dropped
from am_ros.ingest.foreign import ForeignBag
from am_ros.ingest.mapping import Mapping
from am_ros.ingest.motion import CameraOffset
from am_ros.ingest.steps import StepPicker
from am_ros.ingest.sync import Synchroniser, Unusable

JUMPS = "jumps beyond the action space from one image to the next, cut there"
# Metadata of an ingested episode: where it came from.
FROM_BAG, FROM_MAPPING, CUT_BY = "ingested_from", "ingested_by_mapping", "ingested_cut"


@dataclass
class BagReport:
    """What was found in one bag and what became of it."""

    path: Path
    storage: str = ""
    duration_s: float = 0.0
    messages: dict[str, int] = field(default_factory=dict)  # by mapped topic
    images: int = 0  # that could be used
    episodes: int = 0
    steps: int = 0
    step_sizes_m: list[float] = field(default_factory=list)  # of SIZES_KEPT steps
    dropped: Dropped = field(default_factory=Dropped)  # images, steps and episodes, by reason
    notes: list[str] = field(default_factory=list)  # of the bag's files
    lost: list[str] = field(default_factory=list)  # files and parts of files that cannot be read
    clocks: list[TopicClock] = field(default_factory=list)  # stamps of each topic against their reception
    camera_offset: CameraOffset | None = None  # by the motion in the pictures
    doubts: list[str] = field(default_factory=list)  # what is strange, and may be wrong
    hint: str = ""  # the likely cause, where nothing or little could be used
    problem: str = ""  # why the bag, or the rest of it, was refused

    SIZES_KEPT = 10_000

    def as_json(self) -> dict:
        """For a file."""
        sizes = np.percentile(self.step_sizes_m, [50, 100]).round(4).tolist() if self.step_sizes_m else [0.0, 0.0]
        return {
            "bag": str(self.path), "storage": self.storage, "duration_s": round(self.duration_s, 3),
            "messages": self.messages, "images": self.images, "episodes": self.episodes, "steps": self.steps,
            "step_median_m": sizes[0], "step_largest_m": sizes[1], "dropped": dict(self.dropped.most_common()),
            "first_dropped": self.dropped.first, "notes": self.notes, "lost": self.lost,
            "clocks": [clock._asdict() for clock in self.clocks],
            "camera_offset": self.camera_offset and self.camera_offset._asdict(), "doubts": self.doubts,
            "hint": self.hint, "problem": self.problem,
        }  # fmt: skip


def ingest_bag(path, name: str, mapping: Mapping, action_space: ActionSpace, report: BagReport) -> Iterator[Episode]:
    """The episodes of one bag, one at a time, named `<name>_0000` and so on; `report` is filled on the way.

    Raises AmRosError in one sentence that names bag and topic, and what is there, if the mapping does not fit the bag.
    """
    with ForeignBag(path) as bag:
        report.storage, report.duration_s = bag.storage, bag.duration_s
        try:
            synchroniser = Synchroniser(bag, mapping)
            report.messages = {topic: bag.topics[topic].messages for topic in synchroniser.topics}
            try:
                yield from _cut(synchroniser, name, Path(path), mapping, action_space, report)
            finally:
                report.dropped.take(synchroniser.dropped)
                report.dropped.take(bag.dropped)
                report.hint, report.doubts = synchroniser.hint, synchroniser.doubts
                report.clocks, report.camera_offset = synchroniser.clocks.report(), synchroniser.motion.estimate()
        except ClocksDiffer as differ:
            raise bag.error(f"{differ}. {_mend(bag, mapping, differ)}") from None
        except AmRosError as error:
            raise error if str(error).startswith("bag ") else bag.error(_with_publishers(str(error), bag)) from None
        finally:
            report.notes, report.lost = bag.notes, bag.lost
            timeless = 2 * bag.timeless > sum(topic.messages for topic in bag.topics.values())
    if report.camera_offset is not None and report.camera_offset.disagrees:
        right = mapping.image.offset_s + report.camera_offset.offset_s
        report.doubts.append(
            f"image: picture and tool do not move at the same time: {report.camera_offset}; `offset_s: {right:.3f}` "
            "under image puts that right"
        )
    elif timeless and not (report.camera_offset and report.camera_offset.confident):
        report.doubts.append(
            "image: without times of reception the pictures alone tell whether the clocks of camera and arm agree, and "
            "there is too little motion in them"
        )


def _with_publishers(sentence: str, bag: ForeignBag) -> str:
    """Two sources by their names, where the bag has them."""
    for topic in bag.topics.values():
        if "two sources" in sentence and topic.name in sentence and len(topic.publishers) > 1:
            return f"{sentence}; the bag has it from {' and '.join(topic.publishers)}"
    return sentence


def _mend(bag: ForeignBag, mapping: Mapping, differ: ClocksDiffer) -> str:
    """What to write into the mapping so that the clocks agree, if the pictures do not speak against it."""
    offsets: dict[str, float] = {}
    while True:
        offsets[differ.role] = getattr(mapping, differ.role).offset_s + differ.offset_s
        synchroniser = Synchroniser(bag, _with_offsets(mapping, offsets))
        try:
            for _ in synchroniser.items():
                pass
        except AmRosError as error:
            if isinstance(error, ClocksDiffer) and error.role not in offsets:
                differ = error
                continue
            return f"No constant offset explains that: with {_listed(offsets)}, {error}"
        break
    seen, told = synchroniser.motion.estimate(), "by the times of reception"
    if seen is not None and seen.confident:
        if abs(seen.offset_s) > mapping.clocks.max_delay_s:
            return (
                f"With {_listed(offsets)}, by the times of reception, the pictures are {seen.offset_s:+.3f} s off: "
                "no constant offset is offered"
            )
        told = f"by the times of reception and the pictures, {seen.offset_s:+.3f} s within {seen.uncertain_s:.3f} s"
        # What the pictures add is the camera's, or the other way round the arm's with all that goes with it.
        offsets = {
            role: offset + (seen.offset_s if role == Clocks.CAMERA else -seen.offset_s)
            for role, offset in offsets.items()
        }
    return f"{_listed(offsets)} puts that right ({told}); so does `stamp: receive`"


def _with_offsets(mapping: Mapping, offsets: dict[str, float]) -> Mapping:
    roles = {role: dataclasses.replace(getattr(mapping, role), offset_s=value) for role, value in offsets.items()}
    return dataclasses.replace(mapping, **roles)


def _listed(offsets: dict[str, float]) -> str:
    return " and ".join(f"`offset_s: {offset:.3f}` under {role}" for role, offset in offsets.items())


def _cut(synchroniser, name: str, path: Path, mapping: Mapping, action_space: ActionSpace, report: BagReport):
    """Images into pickers, one per episode; the episodes that are long enough."""
    config, number = mapping.episodes, 0
    extra = {FROM_BAG: path.name, FROM_MAPPING: mapping.sha256[:16]}

    def picker() -> StepPicker:
        return StepPicker(mapping.steps, action_space, synchroniser.decode, report.dropped)

    def finish(end: End) -> Iterator[Episode]:
        nonlocal number
        current.finish()
        reason = _why_not(current, end, config.min_steps)
        if reason is None:
            outcome = end.outcome or Outcome[config.outcome.upper()]
            terminate = config.terminate and end.complete
            label = {LABEL: end.label} if end.label else {}
            info = EpisodeInfo(
                f"{name}_{number:04d}", config.task, source=config.source, outcome=outcome,
                reason="terminated" if terminate else end.reason, extra={**extra, **label, CUT_BY: end.reason},
            )  # fmt: skip
            number += 1
            episode = current.episode(info, terminate)
            yield episode
            _count(report, episode, action_space)  # now that whoever took it has written it
        elif reason:
            report.dropped[reason] += 1

    current, cutter = picker(), Cutter(mapping)
    for item in cutter.run(synchroniser.items()):
        if isinstance(item, Unusable):
            report.dropped.note(f"images: {item.reason}", item.detail)
        elif isinstance(item, End):
            yield from finish(item)
            current = picker()
        else:
            report.images += 1
            if not current.add(item):
                yield from finish(End("jump"))
                report.dropped[JUMPS] += 1
                current = picker()
                current.add(item)
            elif len(current) >= config.max_steps:
                last = current.kept[-1]
                yield from finish(End("step_limit"))
                current = picker()
                current.begin_with(last)
    if report.dropped[JUMPS]:
        synchroniser.hint = synchroniser.hint or (
            "the tool moves further from one image to the next than the action space reaches: `--max-translation-m` "
            "makes that larger, a recording with more images the steps smaller"
        )
    if cutter.outside:
        report.dropped["images outside of episodes"] += cutter.outside


def _why_not(picker: StepPicker, end: End, min_steps: int) -> str | None:
    """Why no episode is made; empty: there is none, and None: there is one."""
    if len(picker.kept) <= picker.shared:
        return ""
    if end.discard:
        return f"episodes: {end.reason}"
    if picker.refused:
        return "episodes: refused, a step is beyond the action space"
    return f"episodes: shorter than {min_steps} steps" if len(picker) < min_steps else None


def _count(report: BagReport, episode: Episode, action_space: ActionSpace) -> None:
    report.episodes += 1
    report.steps += len(episode)
    moves = episode.actions[episode.actions[:, TERMINATE] == 0]
    sizes = np.linalg.norm((moves[:, :CONTINUOUS_DIM] * action_space.scale)[:, :3], axis=1)
    report.step_sizes_m += sizes[: max(0, report.SIZES_KEPT - len(report.step_sizes_m))].tolist()

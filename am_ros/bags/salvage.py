"""Get out of an unfinished or damaged bag what is whole, as a new, proper bag."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mcap import records
from mcap.stream_reader import StreamReader, breakup_chunk

from am_ros import topics
from am_ros.bags import types
from am_ros.bags.assembler import CONSUMED, END, consumed_name
from am_ros.bags.finder import natural
from am_ros.bags.marks import own_name
from am_ros.bags.quarantine import QUARANTINE
from am_ros.bags.reader import DAMAGE, Recorded
from am_ros.bags.writer import METADATA_RECORD, UNFINISHED, EpisodeBag, Schema, info_from_text, is_being_written
from am_ros.episode import EpisodeInfo, Outcome
from am_ros.errors import AmRosError
from am_ros.paths import Folder

SALVAGED = "salvaged"  # reason of an episode whose end was lost


@dataclass
class Salvage:
    """What came of it."""

    path: Path  # the new bag
    messages: int
    steps: int  # complete ones; 0 if the bag holds no episode that can be learned from
    damage: list[str] = field(default_factory=list)  # what was found broken, in words
    complete: bool = False  # the episode's own END and all it speaks of are there


def salvage(path: Folder, out: Folder | None = None) -> Salvage:
    """Write what is whole in a bag (folder or .mcap file) to `out/<episode_id>/`; the source is left as it is.

    `out` is by default a folder `salvaged` beside the source (beside the quarantine, for a bag in there). An episode
    whose end is lost is cut to its complete steps: the last decision, whose result nobody saw, becomes the end, with
    outcome unknown and reason "salvaged". Raises AmRosError if a living process writes the bag or nothing is whole.
    """
    path = Path(path)
    if not path.exists():
        raise AmRosError(f"bag {path}: does not exist")
    if path.is_dir() and is_being_written(path):
        raise AmRosError(f"bag {path}: is being written by a running process")
    found = _Found()
    files = sorted(path.glob("*.mcap"), key=natural) if path.is_dir() else [path]
    for file in files:
        _read_what_is_whole(file, found)
    if not found.messages:
        raise AmRosError(f"bag {path}: nothing to salvage, no message is whole")
    info = found.info or EpisodeInfo(_id_from_path(path))
    pieces = _Pieces(found.messages, info.episode_id)
    for _, event in pieces.events[:1]:  # under a checksum, unlike the metadata
        info = replace(info, task=event.task, goal_id=event.goal_id, source=event.source, seed=event.seed)
    end = pieces.whole_end()
    if end is not None:
        messages, steps = found.messages, end.steps
        info = replace(info, outcome=Outcome(end.outcome), reason=end.reason)
    else:
        messages, steps = _cut(found.messages, pieces, info)
        info = replace(info, outcome=Outcome.UNKNOWN, reason=SALVAGED)
    if out is None:
        parent = path.resolve().parent
        out = (parent.parent if parent.name == QUARANTINE else parent) / SALVAGED
    extra = {**info.extra, SALVAGED: "; ".join(found.damage) or "was not closed"}
    bag = EpisodeBag(out, replace(info, extra=extra))
    try:
        for topic, type_name, time_ns, raw, *_ in messages:
            if bag.type_of(topic) not in (None, type_name):  # a bag of ours has one type of each topic
                found.note(f"topic {topic} was recorded with several types: those of type {type_name} are left out")
                continue
            bag.write(topic, type_name, raw, time_ns, found.schemas.get(type_name))
        return Salvage(bag.close(), len(messages), steps, found.damage, end is not None)
    except BaseException:
        bag.discard()
        raise


def whole_messages(file: Path) -> list[Recorded]:
    """The messages of an MCAP file that are whole, be the file unfinished or damaged."""
    found = _Found()
    _read_what_is_whole(file, found)
    return found.messages


@dataclass
class _Found:
    messages: list[Recorded] = field(default_factory=list)
    schemas: dict[str, Schema] = field(default_factory=dict)  # by type name
    info: EpisodeInfo | None = None
    damage: list[str] = field(default_factory=list)

    def note(self, what: str) -> None:
        """Add to the damage what is not in it yet."""
        if what not in self.damage:
            self.damage.append(what)


def _read_what_is_whole(file: Path, found: _Found) -> None:
    """Collect the messages of all chunks whose checksum is right, until the structure of the file breaks off."""
    channels: dict[int, records.Channel] = {}
    schemas: dict[int, records.Schema] = {}
    messages: list[records.Message] = []
    try:
        with open(file, "rb") as stream:
            reader = StreamReader(stream, emit_chunks=True, record_size_limit=file.stat().st_size)
            for record in reader.records:
                for item in _records_of(record, file, found):
                    if isinstance(item, records.Schema):
                        schemas[item.id] = item
                    elif isinstance(item, records.Channel):
                        channels[item.id] = item
                    elif isinstance(item, records.Message):
                        messages.append(item)
                    elif isinstance(item, records.Metadata) and item.name == METADATA_RECORD:
                        found.info = info_from_text(item.metadata)
    except (*DAMAGE, AmRosError) as error:
        found.damage.append(f"{file.name} breaks off: {error or type(error).__name__}")
    except OSError as error:
        raise AmRosError(f"bag file {file}: cannot be read: {error.strerror}") from None
    for message in messages:
        # A channel is named in the chunk of its first message and again at the end of a closed file. If both are
        # lost, nobody knows what the message is.
        channel = channels.get(message.channel_id)
        if channel is None:
            continue
        schema = schemas.get(channel.schema_id)
        if channel.message_encoding != "cdr":  # our bags hold nothing else
            found.note(f"topic {channel.topic} is serialised as {channel.message_encoding!r}: left out")
        elif schema is not None:
            type_hash = channel.metadata.get("topic_type_hash", "")
            found.schemas[schema.name] = Schema(schema.encoding, schema.data.decode(), type_hash)
            ours = own_name(found.info.extra if found.info else {}, channel.topic)
            recorded = Recorded(channel.topic, schema.name, message.log_time, message.data, type_hash, ours)
            found.messages.append(recorded)


def _records_of(record: records.McapRecord, file: Path, found: _Found) -> list[records.McapRecord]:
    """What is in a chunk, nothing if it is damaged; any other record by itself."""
    if not isinstance(record, records.Chunk):
        return [record]
    try:
        return breakup_chunk(record, validate_crc=True)
    except DAMAGE:
        found.damage.append(f"{file.name}: a chunk of {len(record.data)} bytes is damaged")
        return []


class _Pieces:
    """What is there of the episode `episode_id` in a list of messages."""

    def __init__(self, messages: list[Recorded], episode_id: str):
        self.image_stamps: set[int] = set()
        self.steps: dict[int, tuple[int, Any]] = {}  # position in the list and message, by index of the step
        self.events: list[tuple[int, Any]] = []
        for position, message in enumerate(messages):
            kind = consumed_name(message.name)
            if kind is None or message.type_name != CONSUMED[kind]:
                continue
            if kind in (topics.IMAGE, topics.IMAGE_COMPRESSED):
                self.image_stamps.add(types.header_stamp_ns(message.raw))
                continue
            msg = types.deserialize(message.type_name, message.raw)
            if msg.episode_id != episode_id:
                continue
            if kind == topics.STEP:
                self.steps[msg.index] = (position, msg)
            else:
                self.events.append((position, msg))

    def sees(self, observation: Any) -> bool:
        """Whether the image of an observation is there."""
        return types.stamp_ns(observation.image_stamp) in self.image_stamps

    def decisions(self) -> int:
        """How many steps from the first on are there with the image they were decided on."""
        count = 0
        while count in self.steps and self.sees(self.steps[count][1].observation):
            count += 1
        return count

    def whole_end(self) -> Any:
        """The episode's END if everything it speaks of is there, else None."""
        ends = [e for _, e in self.events if e.type == END]
        if ends and ends[-1].steps == self.decisions() == len(self.steps) and self.sees(ends[-1].observation):
            return ends[-1]
        return None


def _cut(messages: list[Recorded], pieces: _Pieces, info: EpisodeInfo) -> tuple[list[Recorded], int]:
    """Messages without what cannot be completed, with a new END; and the steps that are left."""
    steps = pieces.decisions() - 1  # the result of the last decision was not seen: it becomes the end
    if steps < 1:
        return messages, 0
    position, last = pieces.steps[steps]
    gone = {p for index, (p, _) in pieces.steps.items() if index >= steps}
    gone |= {p for p, event in pieces.events if event.type == END}
    kept = [m for p, m in enumerate(messages) if p not in gone]
    type_name = CONSUMED[topics.EPISODE_EVENT]
    end = types.message(
        type_name,
        header=last.header,
        type=END,
        episode_id=info.episode_id,
        task=info.task,
        goal_id=info.goal_id,
        source=info.source,
        seed=info.seed,
        steps=steps,
        observation=last.observation,
        reason=SALVAGED,
    )
    namespace = messages[position].topic.removesuffix(topics.STEP)
    raw = types.serialize(type_name, end)
    kept.append(Recorded(namespace + topics.EPISODE_EVENT, type_name, kept[-1].log_time_ns, raw, ""))
    return kept, steps


def _id_from_path(path: Path) -> str:
    """The episode id that a bag's folder or file is named after."""
    name = path.resolve().name.removesuffix(UNFINISHED).removesuffix(".mcap").removesuffix("_0").split(".")[0]
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:64] or "bag"  # of a recording of others

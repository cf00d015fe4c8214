"""Faults that foreign bags are known for: functions that change a good recording; and the rule they must keep."""

import math
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zstandard
from foreign_files import raw, write_metadata
from foreign_recording import IMAGE_HZ, SECONDS, Recording, number_in, numbered
from mcap.writer import CompressionType, IndexType
from recordings import DOWN, POSE, SPACE, T0, image, pose, time, x_of

from am_ros.bags.finder import find
from am_ros.errors import AmRosError
from am_ros.ingest.conversion import BagReport, ingest_bag

TOLERANCE_M, TOLERANCE_S = 0.003, 0.5 / IMAGE_HZ  # of a state; half a frame


def _any(rec: Recording) -> tuple:
    return rec.rng.choice(rec.messages)


def _bad_message(rec: Recording, make) -> None:
    for _ in range(rec.rng.randint(1, 3)):
        topic, kind, at, message = _any(rec)
        if topic in ("/cam", "/pose"):
            rec.insert([(topic, kind, at + 1e-3, make(raw(kind, message)))])


def empty_message(rec):
    _bad_message(rec, lambda data: b"")


def message_cut_short(rec):
    _bad_message(rec, lambda data: data[: rec.rng.randrange(1, len(data) - 8)])


def message_of_random_bytes(rec):
    _bad_message(rec, lambda data: rec.rng.randbytes(rec.rng.randint(1, 300)))


def json_channel(rec):
    rec.encodings["/notes"] = "json"
    rec.insert([("/notes", "note", T0 + rec.rng.uniform(0, SECONDS), b"{}") for _ in range(3)])


def messages_twice(rec):
    rec.insert([m for m in rec.messages if rec.rng.random() < 0.2])


def pause_of_images(rec):
    rec.change("/cam", lambda m: None, rec.window())


def pause_of_poses(rec):
    rec.change("/pose", lambda m: None, rec.window())


def late_messages(rec):
    topic = rec.rng.choice(["/cam", "/pose"])
    late = rec.rng.uniform(0.02, 0.3)
    moved = [(t, k, at + (rec.rng.uniform(0, late) if t == topic else 0), m) for t, k, at, m in rec.messages]
    rec.messages = sorted(moved, key=lambda m: m[2])


def _timeless(rec, until: float) -> None:
    rec.messages = [(t, k, 0.0 if at < until else at, m) for t, k, at, m in rec.messages]


def log_times_zero_at_first(rec):
    _timeless(rec, T0 + rec.rng.uniform(0.2, 3))


def log_times_all_zero(rec):
    _timeless(rec, math.inf)


def _shifted(message, seconds: float):
    stamp = message.header.stamp
    message.header.stamp = time(stamp.sec + stamp.nanosec * 1e-9 + seconds)
    return message


def camera_clock_differs(rec):
    seconds = rec.offset_s = rec.rng.choice([-1, 1]) * 10 ** rec.rng.uniform(-1, 1.5)
    rec.change("/cam", lambda m: _shifted(m, seconds))


def arm_clock_differs(rec):
    seconds = rec.offset_s = rec.rng.choice([-1, 1]) * 10 ** rec.rng.uniform(-1, 1.5)
    rec.change("/pose", lambda m: _shifted(m, seconds))


def clock_is_set(rec):
    topics = rec.rng.choice([("/cam",), ("/pose",), ("/cam", "/pose")])
    seconds, begin = rec.rng.choice([-1, 1]) * rec.rng.uniform(0.5, 5), T0 + rec.rng.uniform(1.5, SECONDS - 1.5)
    for topic in topics:
        rec.change(topic, lambda m: _shifted(m, seconds), (begin, math.inf))


def second_source_of_poses(rec):
    begin, end, apart = T0 + rec.rng.uniform(0, SECONDS / 2), T0 + SECONDS, rec.rng.uniform(0.1, 0.4)
    times = np.arange(begin, end, 1 / rec.rng.choice([10, 30, 50]))
    rec.insert([("/pose", POSE, t + 0.004, pose(t + 0.003, (0.55, apart, 0.2))) for t in times.tolist()])


def _posed(rec, change, longest=2.5) -> None:
    rec.change("/pose", lambda m: change(m) or m, rec.window(longest))


def quaternions_zero(rec):
    _posed(rec, lambda m: [setattr(m.pose.orientation, axis, 0.0) for axis in "xyzw"] and None)


def poses_not_finite(rec):
    _posed(rec, lambda m: setattr(m.pose.position, rec.rng.choice("xyz"), math.nan))


def pose_far_away(rec):
    topic, kind, at, _ = rec.rng.choice([m for m in rec.messages if m[0] == "/pose"])
    rec.insert([(topic, kind, at + 0.002, pose(at + 0.002, (1.5, 0.5, 0.2), DOWN))])


def images_black(rec):
    rec.change("/cam", lambda m: setattr(m, "data", np.zeros_like(m.data)) or m, rec.window())


def _redrawn(rec, size: int, encoding: str) -> None:
    def redraw(message):
        if message.encoding != "rgb8" or message.step != 192 or len(message.data) != 64 * 192:
            return message
        if not message.data.any():  # an image that is black stays black
            return message
        rgb = numbered(number_in(message.data.reshape(64, 64, 3)), size)
        stamp = message.header.stamp
        return image(stamp.sec + stamp.nanosec * 1e-9, rgb[..., ::-1] if encoding == "bgr8" else rgb, encoding)

    rec.change("/cam", redraw, rec.window(8))


def encoding_changes(rec):
    _redrawn(rec, 64, "bgr8")


def resolution_changes(rec):
    _redrawn(rec, 128, "rgb8")


def rows_padded(rec):
    def pad(message):
        if len(message.data) != message.height * message.step or not message.step:
            return message
        rows = message.data.reshape(message.height, -1)
        message.data = np.hstack([rows, np.full((message.height, 32), 255, np.uint8)]).reshape(-1)
        message.step += 32
        return message

    rec.change("/cam", pad)


def step_of_zero(rec):
    rec.change("/cam", lambda m: setattr(m, "step", 0) or m, rec.window(8))


def rows_missing(rec):
    rec.change("/cam", lambda m: setattr(m, "data", m.data[: len(m.data) // 2]) or m, rec.window())


def some_stamps_zero(rec):
    topic = rec.rng.choice(["/cam", "/pose"])
    rec.change(topic, lambda m: setattr(m.header, "stamp", time(0)) or m, rec.window(0.5))


def _file(rec, folder: Path) -> Path:
    return rec.rng.choice(sorted(p for p in folder.iterdir() if p.suffix in (".mcap", ".db3", ".zstd")))


def _on_file(rec, change) -> None:
    def after(folder: Path) -> Path:
        file = _file(rec, folder)
        data = bytearray(file.read_bytes())
        file.write_bytes(bytes(change(data)))
        return folder

    rec.after.append(after)


def file_cut_off(rec):
    share = rec.rng.uniform(0.02, 0.999)
    _on_file(rec, lambda data: data[: int(len(data) * share)])


def byte_flipped(rec):
    """Where there is a checksum: elsewhere nobody can tell a flipped bit from a measurement."""

    def flip(data):
        data[rec.rng.randrange(len(data))] ^= 1 << rec.rng.randrange(8)
        return data

    if rec.suffix == ".mcap" and rec.options.get("enable_crcs", True) and rec.options.get("use_chunking", True):
        _on_file(rec, flip)


def block_of_zeros(rec):
    def blank(data):
        begin = rec.rng.randrange(len(data))
        end = min(len(data), begin + rec.rng.randint(50, 5000))
        data[begin:end] = bytes(end - begin)
        return data

    if rec.suffix == ".mcap" and rec.options.get("use_chunking", True):
        _on_file(rec, blank)


OPTIONS = (
    {"index_types": IndexType.NONE}, {"use_chunking": False}, {"use_statistics": False}, {"profile": ""},
    {"repeat_channels": False, "repeat_schemas": False}, {"compression": CompressionType.LZ4},
    {"compression": CompressionType.NONE}, {"chunk_size": 3_000}, {"index_types": IndexType.MESSAGE},
)  # fmt: skip


def index_left_out(rec):
    rec.options.update(rec.rng.choice(OPTIONS))


def messages_compressed(rec):
    pack = zstandard.ZstdCompressor().compress
    rec.messages = [
        (t, k, at, pack(raw(k, m)) if t in ("/cam", "/pose") and m != b"" else m) for t, k, at, m in rec.messages
    ]


def file_compressed(rec):
    def after(folder: Path) -> Path:
        file = _file(rec, folder)
        Path(f"{file}.zstd").write_bytes(zstandard.ZstdCompressor().compress(file.read_bytes()))
        if rec.rng.random() < 0.7 and not Path(f"{file}-wal").exists():
            file.unlink()
        return folder

    rec.after.append(after)


def sqlite3_file(rec):
    rec.suffix, rec.wal = ".db3", rec.rng.random() < 0.5


def stale_metadata(rec):
    rec.splits = 3
    rec.metadata = lambda folder, files, messages: write_metadata(folder, files[:1], messages[: len(messages) // 3])


def file_of_several_lost(rec):
    rec.splits = 3
    rec.metadata = write_metadata

    def after(folder: Path) -> Path:
        file = _file(rec, folder)
        for part in folder.glob(f"{file.name}*"):
            part.unlink()
        return folder

    rec.after.append(after)


def metadata_edited(rec):
    changes = rec.rng.choice([
        {"storage_identifier": ""}, {"version": 99}, {"message_count": 0, "topics_with_message_count": []},
        {"compression_format": "zstd", "compression_mode": "message"}, {"relative_file_paths": ["other_0.mcap"]},
        {"relative_file_paths": None}, {"topics_with_message_count": "x"}, {"duration": None},
    ])  # fmt: skip
    rec.metadata = lambda folder, files, messages: write_metadata(folder, files, messages, **changes)


def copy_beside(rec):
    def after(folder: Path) -> Path:
        file = _file(rec, folder)
        if not Path(f"{file}-wal").exists():
            shutil.copy(file, file.with_name("copy of " + file.name))
        return folder

    rec.after.append(after)


def odd_path(rec):
    rec.name = rec.rng.choice(["a b", "a%20b", "50%", "run#3", "what?", "set[1]", "赤い箱", "-dash", "x" * 120])


def linked_folder(rec):
    def after(folder: Path) -> Path:
        link = Path(tempfile.mkdtemp(prefix="links", dir=folder.parent.parent)) / "there"
        link.symlink_to(folder)
        return link.parent

    rec.after.append(after)


FAULTS: dict[str, Callable[[Recording], None]] = {
    f.__name__.replace("_", " "): f
    for f in (
        empty_message, message_cut_short, message_of_random_bytes, json_channel, messages_twice, pause_of_images,
        pause_of_poses, late_messages, log_times_zero_at_first, log_times_all_zero, camera_clock_differs,
        arm_clock_differs, clock_is_set, second_source_of_poses, quaternions_zero, poses_not_finite, pose_far_away,
        images_black, encoding_changes, resolution_changes, rows_padded, step_of_zero, rows_missing, some_stamps_zero,
        index_left_out, sqlite3_file, messages_compressed, metadata_edited, stale_metadata, file_of_several_lost,
        file_cut_off, byte_flipped, block_of_zeros, file_compressed, copy_beside, odd_path, linked_folder,
    )
}  # fmt: skip
ORDER = {name: number for number, name in enumerate(FAULTS)}  # messages first, then their files, then their folder


def mutated(names, seed: int, folder: Path) -> tuple[Path, Recording]:
    """A good recording with these faults, written; and what was written."""
    rec = Recording(random.Random(seed))
    for name in sorted(names, key=ORDER.__getitem__):
        FAULTS[name](rec)
    return rec.write(folder), rec


def judged(path: Path, rec: Recording, mapping) -> str:
    """Ingest what lies there and hold the rule; what came of it: `whole`, `in part` or `refused`, each for a reason.

    `not told`: an offset that is within what messages may take on their way, and too few pictures that could tell.
    The rule: what an episode says is the truth within 3 mm and half a frame, or the bag or the images are named with
    a reason. AssertionError otherwise.
    """
    bags = find(path).bags
    assert len(bags) == 1, f"one bag was written, found {bags}"
    report, episodes = BagReport(bags[0]), []
    try:
        episodes += ingest_bag(bags[0], "demo", mapping, SPACE, report)
    except AmRosError as error:
        sentence = str(error)
        assert sentence.startswith(f"bag {bags[0]}: ") and "\n" not in sentence, sentence
        report.problem = sentence
    wrong = [fault for e in episodes for fault in _differs(e)]
    if wrong and not report.doubts and not report.problem and _is_too_little_to_tell(rec, report, mapping):
        return "not told"
    assert not wrong or report.doubts or report.problem, f"{wrong[:3]} without a word: {report.as_json()}"
    if report.problem:
        return "refused"
    published = sum(topic == "/cam" and message != b"" for topic, _, _, message in rec.messages)
    counted = sum(n for reason, n in report.dropped.items() if reason.startswith("images") or "on /cam" in reason)
    assert report.images + counted >= published or report.lost, f"{published} images, {report.as_json()}"
    used = sum(len(e) for e in episodes)
    return "whole" if used >= 16 and not report.lost and not report.doubts else "in part"


def _is_too_little_to_tell(rec: Recording, report: BagReport, mapping) -> bool:
    within = 0 < abs(rec.offset_s) < mapping.clocks.max_delay_s + 0.05
    return within and (report.camera_offset is None or not report.camera_offset.confident)


def _differs(episode) -> list[str]:
    found = []
    for t, (rgb, state) in enumerate(zip(episode.images, episode.states, strict=True)):
        true_s = number_in(rgb) / IMAGE_HZ
        span = [x_of(true_s + TOLERANCE_S * share) for share in np.linspace(-1, 1, 9)]
        if not min(span) - TOLERANCE_M <= state[2] <= max(span) + TOLERANCE_M or abs(state[3]) > TOLERANCE_M:
            found.append(f"step {t}: x {state[2]:.3f}, true {x_of(true_s):.3f} m, y {state[3]:.3f}")
    return found

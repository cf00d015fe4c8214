"""A shard: one folder of a store, whole in itself. Columns of rows and of episodes, and shard.json once closed.

    rows.npy          one record per observation: state, action, steps before and after it, success of its episode
    observations.npy  uint8 [N, height, width, 3] or float32 [N, size]; or, of images that are kept as JPEG or PNG,
    frames.npy        their bytes, one behind the other, and
    frame_ends.npy    int64 [N], where each ends
    steps.npy, outcomes.npy, seeds.npy, tasks.npy, sha256.npy   one item per episode; tasks.npy points into tasks.jsonl
    names.npy         id and bag of each episode as text, and
    name_ends.npy     int64, where each ends
    shard.json        how many rows and episodes, what they are
    blocks.npy        CRC-32 of every 65 536 bytes of every column: a flipped bit is found when its block is read first

The action of a row is the one taken on its observation; zeros on the last one. `steps` is the last column that is
committed: an episode counts once it is in there, so a killed writer leaves at most rows that nobody refers to.
"""

import json
import os
import zlib
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from am_ros.episode import STATE_DIM
from am_ros.replay.arrays import Rows
from am_ros.replay.columns import BLOCK, UNREADABLE, Column, Damaged

FORMAT = 3
CLOSED = "shard.json"
TASKS = "tasks.jsonl"
RAW, JPEG, PNG = "raw", "jpeg", "png"
_PER_ROW = ("rows", "observations", "frame_ends")
Entry: TypeAlias = dict[str, Any]  # what is known of an episode


@dataclass(frozen=True)
class Layout:
    """What a store holds, the same in all its shards."""

    observation_shape: tuple[int, ...]
    action_dim: int
    images: str = RAW  # how images are kept: raw, jpeg or png

    @cached_property
    def record(self) -> np.dtype[np.void]:
        """A row without its observation, whole cache lines."""
        names = ["state", "action", "before", "after", "success"]
        kinds = [(np.float32, (STATE_DIM,)), (np.float32, (self.action_dim,)), np.int32, np.int32, np.bool_]
        offsets = np.cumsum([0, 4 * STATE_DIM, 4 * self.action_dim, 4, 4]).tolist()
        size = -(-(offsets[-1] + 1) // 64) * 64
        return np.dtype({"names": names, "formats": kinds, "offsets": offsets, "itemsize": size})

    @property
    def has_images(self) -> bool:
        return len(self.observation_shape) == 3

    @property
    def encoded(self) -> bool:
        return self.images != RAW


class Shard:
    """One shard; `closed` ones never change and are checked, an open one grows."""

    def __init__(self, folder: Path, layout: Layout):
        self.folder, self.layout = folder, layout
        self.closed, self._checked, self._blocks_crc = False, False, 0
        kind = np.uint8 if layout.has_images else np.float32
        seen: dict[str, Any] = {"observations": (kind, layout.observation_shape)}
        if layout.encoded:
            seen = {"frames": (np.uint8, ()), "frame_ends": (np.int64, ())}
        per_episode = {
            "outcomes": (np.int8, ()), "seeds": (np.int64, ()), "tasks": (np.int32, ()), "sha256": (np.uint8, (32,)),
            "names": (np.uint8, ()), "name_ends": (np.int64, ()), "steps": (np.int32, ()),
        }  # fmt: skip
        wanted: dict[str, Any] = {"rows": (layout.record, ()), **seen, **per_episode}
        self.columns = {name: Column(folder / f"{name}.npy", *what) for name, what in wanted.items()}
        self._tasks: list[str] | None = None

    @classmethod
    def create(cls, folder: Path, layout: Layout) -> "Shard":
        """Make an empty one; what a killed writer may have left of it is taken over."""
        shard = cls(folder, layout)
        folder.mkdir(exist_ok=True)
        (folder / TASKS).write_bytes(b"")
        for column in shard.columns.values():  # steps last: with it the shard is one
            column.create()
        return shard

    @classmethod
    def open(cls, folder: Path, layout: Layout) -> "Shard":
        """Open one, closed or not; raises Damaged, naming the file, if it is not whole."""
        shard, path = cls(folder, layout), folder / CLOSED
        if not path.exists():
            shard.refresh()
            return shard
        try:
            about = json.loads(path.read_text())
            if about["format"] != FORMAT or Layout(tuple(about["observation_shape"]), about["action_dim"],
                                                   about["images"]) != layout:  # fmt: skip
                raise Damaged(f"{folder}: is a shard of another store")
            for name, column in shard.columns.items():
                column.rows = about["rows"][name]
            shard._blocks_crc, shard.closed = about["blocks_crc"], True
            tasks_crc = zlib.crc32((folder / TASKS).read_bytes())
            if about.get("tasks_crc", tasks_crc) != tasks_crc:  # shards of an earlier version have none
                raise Damaged(f"{folder / TASKS}: is damaged")
            short = [c.path for c in shard.columns.values() if os.path.getsize(c.path) != c.size_bytes]
        except OSError as error:
            raise Damaged(f"{error.filename}: cannot be read ({error.strerror})") from None
        except (ValueError, KeyError, TypeError):
            raise Damaged(f"{path}: is damaged") from None
        if short:
            raise Damaged(f"{short[0]}: has another length than its shard says")
        return shard

    @property
    def episodes(self) -> int:
        return self.columns["steps"].rows

    @property
    def rows(self) -> int:
        return self.columns["rows"].rows

    @property
    def size_bytes(self) -> int:
        return sum(column.size_bytes for column in self.columns.values())

    def refresh(self) -> None:
        """Of an open shard: see what was appended since. Counts follow from the episodes that are in."""
        for column in self.columns.values():
            column.find_rows()
        steps = self.columns["steps"]
        rows = int(steps.all().sum(dtype=np.int64)) + steps.rows
        for name, column in self.columns.items():
            column.rows = rows if name in _PER_ROW else steps.rows
        for blob, ends in (("names", "name_ends"), ("frames", "frame_ends")):
            if blob in self.columns:
                there = self.columns[ends].rows
                self.columns[blob].rows = int(self.columns[ends].part(there - 1, there)[0]) if there else 0
        for column in self.columns.values():
            if column.path.stat().st_size < column.size_bytes:
                raise Damaged(f"{column.path}: is shorter than its shard says; rebuild the store from the bags")
        self._tasks = None

    # --- writing

    def append(self, episodes: list[Rows], bags: dict[str, str], hashes: list[bytes]) -> None:
        """Add episodes; all of them count, or, if this process is killed, a first part."""
        steps = [len(e.actions) for e in episodes]
        texts = [f"{e.info.episode_id}\0{bags.get(e.info.episode_id, '')}".encode() for e in episodes]
        columns: dict[str, list[np.ndarray]] = {
            "rows": [self._records(e) for e in episodes],
            "outcomes": [np.array([e.info.outcome for e in episodes])],
            "seeds": [np.array([e.info.seed for e in episodes])],
            "tasks": [np.array(self._task_codes([e.info.task for e in episodes]))],
            "sha256": [np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 32)],
            "names": [np.frombuffer(b"".join(texts), np.uint8)],
            "name_ends": [self.columns["names"].rows + np.cumsum([len(t) for t in texts])],
            "steps": [np.array(steps)],
        }
        if self.layout.encoded:
            frames = [frame for e in episodes for frame in self._encode(e)]
            columns["frames"] = [np.frombuffer(frame, np.uint8) for frame in frames]
            columns["frame_ends"] = [self.columns["frames"].rows + np.cumsum([len(f) for f in frames])]
        else:
            columns["observations"] = [e.observations for e in episodes]
        written = {name: self.columns[name].write(arrays) for name, arrays in columns.items()}
        for name, column in self.columns.items():  # in their order: steps last
            column.commit(column.rows + written[name])

    def _records(self, episode: Rows) -> np.ndarray:
        steps = len(episode.actions)
        records = np.zeros(steps + 1, self.layout.record)
        records["state"] = episode.states
        records["action"][:-1] = episode.actions
        records["before"], records["after"] = np.arange(steps + 1), np.arange(steps, -1, -1)
        records["success"] = episode.info.outcome == 1
        return records

    def _encode(self, episode: Rows) -> list[bytes]:
        """The bytes of the bag where it has this size, else what the images become."""
        from am_ros import images  # OpenCV, which arrays need not

        encode = images.encode_png if self.layout.images == PNG else images.encode_jpeg
        frames = episode.frames or (None,) * len(episode.observations)
        return [f or encode(image) for f, image in zip(frames, episode.observations, strict=True)]

    def _task_codes(self, tasks: list[str]) -> list[int]:
        known = self.tasks()
        new = [task for task in dict.fromkeys(tasks) if task not in known]
        if new:
            with (self.folder / TASKS).open("ab") as file:
                file.write("".join(json.dumps(task) + "\n" for task in new).encode())
            known += new
        return [known.index(task) for task in tasks]

    def close(self) -> None:
        """Nothing more is appended: checksums are taken, and shard.json is written last."""
        checks = np.concatenate([column.checks() for column in self.columns.values()])
        np.save(self.folder / "blocks.npy", checks)
        rows = {name: column.rows for name, column in self.columns.items()}
        crc = zlib.crc32(checks.data.cast("B"))
        about = {"format": FORMAT, **asdict(self.layout), "rows": rows, "blocks_crc": crc, "bytes": self.size_bytes}
        about["tasks_crc"] = zlib.crc32((self.folder / TASKS).read_bytes())
        temporary = self.folder / (CLOSED + ".tmp")
        temporary.write_text(json.dumps(about, indent=1) + "\n")
        os.replace(temporary, self.folder / CLOSED)
        self.closed, self._blocks_crc = True, crc

    # --- reading

    def _expect(self) -> None:
        """Of a closed shard: read its checksums, before anything else is read."""
        try:
            checks = np.load(self.folder / "blocks.npy")
        except UNREADABLE as error:
            raise Damaged(f"{self.folder / 'blocks.npy'}: cannot be read ({error})") from None
        if checks.dtype != np.uint32 or zlib.crc32(checks.tobytes()) != self._blocks_crc:
            raise Damaged(f"{self.folder / 'blocks.npy'}: is damaged")
        self._checked, first = True, 0
        for column in self.columns.values():
            blocks = -(-column.size_bytes // BLOCK)
            column.expect(checks[first : first + blocks])
            first += blocks

    def column(self, name: str) -> Column:
        """A column to read from."""
        if self.closed and not self._checked:
            self._expect()
        return self.columns[name]

    def check(self) -> None:
        """Of a closed shard: read all of it; raises Damaged, naming the file."""
        if self.closed:
            self._expect()
            for column in self.columns.values():
                column.all()

    def scatter(self, scattered: bool) -> None:
        """Say whether its store is larger than the memory (columns.py)."""
        for column in self.columns.values():
            column.scatter(scattered)

    def will_need_records(self, rows: np.ndarray) -> None:
        """Rows int64 [n] are asked for soon."""
        self.column("rows").will_need(rows)

    def will_need(self, rows: np.ndarray) -> None:
        """The observations of rows int64 [n] are asked for soon."""
        if not self.layout.encoded:
            self.column("observations").will_need(rows)
        elif self.columns["frames"].scattered:
            frames, ends = self.column("frames"), self.column("frame_ends")
            frames.will_need_bytes(*(frames.place(x) for x in self._frames(ends, rows)))

    def records(self, rows: np.ndarray) -> np.ndarray:
        """All that is known of rows int64 [n] but the observations, as Layout.record."""
        return self.column("rows").take(rows)

    def of_task(self, task: str) -> np.ndarray:
        """bool [episodes]: which are of a task."""
        tasks = self.tasks()
        its: np.ndarray = self.column("tasks").all() == (tasks.index(task) if task in tasks else -1)
        return its

    def observations(self, rows: np.ndarray) -> np.ndarray:
        """Observations of rows int64 [n]."""
        if not self.layout.encoded:
            return self.column("observations").take(rows)
        from am_ros import images

        out = np.empty((len(rows), *self.layout.observation_shape), np.uint8)
        frames, ends = self.column("frames"), self.column("frame_ends")
        for i, (first, last) in enumerate(zip(*(x.tolist() for x in self._frames(ends, rows)), strict=True)):
            out[i] = images.decode(frames.part(first, last), f"{frames.path} row {int(rows[i])}", turned=False)
        return out

    @staticmethod
    def _frames(ends: Column, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the encoded images of rows [n] begin and end in the column of frames."""
        return np.where(rows, ends.take(np.maximum(rows - 1, 0)), 0), ends.take(rows)

    def lend(self, rows: np.ndarray) -> list[np.ndarray]:
        """The same one by one; raw ones as they lie in memory."""
        return list(self.observations(rows)) if self.layout.encoded else self.column("observations").lend(rows)

    def tasks(self) -> list[str]:
        """Names of the tasks, as tasks.npy counts them."""
        if self._tasks is None:
            try:
                lines = (self.folder / TASKS).read_bytes().split(b"\n")[:-1]
                self._tasks = [json.loads(line) for line in lines]
            except (OSError, ValueError) as error:
                raise Damaged(f"{self.folder / TASKS}: cannot be read ({error})") from None
        return self._tasks

    def names(self) -> list[tuple[str, str]]:
        """Id and bag of every episode; the bag is empty where it is of none."""
        text, ends = self.column("names").all().tobytes(), self.column("name_ends").all().tolist()
        found, begin = [], 0
        for end in ends:
            name, bag = text[begin:end].decode().split("\0")
            found.append((name, bag))
            begin = end
        return found

    def entry(self, episode: int, first_row: int) -> Entry:
        """What is known of an episode; `first_row` is that of the shard."""

        def one(name: str) -> Any:
            return self.column(name).part(episode, episode + 1)[0]

        ends = self.column("name_ends").part(max(0, episode - 1), episode + 1).tolist()
        text = self.column("names").part(ends[0] if episode else 0, ends[-1]).tobytes().decode()
        name, bag = text.split("\0")
        entry = {
            "id": name, "task": self.tasks()[one("tasks")], "first": first_row, "steps": int(one("steps")),
            "seed": int(one("seeds")), "outcome": int(one("outcomes")), "sha256": one("sha256").tobytes().hex(),
        }  # fmt: skip
        return entry | ({"bag": bag} if bag else {})

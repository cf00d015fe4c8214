"""The goal library on disk: one PNG and one JSON per goal in one folder.

    <folder>/<goal_id>.png      the image, lossless
    <folder>/<goal_id>.view.png the same view, larger, where the camera gave one: to tell later whether it has moved
    <folder>/<goal_id>.json     what is known of it, with the sha256 of both PNGs

A goal exists as soon as its JSON does. That is written last and taken away first, each by a rename that is on the disk
before the next step, so a process killed at any moment leaves whole goals and at most a PNG without a JSON, which is
ignored. A lock on the folder keeps two writers apart; it is the kernel's, so it dies with its holder.
"""

import fcntl
import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from am_ros.episode import check_name
from am_ros.errors import AmRosError
from am_ros.images import check_rgb, decode, encode_png
from am_ros.paths import Folder

MAX_GOALS = 10_000
MAX_NOTE = 1_000  # characters
MIN_SIDE_PX, MAX_SIDE_PX = 16, 4096
MAX_JOINTS = 128
_MAX_JSON_BYTES = 100_000  # the longest note and 128 joints come to a quarter of that
_MAX_PNG_BYTES = MAX_SIDE_PX * MAX_SIDE_PX * 4
_TEMPORARY = ".tmp"
_LATER = ("focal_px", "view_width", "view_height", "view_sha256")  # fields that older libraries lack


@dataclass(frozen=True)
class Goal:
    """What is known of a goal image besides the image. `record` fills in what the image itself tells."""

    goal_id: str
    note: str = ""
    image_stamp_ns: int = 0  # header stamp of the recorded image
    width: int = 0  # [px]
    height: int = 0  # [px]
    joint_names: tuple[str, ...] = ()
    joint_positions: tuple[float, ...] = ()  # [rad], fingers [m]
    gripper_opening: float | None = None  # 0 closed ... 1 fully open; None: not known
    sha256: str = ""  # of the PNG file
    png_bytes: int = 0
    created: str = ""  # UTC, ISO 8601
    focal_px: float | None = None  # focal length in pixels of the image; None: not known
    view_width: int = 0  # [px] of the larger view; 0: there is none
    view_height: int = 0  # [px]
    view_sha256: str = ""

    def __post_init__(self) -> None:
        what = f"goal {check_name(self.goal_id, 'goal id')!r}"
        if not isinstance(self.note, str) or len(self.note) > MAX_NOTE:
            raise AmRosError(f"{what}: the note must be text of at most {MAX_NOTE} characters")
        for name in ("image_stamp_ns", "width", "height", "png_bytes", "view_width", "view_height"):
            if not _is_integer(getattr(self, name)):
                raise AmRosError(f"{what}: {name} must be an integer of 0 or more, got {getattr(self, name)!r}")
        if len(self.joint_names) != len(self.joint_positions) or len(self.joint_names) > MAX_JOINTS:
            raise AmRosError(
                f"{what}: {len(self.joint_names)} joint names and {len(self.joint_positions)} positions; "
                f"expected as many of each, at most {MAX_JOINTS}"
            )
        if not all(isinstance(name, str) and len(name) <= 200 for name in self.joint_names):
            raise AmRosError(f"{what}: joint names must be text of at most 200 characters")
        if not all(_is_finite(position) for position in self.joint_positions):
            raise AmRosError(f"{what}: a joint position is not a finite number")
        opening = self.gripper_opening
        if opening is not None and not (_is_finite(opening) and 0 <= opening <= 1):
            raise AmRosError(f"{what}: gripper_opening {opening!r} is outside 0 ... 1")
        if self.focal_px is not None and not (_is_finite(self.focal_px) and self.focal_px > 0):
            raise AmRosError(f"{what}: focal_px {self.focal_px!r} is not a positive number")
        if not all(isinstance(text, str) for text in (self.sha256, self.created, self.view_sha256)):
            raise AmRosError(f"{what}: the sha256s and created must be text")


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_finite(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


class GoalLibrary:
    """Goals in a folder, which is made if it is not there. Nothing is cached: the folder is the library."""

    def __init__(self, folder: Folder):
        self.folder = Path(folder).expanduser()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._locked():
                for path in self.folder.glob(f".*{_TEMPORARY}"):
                    path.unlink()  # of a writer that was killed: none is at work while we hold the lock
        except OSError as error:
            raise AmRosError(f"goal library {self.folder}: {error.strerror}") from None

    def record(
        self, goal_id: str, rgb: np.ndarray, metadata: Goal | None = None, view: np.ndarray | None = None
    ) -> Goal:
        """Store an image, uint8 [H, W, 3], and a larger one of the same view under a new name; return what was stored.

        An empty `goal_id` becomes the first free one of goal_0001, goal_0002, ... Of `metadata`, the name, size, hash
        and time of creation are replaced. Raises AmRosError if the name is taken or not a name, the image is of no use,
        the library is full, or the disk refuses; then nothing has changed.
        """
        rgb = check_rgb(rgb, f"goal {goal_id!r}")
        height, width = rgb.shape[:2]
        if not (MIN_SIDE_PX <= height <= MAX_SIDE_PX and MIN_SIDE_PX <= width <= MAX_SIDE_PX):
            raise AmRosError(
                f"goal {goal_id!r}: image of {width}x{height} px is outside "
                f"{MIN_SIDE_PX}x{MIN_SIDE_PX} ... {MAX_SIDE_PX}x{MAX_SIDE_PX}"
            )
        if goal_id:
            check_name(goal_id, "goal id")
        png, view_png = encode_png(rgb), b"" if view is None else encode_png(view)
        with self._locked():
            taken = self._names()
            if goal_id in taken:
                raise AmRosError(f"goal {goal_id!r}: exists already; delete it first or use another name")
            if len(taken) >= MAX_GOALS:
                raise AmRosError(f"goal library {self.folder}: holds {len(taken)} goals, no more than {MAX_GOALS} fit")
            goal_id = goal_id or next(n for i in range(1, MAX_GOALS + 1) if (n := f"goal_{i:04d}") not in taken)
            goal = replace(
                metadata or Goal(goal_id),
                goal_id=goal_id,
                width=width,
                height=height,
                png_bytes=len(png),
                sha256=hashlib.sha256(png).hexdigest(),
                view_width=0 if view is None else view.shape[1],
                view_height=0 if view is None else view.shape[0],
                view_sha256=hashlib.sha256(view_png).hexdigest() if view_png else "",
                created=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            )
            text = json.dumps(asdict(goal), indent=2, allow_nan=False)
            self._write(self._png(goal_id), png)
            if view_png:
                self._write(self._view(goal_id), view_png)
            self._write(self._json(goal_id), text.encode())
        return goal

    def list(self) -> tuple[list[Goal], list[str]]:
        """All goals by name, and one sentence for each entry that is damaged (those are not among the goals).

        Whether an image is the one that was recorded is checked by `get`; here, that it is there and as long.
        """
        goals, damaged = [], []
        for name in sorted(self._names()):
            try:
                goals.append(self._read(name))
            except AmRosError as error:
                damaged.append(str(error))
        return goals, damaged

    def get(self, goal_id: str) -> tuple[Goal, np.ndarray]:
        """A goal and its image, uint8 [H, W, 3].

        Raises AmRosError, naming the file, if there is no such goal or if it is not what was recorded.
        """
        goal = self._read(check_name(goal_id, "goal id"))
        return goal, self._image(self._png(goal_id), goal.sha256, (goal.height, goal.width))

    def view(self, goal: Goal) -> np.ndarray | None:
        """The larger view of a goal, uint8 [H, W, 3]; None if the camera gave none. Raises AmRosError like `get`."""
        if not goal.view_sha256:
            return None
        return self._image(self._view(goal.goal_id), goal.view_sha256, (goal.view_height, goal.view_width))

    def _image(self, path: Path, sha256: str, size: tuple[int, int]) -> np.ndarray:
        data = _read_bytes(path, _MAX_PNG_BYTES)
        described = path.name.split(".")[0] + ".json"
        if hashlib.sha256(data).hexdigest() != sha256:
            raise AmRosError(f"{path}: is not the image that was recorded (its sha256 differs from {described})")
        rgb = decode(data, str(path))
        if rgb.shape[:2] != size:
            raise AmRosError(
                f"{path}: is {rgb.shape[1]}x{rgb.shape[0]} px, but {described} says {size[1]}x{size[0]}"
            )
        return rgb

    def delete(self, goal_id: str) -> None:
        """Remove a goal, whole or damaged. Raises AmRosError if there is none of that name."""
        check_name(goal_id, "goal id")
        with self._locked():
            if not self._json(goal_id).exists():
                raise AmRosError(f"goal {goal_id!r}: does not exist in {self.folder}")
            try:
                self._json(goal_id).unlink()
                self._sync_folder()
                self._png(goal_id).unlink(missing_ok=True)
                self._view(goal_id).unlink(missing_ok=True)
            except OSError as error:
                raise AmRosError(f"goal {goal_id!r}: cannot be deleted: {error.strerror}") from None

    def _png(self, goal_id: str) -> Path:
        return self.folder / f"{goal_id}.png"

    def _view(self, goal_id: str) -> Path:
        return self.folder / f"{goal_id}.view.png"

    def _json(self, goal_id: str) -> Path:
        return self.folder / f"{goal_id}.json"

    def _names(self) -> set[str]:
        """Names that are taken. A file that has no possible name of a goal is none of ours."""
        names = set()
        try:
            stems = [path.stem for path in self.folder.glob("*.json")]
        except OSError as error:
            raise AmRosError(f"goal library {self.folder}: {error.strerror}") from None
        for stem in stems:
            try:
                names.add(check_name(stem, "goal id"))
            except AmRosError:
                continue
        return names

    def _read(self, goal_id: str) -> Goal:
        path = self._json(goal_id)
        if not path.exists():
            raise AmRosError(f"goal {goal_id!r}: does not exist in {self.folder}")
        try:
            content = json.loads(_read_bytes(path, _MAX_JSON_BYTES))
        except (ValueError, RecursionError):
            raise AmRosError(f"{path}: is damaged: not JSON") from None
        names = {f.name for f in fields(Goal)}
        if isinstance(content, dict):  # one recorded before these were known
            content = {name: getattr(Goal, name) for name in _LATER} | content
        if not isinstance(content, dict) or set(content) != names:
            odd = sorted(names ^ set(content)) if isinstance(content, dict) else "not an object"
            raise AmRosError(f"{path}: is damaged: missing or unknown fields {odd}")
        try:
            content |= {name: tuple(content[name]) for name in ("joint_names", "joint_positions")}
            goal = Goal(**content)
        except (AmRosError, TypeError) as error:
            raise AmRosError(f"{path}: is damaged: {error}") from None
        if goal.goal_id != goal_id:
            raise AmRosError(f"{path}: is damaged: it describes goal {goal.goal_id!r}")
        png = self._png(goal_id)
        try:
            size = png.stat().st_size
        except OSError as error:
            raise AmRosError(f"{png}: {error.strerror}") from None
        if size != goal.png_bytes:
            raise AmRosError(f"{png}: has {size} bytes, but {goal.png_bytes} were recorded")
        return goal

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with open(self.folder / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _write(self, path: Path, data: bytes) -> None:
        temporary = path.with_name(f".{path.name}{_TEMPORARY}")
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.rename(temporary, path)
            self._sync_folder()
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise AmRosError(f"{path}: cannot be written: {error.strerror}") from None

    def _sync_folder(self) -> None:
        """A rename or an unlink is on the disk only once its folder is."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _read_bytes(path: Path, at_most: int) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(at_most + 1)
    except OSError as error:
        raise AmRosError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > at_most:
        raise AmRosError(f"{path}: is longer than {at_most} bytes")
    return data

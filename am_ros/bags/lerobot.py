"""Episodes as a LeRobot v3 data set, written and loaded back by the package lerobot."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from am_ros.action import TERMINATE, ActionSpace
from am_ros.bags.episodes import read_episode
from am_ros.bags.finder import find_bags
from am_ros.episode import STATE_DIM, STATE_NAMES, Episode
from am_ros.errors import AmRosError
from am_ros.paths import Folder

IMAGE, STATE, ACTION, STAMP = "observation.images.camera", "observation.state", "action", "observation.stamp"
ACTION_NAMES = ("x", "y", "z", "yaw", "close", "open", "terminate")
ROBOT = "lbr_iiwa"


class Options(NamedTuple):
    """How the data set is written."""

    repo_id: str = ""  # empty: local/ and the folder's name
    fps: int = 0  # 0: the median of the bags


class Exported(NamedTuple):
    """What is in the data set, after it was loaded back."""

    path: Path
    episodes: int
    frames: int
    fps: int
    last_left_out: int  # episodes whose last image is in no frame

    def __str__(self) -> str:
        counts = f"{self.episodes} episodes, {self.frames} frames, {self.fps} fps"
        text = f"{self.path}: LeRobot v3, {counts}; loaded back, the same"
        if self.last_left_out:
            text += f"\n  the last image of {self.last_left_out} episodes, which led to no action, is left out"
        return text


def export(folder: Folder, out: Folder, action_space: ActionSpace, options: Options | None = None) -> Exported:
    """Write the bags of a folder to the new folder `out`, load them back and compare every number.

    A frame is an observation with the action decided on it, as recorded: the normalised vector [7] of action.py.
    LeRobot has one frame rate per data set, so `observation.stamp` says when an image was really taken. Images are
    stored as PNG: at 64 pixels a video saves little, and its losses would be learned. Raises AmRosError if the package
    is missing, a bag is damaged, or something else came back; then `out` is removed.
    """
    dataset_class = _dataset_class()
    options, out = options or Options(), Path(out)
    if out.exists():
        raise AmRosError(f"--lerobot {out}: exists already")
    bags = find_bags(folder)
    if not bags:
        raise AmRosError(f"bag folder {folder}: holds no bag")
    fps = options.fps or _frame_rate(bags, action_space)
    name = options.repo_id or f"local/{out.name}"
    try:
        left_out = _write(dataset_class, name, out, bags, action_space, fps)
        frames = _compare(dataset_class(name, root=out), bags, action_space)
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise
    return Exported(out, len(bags), frames, fps, left_out)


def _dataset_class() -> Any:
    try:
        from lerobot.datasets.lerobot_dataset import LeRobotDataset
    except ImportError as error:
        missing = getattr(error, "name", None) or "lerobot"
        raise AmRosError(
            f"--lerobot: the Python package {missing} is missing: pip install 'lerobot>=0.4', in an environment of its "
            "own where it wants another torch than this one"
        ) from None
    if not hasattr(LeRobotDataset, "finalize"):
        raise AmRosError("--lerobot: this lerobot writes an older format: version 0.4 or later is needed")
    return LeRobotDataset


def features(height: int, width: int) -> dict[str, Any]:
    """LeRobot's description of the frames of images of that size [px]."""
    return {
        IMAGE: {"dtype": "image", "shape": (height, width, 3), "names": ["height", "width", "channels"]},
        STATE: {"dtype": "float32", "shape": (STATE_DIM,), "names": list(STATE_NAMES)},
        ACTION: {"dtype": "float32", "shape": (len(ACTION_NAMES),), "names": list(ACTION_NAMES)},
        STAMP: {"dtype": "int64", "shape": (2,), "names": ["sec", "nanosec"]},
    }


def frames(episode: Episode) -> Iterator[dict[str, Any]]:
    """The frames of an episode as LeRobot's add_frame takes them."""
    task = episode.info.task or "unknown"
    for t in range(len(episode)):
        yield {
            IMAGE: episode.images[t],
            STATE: episode.states[t],
            ACTION: episode.actions[t],
            STAMP: np.array(divmod(int(episode.stamps_ns[t]), 10**9), np.int64),
            "task": task,
        }


def _frame_rate(bags: list[Path], action_space: ActionSpace, sample: int = 50) -> int:
    """Steps per second, as whole a number as LeRobot wants, from the first bags."""
    steps = [np.diff(read_episode(bag, action_space).stamps_ns) / 1e9 for bag in bags[:sample]]
    lasting = np.concatenate(steps)
    lasting = lasting[lasting > 0]
    return max(1, round(1 / float(np.median(lasting)))) if len(lasting) else 1


def _write(
    dataset_class: Any, name: str, out: Path, bags: list[Path], action_space: ActionSpace, fps: int
) -> int:
    """Returns how many episodes have a last image that is in no frame."""
    dataset, left_out = None, 0
    shape: tuple[int, ...] = ()
    try:
        for bag in bags:
            episode = read_episode(bag, action_space)
            if dataset is None:
                shape = episode.images.shape[1:]
                dataset = dataset_class.create(
                    repo_id=name,
                    fps=fps,
                    root=out,
                    robot_type=ROBOT,
                    features=features(shape[0], shape[1]),
                    use_videos=False,
                )
            if episode.images.shape[1:] != shape:
                raise AmRosError(f"bag {bag}: images are {episode.images.shape[1:3]}, those before are {shape[:2]}")
            for frame in frames(episode):
                dataset.add_frame(frame)
            dataset.save_episode()
            left_out += not episode.actions[-1][TERMINATE]
    finally:
        if dataset is not None:  # after a fault too: what is left open writes into the folder when it is collected
            dataset.finalize()
    return left_out


def _compare(dataset: Any, bags: list[Path], action_space: ActionSpace) -> int:
    """Raise AmRosError if the data set that was loaded differs from the bags; return its frames."""
    index = 0
    for bag in bags:
        episode = read_episode(bag, action_space)
        for t, frame in enumerate(frames(episode)):
            # Images are decoded one by one: the first and the last of an episode tell whether they are in order.
            found = dataset[index] if t in (0, len(episode) - 1) else dataset.hf_dataset[index]
            for key in (STATE, ACTION, STAMP):
                if not np.array_equal(np.asarray(found[key]), frame[key]):
                    raise AmRosError(f"bag {bag}: {key} of step {t} came back changed from the data set")
            if t in (0, len(episode) - 1):
                image = np.asarray(found[IMAGE], np.float32).transpose(1, 2, 0) * 255
                if np.abs(image - frame[IMAGE]).max() > 0.5:  # it comes as numbers of 0 ... 1
                    raise AmRosError(f"bag {bag}: the image of step {t} came back changed from the data set")
            index += 1
    if (dataset.num_episodes, dataset.num_frames) != (len(bags), index):
        raise AmRosError(
            f"the data set holds {dataset.num_episodes} episodes with {dataset.num_frames} frames, written were "
            f"{len(bags)} with {index}"
        )
    return index

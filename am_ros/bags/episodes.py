"""Episodes to bags and back, without ROS."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from am_ros import images, topics
from am_ros.action import ActionSpace
from am_ros.bags import types
from am_ros.bags.assembler import CONSUMED, END, START, EpisodeAssembler, consumed_name
from am_ros.bags.reader import BagReader, Recorded
from am_ros.bags.writer import EpisodeBag
from am_ros.episode import STATE_NAMES, Episode
from am_ros.errors import AmRosError
from am_ros.paths import Folder

JPEG_QUALITY = 95
BASE_FRAME, CAMERA_FRAME = "base_link", "camera"


def write_episode(episode: Episode, folder: Folder, action_space: ActionSpace, durable: bool = False) -> Path:
    """Write the bag `folder/<episode_id>/` as the episode logger would have recorded it; return its path.

    Images become JPEGs (quality 95, no chroma subsampling), states and actions come back bit by bit. `durable` adds
    an fsync; without it the rename is atomic, but a power cut may take the episode. Raises AmRosError if the name is
    taken or an action is not in the action space.
    """
    for t in np.flatnonzero(np.diff(episode.stamps_ns) == 0):
        # A terminating step moves nothing: its observation and the last one may be the same image.
        if not np.array_equal(episode.images[t], episode.images[t + 1]):
            raise AmRosError(
                f"episode {episode.info.episode_id!r} step {t}: its image and the next differ, but have the "
                "same stamp, which tells what image a step belongs to"
            )
    bag = EpisodeBag(folder, episode.info, durable)
    try:
        _write_messages(bag, episode, action_space)
        return bag.close()
    except BaseException:
        bag.discard()
        raise


def read_episode(
    path: Folder, action_space: ActionSpace, image_size: tuple[int, int] | None = None, keep_files: bool = False
) -> Episode:
    """The episode in a bag; `image_size` is (height, width) [px] to crop and resize to. `keep_files`: see Episode.

    Raises AmRosError in one sentence that names the bag if it is damaged, incomplete, or no episode of ours.
    """
    reader = BagReader(path)
    assembler = EpisodeAssembler(action_space, image_size, keep_files)
    kinds: dict[str, str | None] = {}  # topic -> what it is for us
    episode = None
    try:
        for message in reader.messages():
            if message.topic not in kinds:
                kinds[message.topic] = _check_topic(message, kinds)
            kind = kinds[message.topic]
            if kind is None:
                continue
            found = assembler.add(kind, types.deserialize(message.type_name, message.raw))
            if found is not None and episode is not None:
                raise AmRosError("holds more than one episode")
            episode = found or episode
        if not {topics.IMAGE_COMPRESSED, topics.IMAGE} & set(kinds.values()):
            raise AmRosError(f"has no images: no topic {topics.IMAGE_COMPRESSED}")
        for required in (topics.STEP, topics.EPISODE_EVENT):
            if required not in kinds.values():
                raise AmRosError(f"has no topic {required}")
        assembler.finish()
        if episode is None:
            raise AmRosError("holds no complete episode")
    except AmRosError as error:
        raise error if str(error).startswith("bag ") else reader.error(str(error)) from None
    info = reader.info()
    if info.episode_id != episode.info.episode_id:
        raise reader.error(f"is of episode {info.episode_id!r}, but holds {episode.info.episode_id!r}")
    episode.info = info
    return episode


def _check_topic(message: Recorded, kinds: dict[str, str | None]) -> str | None:
    """What a topic of a bag is for us; AmRosError if it has a wrong type or another one is the same to us."""
    kind = consumed_name(message.name)
    if kind is None:
        return None
    if message.type_name != CONSUMED[kind]:
        raise AmRosError(f"topic {message.topic} has type {message.type_name}, expected {CONSUMED[kind]}")
    if kind in kinds.values():
        raise AmRosError(f"has several topics {kind}, so it is of several workcells")
    if message.type_hash and message.type_hash != types.type_hash(message.type_name):
        raise AmRosError(f"topic {message.topic} was recorded with another definition of {message.type_name}")
    return kind


def _write_messages(bag: EpisodeBag, episode: Episode, action_space: ActionSpace) -> None:
    info = episode.info
    stamps = episode.stamps_ns.tolist()
    event = {
        "episode_id": info.episode_id,
        "task": info.task,
        "goal_id": info.goal_id,
        "source": info.source,
        "seed": info.seed,
    }

    def write(topic: str, stamp: int, frame: str, **fields: Any) -> None:
        type_name = CONSUMED[topic]
        header = types.message("std_msgs/msg/Header", stamp=types.stamp(stamp), frame_id=frame)
        raw = types.serialize(type_name, types.message(type_name, header=header, **fields))
        bag.write("/" + topic, type_name, raw, stamp)

    def write_image(t: int) -> None:
        if t > 0 and stamps[t] == stamps[t - 1]:
            return
        jpeg = images.encode_jpeg(episode.images[t], JPEG_QUALITY)
        data = np.frombuffer(jpeg, np.uint8)
        write(topics.IMAGE_COMPRESSED, stamps[t], CAMERA_FRAME, format="jpeg", data=data)

    write(topics.EPISODE_EVENT, stamps[0], BASE_FRAME, type=START, **event)
    for t, vector in enumerate(episode.actions):
        write_image(t)
        action = action_space.from_vector(vector)
        if not np.array_equal(action_space.to_vector(action), vector):
            values = vector.round(4).tolist()
            raise AmRosError(f"episode {info.episode_id!r} step {t}: {values} is not in the action space")
        x, y, z = action.translation_m
        translation = types.message("geometry_msgs/msg/Vector3", x=x, y=y, z=z)
        write(
            topics.STEP,
            stamps[t],
            BASE_FRAME,
            episode_id=info.episode_id,
            index=t,
            observation=_observation(stamps[t], episode.states[t]),
            source=info.source,
            q_value=math.nan,
            action=types.message(
                "am_msgs/msg/CartesianAction",
                translation=translation,
                rotation_z=action.rotation_z_rad,
                gripper=int(action.gripper),
                terminate=action.terminate,
            ),
        )
    write_image(len(episode))
    write(
        topics.EPISODE_EVENT,
        stamps[-1],
        BASE_FRAME,
        type=END,
        steps=len(episode),
        observation=_observation(stamps[-1], episode.states[-1]),
        outcome=int(info.outcome),
        reason=info.reason,
        **event,
    )


def _observation(stamp: int, state: np.ndarray) -> Any:
    """am_msgs/Observation of a state vector; its orientation is Rz(yaw) Rx(pi), a tool that points down."""
    values = dict(zip(STATE_NAMES, state.tolist(), strict=True))
    half_yaw = math.atan2(values["sin_yaw"], values["cos_yaw"]) / 2
    position = types.message("geometry_msgs/msg/Point", x=values["x_m"], y=values["y_m"], z=values["height_m"])
    orientation = types.message(
        "geometry_msgs/msg/Quaternion", x=math.cos(half_yaw), y=math.sin(half_yaw), z=0.0, w=0.0
    )
    pose = types.message("geometry_msgs/msg/Pose", position=position, orientation=orientation)
    return types.message(
        "am_msgs/msg/Observation",
        image_stamp=types.stamp(stamp),
        ee_pose=pose,
        gripper_opening=values["gripper_opening"],
    )

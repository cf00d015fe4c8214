"""The one place that turns messages, live or recorded, into an Episode."""

import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from am_ros import images, topics
from am_ros.action import ActionSpace, CartesianAction, Gripper
from am_ros.bags.types import stamp_ns
from am_ros.episode import Episode, EpisodeInfo, Outcome, check_name, state_vector, yaw_of_quaternion
from am_ros.errors import AmRosError

START, END, DISCARD = 0, 1, 2  # EpisodeEvent.type

# Topics an episode is assembled from, with their types. Of the two image topics a consumer chooses one.
CONSUMED = {
    topics.IMAGE_COMPRESSED: "sensor_msgs/msg/CompressedImage",
    topics.IMAGE: "sensor_msgs/msg/Image",
    topics.STEP: "am_msgs/msg/Step",
    topics.EPISODE_EVENT: "am_msgs/msg/EpisodeEvent",
}

# Images that no step has named yet. A step names its image within a second or so; 64 MB are 3 s of uncompressed
# 472x472 images at 30 Hz, and minutes of JPEGs.
IMAGE_BYTES = 64_000_000
# An episode of which nothing came for so long is lost, once the subscriber has caught up; longer than a step may take.
# Order tells nothing: in a busy subscriber, which takes one message of each topic in turn, the few events run hundreds
# of episodes ahead of the many images, stamps of replayed bags jump back and forth, and a recorded bag begins with
# images of the episode before it, which may complete that one long before an episode that was played earlier.
LOST_AFTER_S = 30.0
MAX_STEPS = 10_000  # of an episode: an actor that never ends must not either
OPEN_EPISODES = 10_000  # actors that died without an END must not fill the memory
REMEMBERED_STAMPS = 200_000  # of images that belong to an episode


@cache
def consumed_name(topic: str) -> str | None:
    """The name in CONSUMED that `topic`, in whatever namespace, stands for; None if it is not one of them."""
    return next((name for name in CONSUMED if topic == name or topic.endswith("/" + name)), None)


class EpisodeAssembler:
    """Collects image, step and event messages (rclpy's or rosbags') in any order; add() returns finished episodes.

    Images and steps are paired by the stamp that the step names, never by the order of arrival. An END says how many
    steps there were, so it may come before the last of them. `image_size` is (height, width) [px] of the result.
    `keep_files`: episodes keep their images' files, too.
    """

    def __init__(
        self, action_space: ActionSpace, image_size: tuple[int, int] | None = None, keep_files: bool = False
    ):
        self.images_forgotten = 0  # never named by a step; in a stream most are not
        self._action_space = action_space
        self._image_size, self._keep_files = image_size, keep_files
        self._open: OrderedDict[str, _OpenEpisode] = OrderedDict()  # in the order in which they began
        self._closed: deque[str] = deque(maxlen=64)  # discarded or refused; their stragglers are ignored
        self._recent: OrderedDict[int, Any] = OrderedDict()  # the last images by stamp
        self._recent_bytes = 0
        self._awaited: dict[int, list[_OpenEpisode]] = {}  # by stamp of an image that has not come
        self._claims: OrderedDict[int, tuple[str, str]] = OrderedDict()  # episode and role of an image, by stamp
        self._complete: deque[Episode] = deque()
        self._faults: deque[str] = deque()

    def add(self, topic: str, msg: Any) -> Episode | None:
        """Take one message; return an Episode if it is now complete.

        Raises AmRosError naming episode and step if an episode turns out to be faulty; that episode is dropped, and
        the assembler goes on with the next message.
        """
        name = consumed_name(topic)
        if name in (topics.IMAGE_COMPRESSED, topics.IMAGE):
            self._add_image(msg)
        elif name == topics.STEP:
            self._add_step(msg)
        elif name == topics.EPISODE_EVENT:
            self._add_event(msg)
        if self._complete:
            return self._complete.popleft()
        if self._faults:
            raise AmRosError(self._faults.popleft())
        return None

    def give_up(self, now_s: float) -> list[str]:
        """Drop the episodes of which nothing came for LOST_AFTER_S; returns a sentence for each, with what is missing.

        To be called now and then in a stream without an end, when nothing waits to be added. `now_s`: time.monotonic().
        """
        for episode in list(self._open.values()):
            if now_s - episode.heard_s > LOST_AFTER_S:
                self._refuse(episode, episode.missing() or "")
        faults, self._faults = list(self._faults), deque()
        return faults

    def finish(self) -> None:
        """The stream has ended: raise AmRosError, saying what is missing, if an episode is incomplete."""
        for episode in list(self._open.values()):
            self._refuse(episode, episode.missing() or "")
        faults, self._faults = self._faults, deque()
        if faults:
            raise AmRosError(faults[0])

    def _add_image(self, msg: Any) -> None:
        stamp = stamp_ns(msg.header.stamp)
        if stamp in self._recent:
            return
        self._recent[stamp] = msg
        self._recent_bytes += len(msg.data)
        for episode in self._awaited.pop(stamp, ()):
            episode.images[stamp], episode.heard_s = msg, time.monotonic()
            self._finish_if_complete(episode)
        while self._recent_bytes > IMAGE_BYTES and len(self._recent) > 1:
            _, old = self._recent.popitem(last=False)
            self._recent_bytes -= len(old.data)
            self.images_forgotten += 1

    def _add_step(self, msg: Any) -> None:
        episode = self._episode(msg.episode_id)
        if episode is None:
            return
        if len(episode.steps) >= MAX_STEPS:
            self._refuse(episode, f"has more than {MAX_STEPS} steps")
            return
        if msg.index in episode.steps:
            self._refuse(episode, f"step {msg.index} came twice")
            return
        episode.steps[msg.index] = msg
        self._want(episode, msg.observation, "first" if msg.index == 0 else "inner")

    def _add_event(self, msg: Any) -> None:
        if msg.type == START:  # tells nothing that the END does not, so it is not waited for
            if msg.episode_id in self._closed:
                self._closed.remove(msg.episode_id)  # the same bag is played again
            return
        episode = self._episode(msg.episode_id)
        if episode is None:
            return
        if msg.type == END:
            episode.end = msg
            self._want(episode, msg.observation, "last")
        elif msg.type == DISCARD:
            self._drop(episode)

    def _episode(self, episode_id: str) -> "_OpenEpisode | None":
        if episode_id in self._closed:
            return None
        if episode_id not in self._open:
            check_name(episode_id, "episode id")
            if len(self._open) >= OPEN_EPISODES:
                oldest = next(iter(self._open.values()))
                self._refuse(oldest, f"{oldest.missing()}, and {OPEN_EPISODES} newer ones began")
            self._open[episode_id] = _OpenEpisode(episode_id)
        self._open[episode_id].heard_s = time.monotonic()
        return self._open[episode_id]

    def _want(self, episode: "_OpenEpisode", observation: Any, role: str) -> None:
        """Note that an episode needs an image, and refuse it if that is another one's.

        Bags whose clocks began at the same time (simulated time from zero) share stamps; played one after the other
        they would silently get each other's images. Only the last image of one episode may be the first of another.
        """
        stamp = stamp_ns(observation.image_stamp)
        owner, owner_role = self._claims.setdefault(stamp, (episode.episode_id, role))
        if owner != episode.episode_id and {role, owner_role} != {"first", "last"}:
            self._refuse(episode, f"an image of episode {owner!r} has the same stamp, {stamp} ns")
            return
        if len(self._claims) > REMEMBERED_STAMPS:
            self._claims.popitem(last=False)
        # A terminating step and the end name the same image: it is awaited once.
        if stamp not in episode.images:
            episode.images[stamp] = self._recent.get(stamp)
            if episode.images[stamp] is None:
                self._awaited.setdefault(stamp, []).append(episode)
        self._finish_if_complete(episode)

    def _finish_if_complete(self, episode: "_OpenEpisode") -> None:
        if episode.end is None or episode.missing() is not None:
            return
        del self._open[episode.episode_id]
        try:
            self._complete.append(self._build(episode))
        except AmRosError as error:
            self._faults.append(str(error))

    def _refuse(self, episode: "_OpenEpisode", why: str) -> None:
        self._drop(episode)
        self._faults.append(f"episode {episode.episode_id!r}: {why}")

    def _drop(self, episode: "_OpenEpisode") -> None:
        del self._open[episode.episode_id]
        self._closed.append(episode.episode_id)
        for stamp, image in episode.images.items():
            if image is None:
                waiting = [e for e in self._awaited.pop(stamp, ()) if e is not episode]
                if waiting:
                    self._awaited[stamp] = waiting

    def _build(self, episode: "_OpenEpisode") -> Episode:
        end = episode.end
        try:
            steps = [episode.steps[t] for t in range(end.steps)]
            info = EpisodeInfo(
                episode.episode_id, end.task, end.goal_id, end.source, end.seed, Outcome(end.outcome), end.reason
            )
        except ValueError as error:
            raise AmRosError(f"episode {episode.episode_id!r}: {error}") from None
        observations = [s.observation for s in steps] + [end.observation]
        stamps = [stamp_ns(o.image_stamp) for o in observations]
        pixels = np.empty(0, np.uint8)
        states, actions, files = [], [], []
        for t, (observation, stamp) in enumerate(zip(observations, stamps, strict=True)):
            try:
                image, file = self._decode(episode.images[stamp])
                if self._keep_files:
                    files.append(file)
                if t == 0:
                    pixels = np.empty((len(stamps), *image.shape), np.uint8)
                if image.shape != pixels.shape[1:]:
                    raise AmRosError(f"image is {image.shape[:2]}, those before are {pixels.shape[1:3]}")
                pixels[t] = image
                p, q = observation.ee_pose.position, observation.ee_pose.orientation
                yaw = yaw_of_quaternion(q.x, q.y, q.z, q.w)
                states.append(state_vector((p.x, p.y, p.z), yaw, observation.gripper_opening))
                if t < len(steps):
                    actions.append(self._action_vector(steps[t].action, observation.gripper_opening))
            except (AmRosError, ValueError) as error:
                raise AmRosError(f"episode {episode.episode_id!r} step {t}: {error}") from None
        vectors = np.array(states), np.array(actions).reshape(-1, 7)
        return Episode(info, pixels, *vectors, np.array(stamps, np.int64), files)

    def _decode(self, msg: Any) -> tuple[np.ndarray, bytes | None]:
        """The image of a message, and its file where that decodes to the same."""
        compressed = hasattr(msg, "format")
        rgb = images.array_from_compressed(msg) if compressed else images.array_from_image(msg)
        if self._image_size is not None and rgb.shape[:2] != tuple(self._image_size):
            return images.crop_resize(rgb, *self._image_size), None
        return rgb, bytes(msg.data) if compressed and self._keep_files and images.is_plain(msg.format) else None

    def _action_vector(self, msg: Any, gripper_opening: float) -> np.ndarray:
        t = msg.translation
        action = CartesianAction((t.x, t.y, t.z), msg.rotation_z, Gripper(msg.gripper), bool(msg.terminate))
        self._action_space.check(action)
        return self._action_space.to_vector(action, gripper_opening)


@dataclass
class _OpenEpisode:
    """What has come of an episode so far."""

    episode_id: str
    steps: dict[int, Any] = field(default_factory=dict)  # Step by index
    images: dict[int, Any] = field(default_factory=dict)  # image by stamp [ns], None while it has not come
    end: Any = None  # EpisodeEvent, once it came
    heard_s: float = 0.0  # when something of it came last, time.monotonic()

    def missing(self) -> str | None:
        """What is missing, in words; None if the episode is complete."""
        if self.end is None:
            return f"its END is missing after {len(self.steps)} steps"
        for index in range(self.end.steps):
            if index not in self.steps:
                return f"step {index} of {self.end.steps} is missing"
            if self.images[stamp_ns(self.steps[index].observation.image_stamp)] is None:
                return f"the image of step {index} is missing"
        if len(self.steps) > self.end.steps:
            return f"step {max(self.steps)} came, but END says there were {self.end.steps}"
        if self.images[stamp_ns(self.end.observation.image_stamp)] is None:
            return "the image of the end is missing"
        return None

"""The logger's episodes as the page shows them: its list kept up to date by what has changed, bags by their key."""

import math
from pathlib import Path

from am_msgs.msg import EpisodeSummary
from am_msgs.srv import GetEpisode, LabelEpisode, ListEpisodes, SalvageEpisode, VerifyEpisode

from am_ros.bags.index import EpisodeRow, same_index
from am_ros.bags.labels import NONE
from am_ros.bags.playback import Moment
from am_ros.errors import AmRosError
from am_ros.ros.node.common import to_ns
from am_ros.ros.page.asking import Asking
from am_ros.ros.page.pursuing import GRIPPERS

ROWS = 500
LONG_S = 60.0  # a bag of minutes is read or verified in that time


class Episodes:
    """A copy of the logger's index; `keep_up` from time to time."""

    def __init__(self, asking: Asking):
        self._asking = asking
        self._rows: dict[int, EpisodeRow] = {}
        self._listed: list[EpisodeRow] = []
        self._revision = 0
        self.free_bytes, self.note = 0, "the logger has not been asked yet"

    def rows(self) -> list[EpisodeRow]:
        """As they were known last."""
        return self._listed

    def keep_up(self) -> None:
        """Ask for what has changed; a logger that was started again is asked for everything."""
        more = True
        while more:
            try:
                answer = self._asking.ask(ListEpisodes, "episode_logger/list", since=self._revision, limit=ROWS)
            except AmRosError as error:
                self.note = str(error)
                raise
            if self._revision and not same_index(answer.revision, self._revision):
                self._rows, self._revision = {}, 0
                continue
            for key in answer.gone:
                self._rows.pop(key, None)
            for one in answer.episodes:
                self._rows[one.key] = _row(one)
            self._revision, more = answer.revision, answer.more
            self._listed = list(self._rows.values())
            self.free_bytes = answer.free_bytes
            self.note = answer.message or ("" if answer.scanned else "the folder is being read")

    def label(self, key: int, label: str) -> str:
        """By the episode's id, as everybody labels."""
        row = self._row(key)
        self._asking.ask(LabelEpisode, "episode_logger/label", episode_id=row.name, label=label)
        self.keep_up()
        return f"{row.name}: {'no label' if label == NONE else label}"

    def verify(self, key: int) -> list[str]:
        """Sentences; none: nothing is wrong."""
        return list(self._asking.ask(VerifyEpisode, "episode_logger/verify", LONG_S, key=self._row(key).key).problems)

    def salvage(self, key: int) -> str:
        """What came of it."""
        answer = self._asking.ask(SalvageEpisode, "episode_logger/salvage", LONG_S, key=self._row(key).key)
        self.keep_up()
        return f"{answer.message}: {answer.path}"

    def playback(self, key: int) -> list[Moment]:
        """What was seen and decided."""
        answer = self._asking.ask(GetEpisode, "episode_logger/get", LONG_S, key=self._row(key).key)
        steps = {step.index: step for step in answer.steps}
        pairs = zip(answer.observations, answer.pictures, strict=True)
        return [_moment(seen, bytes(picture.data), steps.get(index)) for index, (seen, picture) in enumerate(pairs)]

    def _row(self, key: int) -> EpisodeRow:
        if key not in self._rows:
            raise AmRosError(f"episode {key!r}: its bag is not there any more")
        return self._rows[key]


def _row(one: EpisodeSummary) -> EpisodeRow:
    return EpisodeRow(
        one.key, Path(one.bag), one.episode_id, one.state, one.task, one.goal_id, one.source, one.label, one.outcome,
        one.reason, one.steps, one.duration, one.began, one.bytes, tuple(one.flaws),
    )  # fmt: skip


def _moment(seen, picture: bytes, step) -> Moment:
    p = seen.ee_pose.position
    about = (picture, to_ns(seen.image_stamp) / 1e9, (p.x, p.y, p.z), seen.gripper_opening)
    if step is None:
        return Moment(*about)
    action, way = step.action, step.action.translation
    return Moment(
        *about, (way.x, way.y, way.z), action.rotation_z, GRIPPERS.get(action.gripper, ""), action.terminate,
        None if math.isnan(step.q_value) else step.q_value, step.decision_ms,
    )  # fmt: skip

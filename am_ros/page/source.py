"""What the page shows and what its buttons do, whoever answers: folders of a disk, or the nodes of a running cell.

Reading an attribute or calling `state`-like methods returns at once. Methods that do something block and belong into a
thread; they return a sentence, and raise AmRosError with one.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path

from am_ros.bags.index import EpisodeRow
from am_ros.bags.playback import Moment
from am_ros.errors import AmRosError
from am_ros.page.frames import Frames
from am_ros.page.projection import Projection

CAMERA, VIEW = "camera", "view"  # what the policy sees; the same view, larger
OK, WARN, ERROR, STALE = "ok", "warn", "error", "stale"


@dataclass(frozen=True)
class Light:
    """One entry of /diagnostics."""

    name: str
    level: str  # OK, WARN, ERROR; STALE: it has fallen silent
    sentence: str
    values: tuple[tuple[str, str], ...] = ()
    age_s: float = 0.0


@dataclass(frozen=True)
class NodeState:
    """A node of the cell; `state` is that of its lifecycle, empty where it has none."""

    name: str
    state: str = ""


@dataclass(frozen=True)
class CellState:
    """The cell at one moment. Poses in the robot base frame."""

    arm: str = ""  # "idle", "moving", "protective stop", "inactive"; empty: nothing is heard of a controller
    reason: str = ""
    commander: str = ""  # who holds the arm
    reduced: bool = False
    position_m: tuple[float, float, float] | None = None
    yaw_rad: float = math.nan
    gripper_opening: float | None = None
    image_age_s: float | None = None
    image_hz: float = 0.0
    nodes: tuple[NodeState, ...] = ()
    lights: tuple[Light, ...] = ()
    episode: str = ""  # that is being played now
    model: str = ""  # what the policy server serves


@dataclass(frozen=True)
class GoalCard:
    """A goal of the library. `version` changes with its picture."""

    goal_id: str
    note: str = ""
    recorded_s: float = 0.0
    width: int = 0
    height: int = 0
    gripper_opening: float | None = None
    version: str = ""


@dataclass(frozen=True)
class Comparison:
    """A goal against what the camera sees now."""

    goal_id: str
    sentence: str
    finding: str  # "consistent", "moved", "scene differs", "undecided"
    shift_px: float = math.nan
    shift_deg: float = math.nan
    overlay: bytes = b""  # PNG


@dataclass(frozen=True)
class PursuitStep:
    """One decision of the policy."""

    index: int
    q_value: float
    decision_ms: float
    translation_m: tuple[float, float, float]
    rotation_rad: float
    gripper: str
    terminate: bool
    number: int = 0  # of its picture in `Source.step_picture`; 0: none was kept
    start_m: tuple[float, float, float] | None = None  # where the tool was


@dataclass(frozen=True)
class Candidate:
    """An action that the search looked at in its last decision: where it leads (robot base frame), and its Q."""

    position_m: tuple[float, float, float]
    q_value: float


@dataclass
class PursuitState:
    """The goal that is pursued, or was last."""

    goal_id: str = ""
    running: bool = False
    began_s: float = 0.0  # time.monotonic()
    steps: list[PursuitStep] = field(default_factory=list)
    ended: str = ""  # the sentence why
    fault: bool = False
    warnings: list[str] = field(default_factory=list)  # what an operator should know of it


@dataclass(frozen=True)
class TrainingState:
    """One training: of a running trainer, or what one left behind."""

    name: str
    running: bool = False
    paused: bool = False
    part: str = ""  # of a training of two parts, the first one's name
    update: int = 0
    updates: int = 0
    updates_per_s: float = 0.0
    data_wait_share: float = 0.0
    seconds_left: float = 0.0
    episodes: int = 0
    transitions: int = 0
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)  # figure -> (update, value)
    success: dict[str, list[tuple[float, float]]] = field(default_factory=dict)  # task -> (update, rate)
    silent_s: float = 0.0  # since the last figures came


@dataclass(frozen=True)
class CheckpointCard:
    """A checkpoint that can be loaded, or is only shown. `name` is what the policy server takes."""

    name: str
    update: int = 0
    trained_s: float = 0.0
    episodes: int = 0  # that it was trained on
    transitions: int = 0
    method: str = ""
    data_hash: str = ""
    image_px: int = 0
    sha256: str = ""
    serving: bool = False
    flaw: str = ""


@dataclass(frozen=True)
class EvaluationCard:
    """Trials of policies that lie on a disk: a table of text, and pictures by number."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    pictures: tuple[str, ...] = ()  # their names, in order


@dataclass(frozen=True)
class CheckState:
    """The pre-flight check. A finding is (level, name, seen, mend)."""

    running: bool = False
    at_s: float = 0.0  # Unix time of the last one; 0: none was made
    findings: tuple[tuple[str, str, str, str], ...] = ()
    trouble: str = ""


@dataclass(frozen=True)
class TeachState:
    """Teleoperation from this page."""

    active: bool = False
    episode: str = ""  # that is being recorded
    last: str = ""  # that a label means
    steps: int = 0
    step_m: float = 0.02
    lines: tuple[str, ...] = ()  # what it said, the newest last


class Source:
    """What nobody overrides is not to be had here, and `lacks` says why, by the name of the view."""

    title = "am_ros"
    live = False  # whether there is an arm that might move
    lacks: dict[str, str] = {}

    def __init__(self):
        self.frames = Frames()
        self.lacks = dict(self.lacks)

    def close(self) -> None:
        """The page ends."""

    def watched(self, browsers: int) -> None:
        """So many browsers are open now: without any, nothing need be listened to."""

    # -- the cell

    def cell(self) -> CellState:
        return CellState()

    def stop(self) -> str:
        """Cancel whatever moves the arm, and brake."""
        raise AmRosError("there is no arm here: these are the files of a disk")

    def reset(self) -> str:
        """Leave the protective stop."""
        raise self._lacking("cell")

    # -- goals

    def goals(self) -> list[GoalCard]:
        raise self._lacking("goals")

    def goal_picture(self, goal_id: str) -> bytes:
        """PNG or JPEG."""
        raise self._lacking("goals")

    def record_goal(self, goal_id: str, note: str) -> str:
        raise self._lacking("record")

    def delete_goal(self, goal_id: str) -> str:
        raise self._lacking("goals")

    def compare_goal(self, goal_id: str) -> Comparison:
        raise self._lacking("record")

    def pursue(self, goal_id: str, max_steps: int) -> str:
        """Send it to the policy; the rest is told by `pursuit`."""
        raise self._lacking("pursue")

    def cancel_pursuit(self) -> str:
        raise self._lacking("pursue")

    def pursuit(self) -> PursuitState:
        return PursuitState()

    def step_picture(self, number: int) -> bytes:
        """What the policy saw at a step; raises AmRosError if it is not kept."""
        raise self._lacking("pursue")

    def candidates(self) -> list[Candidate]:
        """Of the last decision; empty where none come."""
        return []

    def projection(self) -> Projection | None:
        """From the robot base frame into the camera's picture; None where the camera's pose is not known."""
        return None

    # -- episodes

    def episodes(self) -> list[EpisodeRow]:
        raise self._lacking("episodes")

    def episodes_note(self) -> str:
        """What is to be said beside the table: that it is being read, or that a folder is gone."""
        return ""

    def free_bytes(self) -> int:
        return 0

    def label(self, key: int, label: str) -> str:
        """`label`: good, bad, none or discarded."""
        raise self._lacking("episodes")

    def verify(self, key: int) -> list[str]:
        """Everything that is wrong with a bag; empty: nothing."""
        raise self._lacking("episodes")

    def salvage(self, key: int) -> str:
        raise self._lacking("episodes")

    def playback(self, key: int) -> list[Moment]:
        raise self._lacking("episodes")

    # -- training

    def trainings(self) -> list[TrainingState]:
        raise self._lacking("training")

    def pause_training(self, pause: bool) -> str:
        raise self._lacking("training")

    def save_training(self) -> str:
        raise self._lacking("training")

    def checkpoints(self) -> list[CheckpointCard]:
        return []

    def load_checkpoint(self, name: str) -> str:
        raise self._lacking("pursue")

    def evaluations(self) -> list[EvaluationCard]:
        return []

    def evaluation_picture(self, evaluation: int, picture: int) -> bytes:
        raise self._lacking("training")

    # -- the check

    def check(self) -> CheckState:
        raise self._lacking("check")

    def run_check(self) -> str:
        raise self._lacking("check")

    # -- teaching

    def teach(self) -> TeachState:
        return TeachState()

    def begin_teaching(self, task: str) -> str:
        raise self._lacking("teach")

    def end_teaching(self) -> str:
        raise self._lacking("teach")

    def teach_key(self, key: str) -> None:
        """One key, as `am-ros teleop` has them."""

    def teach_pad(self, axes: list[float], buttons: list[bool]) -> None:
        """A gamepad as it stands now, in the order of the browser's standard layout."""

    def _lacking(self, view: str) -> AmRosError:
        return AmRosError(self.lacks.get(view) or self.lacks.get("", "this is not to be had here"))


def folder_of(path: Path, above: Path) -> str:
    """A path as people read it: relative to the folder that was given."""
    try:
        return str(path.relative_to(above)) or path.name
    except ValueError:
        return str(path)

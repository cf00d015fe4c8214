"""The page on the folders of a disk: bags, goals, trainings and evaluations, without any node."""

import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from am_ros.action import ActionSpace
from am_ros.bags.index import RECORDING, EpisodeIndex, EpisodeRow
from am_ros.bags.labels import DISCARDED
from am_ros.bags.playback import Moment, read_playback
from am_ros.bags.relabel import delete_bag, set_label
from am_ros.bags.salvage import salvage
from am_ros.bags.verify import verify
from am_ros.errors import AmRosError
from am_ros.goals import Goal, GoalLibrary
from am_ros.images import encode_png
from am_ros.page.results import read_checkpoint, read_evaluation, read_training, walk
from am_ros.page.source import CheckpointCard, EvaluationCard, GoalCard, Source, TrainingState
from am_ros.page.words import unix_s

# Between two looks at the folders, while a browser is open; and so many times as long as a look takes.
LOOK_S, LOOK_SHARE = 5.0, 10.0
MAX_PICTURE = 50_000_000  # bytes


class DiskSource(Source):
    """`folders` are looked through with all that is below; raises AmRosError if one is none."""

    live = False
    lacks = {
        "": "there is no cell here: these are the files of a disk (`am-ros up ... page:=true` shows a cell)",
        "pursue": "no policy runs here: `am-ros up workcell page:=true` shows a cell that can pursue goals",
        "record": "there is no camera here: `am-ros up workcell page:=true` shows a cell with one",
        "check": "there is no cell here to be checked: `am-ros up workcell page:=true` shows one",
        "teach": "there is no arm here: `am-ros up record page:=true` shows one",
    }

    def __init__(self, folders: Iterable[Path]):
        super().__init__()
        self.folders = [Path(folder).expanduser() for folder in folders]
        for folder in self.folders:
            if not folder.is_dir():
                raise AmRosError(f"folder {folder}: is not a folder")
        self.title = ", ".join(str(f) for f in self.folders)
        self._index = EpisodeIndex(self.folders)
        self._libraries: list[GoalLibrary] = []
        self._trainings: list[TrainingState] = []
        self._checkpoints: list[CheckpointCard] = []
        self._evaluations: list[tuple[Path, EvaluationCard]] = []
        self._goals: dict[str, tuple[GoalLibrary, Goal]] = {}
        self._trouble = ""
        self._wanted, self._done = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True, name="page: folders")
        self._thread.start()

    def close(self) -> None:
        """End the thread that looks."""
        self._done.set()
        self._wanted.set()

    def watched(self, browsers: int) -> None:
        """Without a browser the folders are left alone."""
        (self._wanted.set if browsers else self._wanted.clear)()

    def _look(self) -> None:
        self._wanted.set()  # the first look at once: by the time a browser is there it may be over
        while not self._done.is_set():
            self._wanted.wait()
            if self._done.is_set():
                return
            began_s = time.monotonic()
            try:
                self._look_for_results()
                self._index.look()
                self._trouble = self._index.trouble
            except AmRosError as error:
                self._trouble = str(error)
            except OSError as error:
                self._trouble = f"{error.filename}: {error.strerror}"
            self._done.wait(max(LOOK_S, LOOK_SHARE * (time.monotonic() - began_s)))

    def _look_for_results(self) -> None:
        libraries, checkpoints = [], []
        trainings: list[TrainingState] = []
        evaluations: list[tuple[Path, EvaluationCard | None]] = []
        for root in self.folders:
            for folder, names in walk(root):
                if "metrics.csv" in names:
                    _keep(trainings, partial(read_training, folder, root))
                if "checkpoint.json" in names:
                    checkpoints.append(read_checkpoint(folder, root))
                if _is_library(names):
                    libraries.append(GoalLibrary(folder))
                    continue
                for name in sorted(n for n in names if n.endswith(".json") and n != "checkpoint.json"):
                    path = folder / name
                    _keep(evaluations, partial(_with_path, path, root))
        goals = {}
        for library in libraries:
            for goal in library.list()[0]:
                unique = goal.goal_id if goal.goal_id not in goals else f"{library.folder.name}-{goal.goal_id}"
                goals[unique] = library, goal
        self._goals, self._trainings, self._checkpoints = goals, trainings, checkpoints
        self._evaluations = [(path, card) for path, card in evaluations if card is not None]

    # -- goals

    def goals(self) -> list[GoalCard]:
        return [
            GoalCard(
                name, goal.note, unix_s(goal.created), goal.view_width or goal.width,
                goal.view_height or goal.height, goal.gripper_opening, goal.sha256[:16],
            )
            for name, (_, goal) in self._goals.items()
        ]  # fmt: skip

    def goal_picture(self, goal_id: str) -> bytes:
        library, goal = self._goal(goal_id)
        view = library.view(goal)
        return encode_png(view if view is not None else library.get(goal.goal_id)[1])

    def delete_goal(self, goal_id: str) -> str:
        library, goal = self._goal(goal_id)
        library.delete(goal.goal_id)
        self._goals.pop(goal_id, None)
        return f"deleted {goal_id}"

    def _goal(self, goal_id: str) -> tuple[GoalLibrary, Goal]:
        if goal_id not in self._goals:
            raise AmRosError(f"goal {goal_id!r}: does not exist here")
        return self._goals[goal_id]

    # -- episodes

    def episodes(self) -> list[EpisodeRow]:
        return self._index.rows()

    def episodes_note(self) -> str:
        return self._trouble or ("" if self._index.scanned else "the folders are being read")

    def free_bytes(self) -> int:
        return self._index.free_bytes()

    def label(self, key: int, label: str) -> str:
        if self._index.row(key).state == RECORDING:
            self._index.look()  # it may have been closed meanwhile
        row = self._index.row(key)
        if row.state == RECORDING:
            raise AmRosError(f"bag {row.bag}: is being written by a running process; wait until it is closed")
        if label == DISCARDED:
            delete_bag(row.bag)
        else:
            set_label(row.bag, label)
        self._index.refresh(key)
        return f"{row.name}: {label}"

    def verify(self, key: int) -> list[str]:
        return verify(self._index.row(key).bag, ActionSpace()).problems

    def salvage(self, key: int) -> str:
        found = salvage(self._index.row(key).bag)
        self._index.look()
        return f"{found.messages} messages, {found.steps} complete steps: {found.path}"

    def playback(self, key: int) -> list[Moment]:
        return read_playback(self._index.row(key).bag)

    # -- training

    def trainings(self) -> list[TrainingState]:
        return self._trainings

    def checkpoints(self) -> list[CheckpointCard]:
        return self._checkpoints

    def evaluations(self) -> list[EvaluationCard]:
        return [card for _, card in self._evaluations]

    def evaluation_picture(self, evaluation: int, picture: int) -> bytes:
        try:
            path, card = self._evaluations[evaluation]
            path = path.parent / card.pictures[picture]
            if path.stat().st_size > MAX_PICTURE:
                raise AmRosError(f"{path}: is longer than {MAX_PICTURE} bytes")
            return path.read_bytes()
        except (IndexError, OSError) as error:
            raise AmRosError(f"picture {picture} of evaluation {evaluation}: {error}") from None


def _is_library(names: set[str]) -> bool:
    """Whether a folder holds goals: a JSON with a PNG of its name. To ask GoalLibrary would make one of any folder."""
    return ".lock" in names and any(f"{Path(n).stem}.png" in names for n in names if n.endswith(".json"))


def _with_path(path: Path, root: Path) -> tuple[Path, EvaluationCard | None]:
    return path, read_evaluation(path, root)


def _keep(found: list, read: Callable) -> None:
    """What cannot be read is no result: the folder may hold anything."""
    try:
        found.append(read())
    except AmRosError:
        pass

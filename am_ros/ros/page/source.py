"""The page's source in a running cell: everything by the topics, services and actions of its nodes."""

import math
import threading
import time
from dataclasses import dataclass, field, replace

from am_msgs.msg import TrainingMetrics
from am_msgs.srv import (
    CheckGoal,
    DeleteGoal,
    GetGoal,
    GetTraining,
    ListCheckpoints,
    ListGoals,
    LoadCheckpoint,
    RecordGoal,
    RunCheck,
)
from std_srvs.srv import SetBool, Trigger

from am_ros.configuration import parameter
from am_ros.errors import AmRosError
from am_ros.images import array_from_image, encode_png
from am_ros.page.source import (
    CellState,
    CheckpointCard,
    CheckState,
    Comparison,
    GoalCard,
    PursuitState,
    Source,
    TeachState,
    TrainingState,
)
from am_ros.ros.messages.acting import ActingConfig
from am_ros.ros.node.common import RELIABLE_QOS, to_ns
from am_ros.ros.page.asking import Asking
from am_ros.ros.page.episodes import Episodes
from am_ros.ros.page.listening import CellListener
from am_ros.ros.page.pursuing import PursuitWatch
from am_ros.ros.page.teaching import Teaching
from am_ros.teleop import TeleopConfig

FINDINGS = {
    CheckGoal.Response.CONSISTENT: "consistent", CheckGoal.Response.MOVED: "moved",
    CheckGoal.Response.SCENE_DIFFERS: "scene differs", CheckGoal.Response.UNDECIDED: "undecided",
}  # fmt: skip
NEWS_S = 2.0  # between two questions for the lists, while a browser is open
KEPT_GOALS = 500  # pictures of goals in memory


@dataclass(frozen=True)
class PageNodeConfig:
    """What the page has to know of the cell."""

    title: str = parameter("", "what the page is called, beside its name; empty: the namespace")
    goal_check_timeout_s: float = parameter(10.0, "wait so long for a comparison with a goal [s]", range=(0.5, 120.0))
    acting: ActingConfig = field(default_factory=ActingConfig)
    teleop: TeleopConfig = field(default_factory=TeleopConfig)


class RosSource(Source):
    """Wiring between the page and a node, whose executor spins in another thread than the page's."""

    live = True

    def __init__(self, node, config: PageNodeConfig):
        super().__init__()
        self.title = config.title or node.get_namespace().strip("/")
        self._node, self._config = node, config
        acting = config.acting
        self._asking = Asking(node)
        self._listener = CellListener(node, self.frames, acting)
        self.frames.on_look(self._listener.look)
        self._pursuit = PursuitWatch(node, self._asking, self._listener, acting.base_frame)
        self._teaching = Teaching(config.teleop, acting)
        self._episodes = Episodes(self._asking)
        self._goals: list[GoalCard] = []
        self._pictures: dict[tuple[str, str], bytes] = {}
        self._checkpoints: list[CheckpointCard] = []
        self._training: TrainingState | None = None
        self._heard_s = 0.0
        self._check = CheckState()
        self._closing, self._news = threading.Event(), threading.Event()
        node.create_subscription(TrainingMetrics, "trainer/metrics", self._on_metrics, RELIABLE_QOS)
        self._thread = threading.Thread(target=self._keep_up, daemon=True, name="page: lists")
        self._thread.start()

    def close(self) -> None:
        """Let the arm go, end the thread."""
        self._closing.set()
        self._news.set()
        self._teaching.end()

    def watched(self, browsers: int) -> None:
        """Listen while somebody looks."""
        self._listener.watched = browsers > 0
        self._news.set()

    # -- the cell

    def cell(self) -> CellState:
        serving = next((one for one in self._checkpoints if one.serving), None)
        model = f"{serving.name}, update {serving.update}" if serving else ""
        return replace(self._listener.state(), episode=self._pursuit.episode, model=model)

    def stop(self) -> str:
        self._teaching.stop()
        self._pursuit.withdraw()
        return self._asking.cancel_all()

    def reset(self) -> str:
        self._asking.ask(Trigger, "cartesian_controller/reset")
        return "the protective stop is reset"

    # -- goals

    def goals(self) -> list[GoalCard]:
        return self._goals

    def goal_picture(self, goal_id: str) -> bytes:
        card = next((goal for goal in self._goals if goal.goal_id == goal_id), None)
        if card is None:
            raise AmRosError(f"goal {goal_id[:64]!r}: does not exist")
        key = card.goal_id, card.version
        if key not in self._pictures:
            answer = self._asking.ask(GetGoal, "goal_registry/get_view", goal_id=goal_id)
            while len(self._pictures) >= KEPT_GOALS:
                del self._pictures[next(iter(self._pictures))]
            self._pictures[key] = encode_png(array_from_image(answer.image))  # the larger view, where there is one
        return self._pictures[key]

    def record_goal(self, goal_id: str, note: str) -> str:
        answer = self._asking.ask(RecordGoal, "goal_registry/record", goal_id=goal_id, note=note)
        self._ask_goals()
        return answer.message

    def delete_goal(self, goal_id: str) -> str:
        answer = self._asking.ask(DeleteGoal, "goal_registry/delete", goal_id=goal_id)
        self._ask_goals()
        return answer.message

    def compare_goal(self, goal_id: str) -> Comparison:
        wait_s = self._config.goal_check_timeout_s
        a = self._asking.ask(CheckGoal, "goal_registry/check", wait_s, goal_id=goal_id)
        overlay = encode_png(array_from_image(a.overlay)) if a.overlay.width else b""
        return Comparison(goal_id, a.message, FINDINGS.get(a.finding, "undecided"), a.shift_px, a.shift_deg, overlay)

    def pursue(self, goal_id: str, max_steps: int) -> str:
        if self._teaching.state().active:
            raise AmRosError("the arm is taught from this page: let it go first")
        return self._pursuit.pursue(goal_id, max_steps)

    def cancel_pursuit(self) -> str:
        return self._pursuit.cancel()

    def pursuit(self) -> PursuitState:
        return self._pursuit.state()

    def step_picture(self, number: int) -> bytes:
        return self._pursuit.picture(number)

    def candidates(self):
        return self._pursuit.candidates()

    def projection(self):
        return self._pursuit.eye.projection

    # -- episodes

    def episodes(self):
        return self._episodes.rows()

    def episodes_note(self) -> str:
        return self._episodes.note

    def free_bytes(self) -> int:
        return self._episodes.free_bytes

    def label(self, key: int, label: str) -> str:
        return self._episodes.label(key, label)

    def verify(self, key: int) -> list[str]:
        return self._episodes.verify(key)

    def salvage(self, key: int) -> str:
        return self._episodes.salvage(key)

    def playback(self, key: int):
        return self._episodes.playback(key)

    # -- training

    def trainings(self) -> list[TrainingState]:
        if self._training is None:
            return []
        return [replace(self._training, silent_s=time.monotonic() - self._heard_s)]

    def pause_training(self, pause: bool) -> str:
        answer = self._asking.ask(SetBool, "trainer/pause", data=pause)
        self._ask_history()
        return f"training: {answer.message}"

    def save_training(self) -> str:
        return self._asking.ask(Trigger, "trainer/save").message

    def checkpoints(self) -> list[CheckpointCard]:
        return self._checkpoints

    def load_checkpoint(self, name: str) -> str:
        answer = self._asking.ask(LoadCheckpoint, "policy_server/load_checkpoint", 30.0, path=name)
        self._ask_checkpoints()
        return f"policy_server serves {name}, update {answer.update}, {answer.sha256[:8]}"

    # -- the check

    def check(self) -> CheckState:
        return self._check

    def run_check(self) -> str:
        self._ask_check(again=True)
        self._news.set()
        return "the check looks at the cell"

    # -- teaching

    def teach(self) -> TeachState:
        return self._teaching.state()

    def begin_teaching(self, task: str) -> str:
        if self._pursuit.state().running:
            raise AmRosError("a goal is being pursued: cancel it first")
        return self._teaching.begin(task)

    def end_teaching(self) -> str:
        return self._teaching.end()

    def teach_key(self, key: str) -> None:
        self._teaching.key(key)

    def teach_pad(self, axes: list[float], buttons: list[bool]) -> None:
        self._teaching.pad(axes, buttons)

    # -- lists that are asked for while somebody looks, in a thread of their own

    def _keep_up(self) -> None:
        while not self._closing.is_set():
            self._news.wait(NEWS_S if self._listener.watched else None)
            self._news.clear()
            if self._closing.is_set() or not self._listener.watched:
                continue
            for ask in (
                self._ask_goals, self._episodes.keep_up, self._ask_checkpoints, self._ask_history, self._ask_check,
            ):  # fmt: skip
                try:
                    ask()
                except AmRosError:
                    continue  # the node is not there: its view says what it last knew

    def _there(self, node: str) -> bool:
        """Nodes that are not in the graph are not waited for."""
        return any(name == node for name in self._node.get_node_names())

    def _ask_goals(self) -> None:
        if self._there("goal_registry"):
            goals = self._asking.ask(ListGoals, "goal_registry/list").goals
            self._goals = [_goal_card(goal) for goal in goals]

    def _ask_checkpoints(self) -> None:
        if self._there("policy_server"):
            answer = self._asking.ask(ListCheckpoints, "policy_server/list_checkpoints")
            self._checkpoints = [_checkpoint_card(one) for one in answer.checkpoints]

    def _ask_history(self) -> None:
        if not self._there("trainer"):
            if self._training is not None:
                self._training = replace(self._training, running=False)
            return
        found = self._asking.ask(GetTraining, "trainer/history")
        curves: dict[str, list] = {}
        count = len(found.names)
        for row, update in enumerate(found.updates):
            for name, value in zip(found.names, found.values[row * count : (row + 1) * count], strict=True):
                if math.isfinite(value) and name not in ("trained_s", "updates_per_s"):
                    curves.setdefault(name, []).append((float(update), float(value)))
        success: dict[str, list] = {}
        for task, update, rate in zip(found.success_tasks, found.success_updates, found.success_rates, strict=True):
            success.setdefault(task, []).append((float(update), float(rate)))
        before = self._training or TrainingState(found.out)
        self._training = replace(
            before, name=found.out, running=True, paused=found.paused, curves=curves, success=success
        )

    def _ask_check(self, again: bool = False) -> None:
        if not self._there("bringup"):
            self._check = CheckState(trouble="no bring-up runs here, which makes the check")
            return
        try:
            answer = self._asking.ask(RunCheck, "bringup/check", again=again)
        except AmRosError as error:
            self._check = replace(self._check, running=False, trouble=str(error))
            return
        findings = tuple((f.level, f.name, f.seen, f.mend) for f in answer.findings)
        self._check = CheckState(answer.running, answer.made, findings)

    def _on_metrics(self, message: TrainingMetrics) -> None:
        self._heard_s = time.monotonic()
        before = self._training or TrainingState("trainer")
        self._training = replace(
            before, running=not message.done, part=message.part, update=message.update, updates=message.updates_total,
            updates_per_s=message.updates_per_s, data_wait_share=message.data_wait_share,
            seconds_left=message.seconds_left, episodes=message.episodes, transitions=message.transitions,
        )  # fmt: skip


def _goal_card(goal) -> GoalCard:
    opening = None if math.isnan(goal.gripper_opening) else goal.gripper_opening
    stamp_s = to_ns(goal.image_stamp) / 1e9
    # In simulated time a stamp is no date.
    recorded_s = stamp_s if stamp_s > 1e9 else 0.0
    return GoalCard(goal.goal_id, goal.note, recorded_s, goal.width, goal.height, opening, goal.sha256[:16])


def _checkpoint_card(one) -> CheckpointCard:
    return CheckpointCard(
        one.name, one.update, one.trained, one.episodes, one.transitions, one.method, one.data_hash, one.image_size,
        one.sha256, one.serving, one.flaw,
    )  # fmt: skip

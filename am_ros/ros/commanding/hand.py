"""An operator's hand: wishes to steps, episodes and labels, whatever keys or joystick or browser they come from."""

import threading
import time
from collections.abc import Callable

from am_msgs.srv import LabelEpisode, StartEpisode
from rcl_interfaces.msg import Log

from am_ros.bags.labels import DISCARDED
from am_ros.errors import AmRosError
from am_ros.ros.commanding.manual_episodes import REFUSED, ManualEpisodes
from am_ros.ros.introspection.log import CellLog
from am_ros.ros.messages.acting import ActingConfig, Label
from am_ros.ros.node.service import RemoteService
from am_ros.teleop import HELP, Control, Effect, EpisodeState, TeleopConfig, Wishes

SOURCE = "teleoperation"
STALE = ("joy_stale", "joy_frozen")
REFUSED_PAUSE_S = 0.3  # a joystick that pushes against a limit need not ask a hundred times a second


class Hand:
    """`work` in a thread of its own obeys `wishes` until it is told to quit; the node's executor goes on meanwhile.

    `say(sentence)` is told what happens, `tell_place(sentence)` where the tool is after each step.
    """

    def __init__(
        self,
        node,
        teleop: TeleopConfig,
        acting: ActingConfig,
        task: str,
        timeout_s: float,
        say: Callable[[str], None],
        tell_place: Callable[[str], None] = lambda sentence: None,
    ):
        self._node, self.teleop, self._task, self._timeout_s = node, teleop, task, timeout_s
        self._say, self._tell_place = say, tell_place
        self._episodes = ManualEpisodes(node, acting)
        self.state, self.wishes, self.factor = EpisodeState(), Wishes(teleop), 1.0
        self.done = threading.Event()
        self._last_label: Label | None = None
        self._told_stale = False
        self._log = CellLog(node, Log.WARN)
        self._start = RemoteService(node, StartEpisode, "episode_logger/start")
        self._label = RemoteService(node, LabelEpisode, "episode_logger/label")

    @property
    def steps(self) -> int:
        """Of the episode that is played now."""
        return self._episodes.steps

    @property
    def step_m(self) -> float:
        """Length of a step now."""
        return min(self.teleop.step_m * self.factor, 0.08)

    def work(self) -> None:
        """Obey; an episode that is open at the end is ended."""
        try:
            while (wish := self.wishes.next(0.1, time.monotonic)) is not Control.QUIT:
                for line in self._log.news():
                    self._say(f"warning: {line}")
                if wish is None:
                    self._tell_if_stale()
                    continue
                try:
                    if isinstance(wish, Control):
                        self._obey(wish)
                    else:
                        self._step(wish)
                except AmRosError as error:
                    self._say(str(error))
                    self._end(str(error))
            self._end("stopped")
        finally:
            self.done.set()

    def close(self) -> None:
        """The node ends: an episode of a thread that did not end it in time is ended here."""
        self._episodes.close("stopped")

    def _tell_if_stale(self) -> None:
        """A joystick that falls silent between two steps is told like one that does in mid-step, once."""
        stale = self.wishes.halt(time.monotonic())
        if stale.startswith(STALE) and not self._told_stale:
            self._told_stale = True
            self._say(stale)

    def _step(self, action) -> None:
        self._told_stale = False
        result = self._episodes.step(action, _Halted(self.wishes))
        if result.reason:
            halted = self.wishes.halt(time.monotonic())
            self._told_stale = halted.startswith(STALE)
            self._say(f"{result.reason}: {halted}" if result.reason == "cancelled" and halted else result.reason)
        if result.end == REFUSED:
            time.sleep(REFUSED_PAUSE_S)
        p = result.ee_pose.position
        episode = f"{self._episodes.steps} steps recorded" if self.state.running else "not recording"
        if result.end != REFUSED:
            opening = f"open {result.gripper_opening:.2f}"
            self._tell_place(f"x {p.x:.3f}  y {p.y:.3f}  z {p.z:.3f} m  {opening}  {episode}")

    def _obey(self, control: Control) -> None:
        if control in (Control.FASTER, Control.SLOWER):
            self.factor = min(max(self.factor * (1.5 if control is Control.FASTER else 1 / 1.5), 0.1), 10.0)
            self._say(f"steps of {self.step_m * 100:.1f} cm")
        elif control is Control.HELP:
            self._say(HELP)
        for effect in self.state.effects(control):
            if effect is Effect.BEGIN:
                self._begin()
            elif effect is Effect.END:
                if control is Control.TERMINATE:
                    self._episodes.terminate()
                self._end("terminated" if control is Control.TERMINATE else "stopped")
            elif effect is Effect.LABEL and self.state.last:
                self._ask(self._label, LabelEpisode.Request(episode_id=self.state.last, label=control.value))
                self._say(f"episode {self.state.last}: {control.value}")
            elif effect is Effect.DISCARD:
                self._discard()
            elif effect is Effect.NOTHING:
                self._say(f"no episode to be {control.value}")

    def _begin(self) -> None:
        name = f"teleop_{self._node.get_clock().now().nanoseconds}"
        label = Label(name, SOURCE, self._task)
        started = self._ask(self._start, StartEpisode.Request(episode_id=name, task=label.task, source=SOURCE))
        try:
            self._episodes.begin(label, _Halted(self.wishes))
        except AmRosError:
            self._ask(self._label, LabelEpisode.Request(episode_id=name, label=DISCARDED))
            raise
        self.state.begun(name)
        self._last_label = label
        self._say(f"episode {name}: recording to {started.path}")

    def _end(self, reason: str) -> None:
        if not self.state.running:
            return
        name = self.state.running
        if self._episodes.end(reason):
            self.state.ended()
            self._say(f"episode {name}: {self._episodes.steps} steps, {reason}; g good, b bad, x discard")
        else:
            self.state.discarded()
            self._say(f"episode {name}: discarded, it has no step")

    def _discard(self) -> None:
        name = self.state.running or self.state.last
        if self.state.running:
            self._episodes.discard()  # the logger hears it as everybody does
        else:
            self._ask(self._label, LabelEpisode.Request(episode_id=name, label=DISCARDED))
            if self._last_label is not None:
                self._episodes.withdraw(self._last_label)
        self.state.discarded()
        self._say(f"episode {name}: discarded")

    def _ask(self, service: RemoteService, request):
        answer = service.call(request, self._timeout_s)
        if not answer.success:
            raise AmRosError(answer.message)
        return answer


class _Halted:
    """Looks like a threading.Event that is set once the operator wants the step under way to be stopped."""

    def __init__(self, wishes: Wishes):
        self._wishes = wishes

    def is_set(self) -> bool:
        return bool(self._wishes.halt(time.monotonic()))

    def wait(self, timeout_s: float) -> bool:
        time.sleep(timeout_s)
        return self.is_set()

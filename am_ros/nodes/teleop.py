"""Move the arm by hand and record play data: keys of a terminal or a joystick (topic joy) to steps and episodes."""

import os
import signal
import sys
import threading
import time
from dataclasses import dataclass

from am_msgs.srv import LabelEpisode, StartEpisode
from rcl_interfaces.msg import Log
from rclpy.node import Node
from sensor_msgs.msg import Joy

from am_ros.bags.labels import DISCARDED
from am_ros.configuration import parameter
from am_ros.errors import AmRosError
from am_ros.ros.commanding.manual_episodes import REFUSED, ManualEpisodes
from am_ros.ros.commanding.terminal import KeyTerminal
from am_ros.ros.introspection.log import CellLog
from am_ros.ros.messages.acting import ActingConfig, Label
from am_ros.ros.node.common import END_S, LAST_ACTS, RELIABLE_QOS, NodeThread, declare, run, spin_until
from am_ros.ros.node.service import RemoteService
from am_ros.teleop import (
    HELP,
    Control,
    Effect,
    EpisodeState,
    Joystick,
    KeyDecoder,
    TeleopConfig,
    Wishes,
    meaning,
)

SOURCE = "teleoperation"
STALE = ("joy_stale", "joy_frozen")
REFUSED_PAUSE_S = 0.3  # a joystick that pushes against a limit need not ask a hundred times a second


@dataclass(frozen=True)
class TeleopNodeConfig:
    """Who moves the arm, and what the episodes are called."""

    source: str = parameter(
        "auto", "keyboard, joy, or auto: the topic joy, and the keyboard where there is a terminal",
        choices=("auto", "keyboard", "joy"),
    )  # fmt: skip
    task: str = parameter("", "name of the task, written into the episodes")
    logger_timeout_s: float = parameter(5.0, "wait so long for an answer of episode_logger [s]", range=(0.1, 60.0))


class Teleop(Node):
    """A thread reads keys, another one moves the arm and minds the episode; the executor hears the joystick."""

    def __init__(self):
        super().__init__("teleop")
        self.config, self.teleop = declare(self, TeleopNodeConfig), declare(self, TeleopConfig)
        self._episodes = ManualEpisodes(self, declare(self, ActingConfig))
        self._state, self._wishes = EpisodeState(), Wishes(self.teleop)
        self._joystick, self._factor = Joystick(self.teleop), 1.0
        self._last_label: Label | None = None
        self._told_stale = False
        self._log = CellLog(self, Log.WARN)
        self._start = RemoteService(self, StartEpisode, "episode_logger/start")
        self._label = RemoteService(self, LabelEpisode, "episode_logger/label")
        self._done, self._closing = threading.Event(), False
        self._terminal = None
        if self.config.source == "keyboard" or (self.config.source == "auto" and sys.stdin.isatty()):
            self._terminal = KeyTerminal().__enter__()
            LAST_ACTS.append(self._terminal.restore)
        if self.config.source != "keyboard":
            self.create_subscription(Joy, "joy", self._on_joy, RELIABLE_QOS)
        threads = {"hand": self._work} | ({"keys": self._read_keys} if self._terminal else {})
        self._threads = [NodeThread(self, target, name) for name, target in threads.items()]
        self._say(f"ready: {self._sources()}; step {self.teleop.step_m * 100:g} cm, h for help")

    def close(self) -> None:
        """Brake, end the episode, and put the terminal back."""
        self._closing = True
        try:
            self._wishes.key(Control.QUIT, time.monotonic())
            spin_until(self, self._done.is_set, END_S)
            self._episodes.close("stopped")
        finally:
            if self._terminal is not None:
                self._terminal.restore()

    def _sources(self) -> str:
        joy = "" if self.config.source == "keyboard" else f"topic {self.resolve_topic_name('joy')}"
        return " and ".join(filter(None, ["keyboard" if self._terminal else "", joy]))

    # -- hearing ---------------------------------------------------------------------------------------------------

    def _on_joy(self, joy: Joy) -> None:
        wish, pressed = self._joystick.read(joy.axes, joy.buttons, self._factor)
        self._wishes.joy(wish, pressed, time.monotonic(), (tuple(joy.axes), tuple(joy.buttons)))

    def _read_keys(self) -> None:
        decoder = KeyDecoder()
        while not self._done.is_set():
            data = self._terminal.read(0.1)
            if data is None:
                self._wishes.key(Control.QUIT, time.monotonic())
                return
            for key in decoder.feed(data):
                wish = meaning(key, self.teleop, self._factor)
                if wish is not None:
                    self._wishes.key(wish, time.monotonic())

    # -- acting, in a thread of its own ----------------------------------------------------------------------------

    def _work(self) -> None:
        while (wish := self._wishes.next(0.1, time.monotonic)) is not Control.QUIT:
            for line in self._log.news():
                self._say(f"warning: {line}")
            if wish is None:
                self._tell_if_stale()
                continue
            try:
                _ = self._obey(wish) if isinstance(wish, Control) else self._step(wish)
            except AmRosError as error:
                self._say(str(error))
                self._end(str(error))
        self._end("stopped")
        self._done.set()
        if not self._closing:
            os.kill(os.getpid(), signal.SIGINT)  # ends the node as Ctrl-C does elsewhere

    def _tell_if_stale(self) -> None:
        """A joystick that falls silent between two steps is told like one that does in mid-step, once."""
        stale = self._wishes.halt(time.monotonic())
        if stale.startswith(STALE) and not self._told_stale:
            self._told_stale = True
            self._say(stale)

    def _step(self, action) -> None:
        self._told_stale = False
        result = self._episodes.step(action, _Halted(self._wishes))
        if result.reason:
            halted = self._wishes.halt(time.monotonic())
            self._told_stale = halted.startswith(STALE)
            self._say(f"{result.reason}: {halted}" if result.reason == "cancelled" and halted else result.reason)
        if result.end == REFUSED:
            time.sleep(REFUSED_PAUSE_S)
        p = result.ee_pose.position
        episode = f"{self._episodes.steps} steps recorded" if self._state.running else "not recording"
        if self._terminal is not None and result.end != REFUSED:
            self._say(f"x {p.x:.3f}  y {p.y:.3f}  z {p.z:.3f} m  open {result.gripper_opening:.2f}  {episode}", end="")

    def _obey(self, control: Control) -> None:
        if control in (Control.FASTER, Control.SLOWER):
            self._factor = min(max(self._factor * (1.5 if control is Control.FASTER else 1 / 1.5), 0.1), 10.0)
            self._say(f"steps of {min(self.teleop.step_m * self._factor, 0.08) * 100:.1f} cm")
        elif control is Control.HELP:
            self._say(HELP)
        for effect in self._state.effects(control):
            if effect is Effect.BEGIN:
                self._begin()
            elif effect is Effect.END:
                if control is Control.TERMINATE:
                    self._episodes.terminate()
                self._end("terminated" if control is Control.TERMINATE else "stopped")
            elif effect is Effect.LABEL and self._state.last:
                self._ask(self._label, LabelEpisode.Request(episode_id=self._state.last, label=control.value))
                self._say(f"episode {self._state.last}: {control.value}")
            elif effect is Effect.DISCARD:
                self._discard()
            elif effect is Effect.NOTHING:
                self._say(f"no episode to be {control.value}")

    def _begin(self) -> None:
        name = f"teleop_{self.get_clock().now().nanoseconds}"
        label = Label(name, SOURCE, self.config.task)
        started = self._ask(self._start, StartEpisode.Request(episode_id=name, task=label.task, source=SOURCE))
        try:
            self._episodes.begin(label)
        except AmRosError:
            self._ask(self._label, LabelEpisode.Request(episode_id=name, label=DISCARDED))
            raise
        self._state.begun(name)
        self._last_label = label
        self._say(f"episode {name}: recording to {started.path}")

    def _end(self, reason: str) -> None:
        if not self._state.running:
            return
        name = self._state.running
        if self._episodes.end(reason):
            self._state.ended()
            self._say(f"episode {name}: {self._episodes.steps} steps, {reason}; g good, b bad, x discard")
        else:
            self._state.discarded()
            self._say(f"episode {name}: discarded, it has no step")

    def _discard(self) -> None:
        name = self._state.running or self._state.last
        if self._state.running:
            self._episodes.discard()  # the logger hears it as everybody does
        else:
            self._ask(self._label, LabelEpisode.Request(episode_id=name, label=DISCARDED))
            self._episodes.withdraw(self._last_label)
        self._state.discarded()
        self._say(f"episode {name}: discarded")

    def _ask(self, service: RemoteService, request):
        answer = service.call(request, self.config.logger_timeout_s)
        if not answer.success:
            raise AmRosError(answer.message)
        return answer

    def _say(self, text: str, end: str = "\n") -> None:
        if self._terminal is None:
            self.get_logger().info(text)
            return
        try:
            print(f"\r\x1b[K{text}", end=end, flush=True)
        except OSError:  # the window is closed
            pass


class _Halted:
    """Looks like a threading.Event that is set once the operator wants the step under way to be stopped."""

    def __init__(self, wishes: Wishes):
        self._wishes = wishes

    def is_set(self) -> bool:
        return bool(self._wishes.halt(time.monotonic()))

    def wait(self, timeout_s: float) -> bool:
        time.sleep(timeout_s)
        return self.is_set()


def main(args=None) -> int:
    """Entry point of the executable."""
    return run(Teleop, "teleop", args)


if __name__ == "__main__":
    sys.exit(main())

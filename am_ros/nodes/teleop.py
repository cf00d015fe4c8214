"""Move the arm by hand and record play data: keys of a terminal or a joystick (topic joy) to steps and episodes."""

import functools
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from rclpy.node import Node
from sensor_msgs.msg import Joy

from am_ros.configuration import parameter
from am_ros.ros.commanding.hand import Hand
from am_ros.ros.commanding.terminal import KeyTerminal
from am_ros.ros.messages.acting import ActingConfig
from am_ros.ros.node.common import END_S, LAST_ACTS, RELIABLE_QOS, NodeThread, declare, run, spin_until
from am_ros.teleop import Control, Joystick, KeyDecoder, TeleopConfig, meaning


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
        acting, wait_s = declare(self, ActingConfig), self.config.logger_timeout_s
        self._hand = Hand(self, self.teleop, acting, self.config.task, wait_s, self._say, self._tell_place)
        self._joystick, self._closing = Joystick(self.teleop), False
        self._terminal: KeyTerminal | None = None
        if self.config.source == "keyboard" or (self.config.source == "auto" and sys.stdin.isatty()):
            self._terminal = KeyTerminal().__enter__()
            LAST_ACTS.append(self._terminal.restore)
        if self.config.source != "keyboard":
            self.create_subscription(Joy, "joy", self._on_joy, RELIABLE_QOS)
        threads: dict[str, Callable[[], None]] = {"hand": self._work}
        if self._terminal is not None:
            threads["keys"] = functools.partial(self._read_keys, self._terminal)
        self._threads = [NodeThread(self, target, name) for name, target in threads.items()]
        self._say(f"ready: {self._sources()}; step {self.teleop.step_m * 100:g} cm, h for help")

    def close(self) -> None:
        """Brake, end the episode, and put the terminal back."""
        self._closing = True
        try:
            self._hand.wishes.key(Control.QUIT, time.monotonic())
            spin_until(self, self._hand.done.is_set, END_S)
            self._hand.close()
        finally:
            if self._terminal is not None:
                self._terminal.restore()

    def _sources(self) -> str:
        joy = "" if self.config.source == "keyboard" else f"topic {self.resolve_topic_name('joy')}"
        return " and ".join(filter(None, ["keyboard" if self._terminal else "", joy]))

    # -- hearing ---------------------------------------------------------------------------------------------------

    def _on_joy(self, joy: Joy) -> None:
        wish, pressed = self._joystick.read(joy.axes, joy.buttons, self._hand.factor)
        self._hand.wishes.joy(wish, pressed, time.monotonic(), (tuple(joy.axes), tuple(joy.buttons)))

    def _read_keys(self, terminal: KeyTerminal) -> None:
        decoder = KeyDecoder()
        while not self._hand.done.is_set():
            data = terminal.read(0.1)
            if data is None:
                self._hand.wishes.key(Control.QUIT, time.monotonic())
                return
            for key in decoder.feed(data):
                wish = meaning(key, self.teleop, self._hand.factor)
                if wish is not None:
                    self._hand.wishes.key(wish, time.monotonic())

    def _work(self) -> None:
        self._hand.work()
        if not self._closing:
            os.kill(os.getpid(), signal.SIGINT)  # ends the node as Ctrl-C does elsewhere

    def _tell_place(self, text: str) -> None:
        if self._terminal is not None:
            self._say(text, end="")

    def _say(self, text: str, end: str = "\n") -> None:
        if self._terminal is None:
            self.get_logger().info(text)
            return
        try:
            print(f"\r\x1b[K{text}", end=end, flush=True)
        except OSError:  # the window is closed
            pass


def main(args=None) -> int:
    """Entry point of the executable."""
    return run(Teleop, "teleop", args)


if __name__ == "__main__":
    sys.exit(main())

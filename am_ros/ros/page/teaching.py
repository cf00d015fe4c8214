"""Teleoperation from the page: the same hand as `am-ros teleop` has, on a node that lives as long as it is wanted.

It receives every image, which a page that only looks on need not.
"""

import threading
import time
from collections import deque

from am_ros.errors import AmRosError
from am_ros.page.source import TeachState
from am_ros.ros.commanding.hand import Hand
from am_ros.ros.introspection.client import RosClient
from am_ros.ros.messages.acting import ActingConfig
from am_ros.teleop import Control, Joystick, TeleopConfig, meaning

NAME = "operator_page_hand"
LINES = 60
END_S = 5.0  # for the motion under way to be braked and the episode to be ended
LOGGER_TIMEOUT_S = 5.0


class Teaching:
    """`begin` and `end` block; keys and gamepad are taken at once."""

    def __init__(self, teleop: TeleopConfig, acting: ActingConfig):
        self._teleop, self._acting = teleop, acting
        self._changing = threading.Lock()
        self._lines: deque[str] = deque(maxlen=LINES)
        self._client: RosClient | None = None
        self._hand: Hand | None = None
        self._joystick: Joystick | None = None

    def state(self) -> TeachState:
        """As it is now."""
        hand = self._hand
        if hand is None or hand.done.is_set():
            return TeachState(lines=tuple(self._lines), step_m=self._teleop.step_m)
        return TeachState(True, hand.state.running, hand.state.last, hand.steps, hand.step_m, tuple(self._lines))

    def begin(self, task: str) -> str:
        """Take the arm: from the first key on its lease is ours."""
        with self._changing:
            if self.state().active:
                raise AmRosError("the arm is taught from this page already")
            self._release()
            self._client = RosClient(NAME)
            self._joystick = Joystick(self._teleop)
            try:
                node = self._client.node
                hand = Hand(node, self._teleop, self._acting, task, LOGGER_TIMEOUT_S, self._say, self._say)
            except BaseException:
                self._release()
                raise
            self._hand = hand
            threading.Thread(target=self._work, args=(hand,), daemon=True, name="hand").start()
        return "each key is one step now"

    def end(self) -> str:
        """Brake, end the episode, let the arm go."""
        with self._changing:
            if self._hand is None:
                return "the arm was not held"
            hand = self._hand
            hand.wishes.key(Control.QUIT, time.monotonic())
            try:
                if not hand.done.wait(END_S):
                    hand.close()
            finally:
                self._release()
        return "the arm is let go"

    def _work(self, hand: Hand) -> None:
        """A hand that ends by itself leaves no node behind that holds the arm and hears its pictures."""
        try:
            hand.work()
        except Exception as error:
            self._say(f"teaching has ended: {error}")
        finally:
            with self._changing:
                if self._hand is hand:
                    self._release()

    def stop(self) -> None:
        """Brake the step under way."""
        hand = self._hand
        if hand is not None:
            hand.wishes.key(Control.STOP, time.monotonic())

    def key(self, key: str) -> None:
        """As `am-ros teleop` has it."""
        hand = self._hand
        if hand is None:
            return
        wish = meaning(key, self._teleop, hand.factor)
        if wish is not None and wish not in (Control.QUIT, Control.HELP):
            hand.wishes.key(wish, time.monotonic())

    def pad(self, axes: list[float], buttons: list[bool]) -> None:
        """A browser's standard gamepad, as the topic joy has it: left and up are positive there."""
        hand = self._hand
        joystick = self._joystick
        if hand is None or joystick is None or len(axes) < 4 or len(buttons) < 10:
            return
        left_x, left_y, right_x, right_y = axes[:4]
        joy_axes = (-left_x, -left_y, 0.0, -right_x, -right_y)
        joy_buttons = (*buttons[:6], buttons[8], buttons[9])  # A B X Y LB RB back start
        wish, pressed = joystick.read(joy_axes, joy_buttons, hand.factor)
        hand.wishes.joy(wish, pressed, time.monotonic(), (joy_axes, joy_buttons))

    def _release(self) -> None:
        client, self._client, self._hand = self._client, None, None
        if client is not None:
            client.close()

    def _say(self, sentence: str) -> None:
        self._lines.extend(line for line in sentence.splitlines() if line.strip())

"""A terminal that gives each key as it is typed, and is as it was afterwards, unless the program was killed -9."""

import atexit
import os
import select
import sys
import termios

from am_ros.errors import AmRosError


class KeyTerminal:
    """Reads single keys from a terminal; use it as a context manager.

    Echo and line editing are off meanwhile. Ctrl-C is a key like the others, so that the arm is braked and the episode
    ended before the program is; Ctrl-Z does nothing, because a program that is suspended leaves the terminal like this.
    """

    def __init__(self, stream=None):
        self._fd = (stream or sys.stdin).fileno()
        if not os.isatty(self._fd):
            raise AmRosError("keyboard_without_terminal: standard input is not a terminal; run `am-ros teleop` in one")
        self._before: list | None = None

    def __enter__(self) -> "KeyTerminal":
        self._before = termios.tcgetattr(self._fd)
        mode = termios.tcgetattr(self._fd)
        mode[3] &= ~(termios.ECHO | termios.ICANON)
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        for key in (termios.VINTR, termios.VSUSP):
            mode[6][key] = os.fpathconf(self._fd, "PC_VDISABLE").to_bytes(1, "little")
        atexit.register(self.restore)  # for an end that unwinds nothing
        termios.tcsetattr(self._fd, termios.TCSANOW, mode)
        return self

    def __exit__(self, *_error) -> None:
        self.restore()

    def restore(self) -> None:
        """Put the terminal back; what was typed and not read is dropped, so that no shell executes it."""
        if self._before is not None:
            before, self._before = self._before, None
            termios.tcsetattr(self._fd, termios.TCSAFLUSH, before)
            atexit.unregister(self.restore)

    def read(self, wait_s: float) -> bytes | None:
        """What was typed, empty after `wait_s`; None when the terminal is gone."""
        ready, _, _ = select.select([self._fd], [], [], wait_s)
        if not ready:
            return b""
        try:
            return os.read(self._fd, 64) or None
        except OSError:  # the other side hung up
            return None

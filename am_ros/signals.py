"""Ctrl-C, a closed terminal and `kill` alike: SIGINT, SIGHUP and SIGTERM ask a program to end in good order."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType
from typing import Any, TypeAlias

# A closed terminal sends SIGHUP twice (kernel and shell), systemd SIGTERM and SIGHUP: so close together they are one.
BURST_S = 1.0
STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Handlers: TypeAlias = dict[int, Any]  # by number: a function, SIG_DFL, SIG_IGN, or None: not installed from Python


class Stopped(KeyboardInterrupt):
    """One of them came; `number` says which."""

    def __init__(self, number: int = signal.SIGINT):
        super().__init__()
        self.number = number


_raised = signal.SIGINT  # the one that `raised` raised last


def as_raised(interrupt: KeyboardInterrupt) -> KeyboardInterrupt:
    """With the signal's number, where a library raises a KeyboardInterrupt of its own in the place of a Stopped."""
    return interrupt if isinstance(interrupt, Stopped) else Stopped(_raised)


def exit_code(interrupt: KeyboardInterrupt) -> int:
    """128 and the signal's number, as a shell has it: 130 after Ctrl-C."""
    return 128 + getattr(interrupt, "number", signal.SIGINT)


def on_stop(handler: Callable[[int, FrameType | None], None]) -> Handlers:
    """Have `handler(number, frame)` called for each of them, a burst counting once; returns what was there before.

    A SIGHUP that whoever started us ignores (nohup) stays ignored. From another thread than the main one, nothing is
    changed: Python delivers signals to that one alone.
    """
    called_s = float("-inf")

    def once(number: int, frame: FrameType | None) -> None:
        nonlocal called_s
        if time.monotonic() - called_s > BURST_S:
            called_s = time.monotonic()
            handler(number, frame)

    before: Handlers = {}
    if threading.current_thread() is threading.main_thread():
        for number in STOP:
            before[number] = signal.getsignal(number)
            if number != signal.SIGHUP or before[number] != signal.SIG_IGN:
                signal.signal(number, once)
    return before


def handlers_now() -> Handlers:
    """What is there, for `put_back` after a library has put its own in their place; nothing outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.getsignal(number) for number in STOP}


def put_back(before: Handlers) -> None:
    """Undo an `on_stop` that returned this."""
    for number, handler in before.items():
        if handler is not None:  # one that was not installed from Python
            signal.signal(number, handler)


def leave_to_parent() -> None:
    """In a child whose parent ends it: a signal to the whole process group (Ctrl-C, `ros2 launch`) is the parent's."""
    for number in STOP:
        signal.signal(number, signal.SIG_IGN)


def spare_resource_tracker() -> None:
    """Before child processes are started: Python's tracker of their resources bears SIGINT and SIGTERM, but not SIGHUP.

    What is blocked when it starts stays so in it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        resource_tracker.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def raised() -> Iterator[None]:
    """Within it, each of them raises Stopped in the main thread, as Ctrl-C raises KeyboardInterrupt."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        global _raised
        _raised = signal.Signals(number)
        if number == signal.SIGHUP:
            _leave_terminal()
        raise Stopped(number)

    before = on_stop(interrupt)
    try:
        yield
    finally:
        put_back(before)


@contextmanager
def held_back(stop: Callable[[], None]) -> Iterator[None]:
    """Within it, the first of them calls `stop()`, and Stopped is raised when the work has come to its end.

    A second one raises it at once.
    """
    came = []

    def note(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        if len(came) > 1:
            raise Stopped(number)
        stop()

    before = on_stop(note)
    try:
        yield
    finally:
        put_back(before)
    if came:
        raise Stopped(came[0])


def _leave_terminal() -> None:
    """What is said to a terminal that has gone is an error, and must not keep anybody from what is to be done."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None and stream.isatty():
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)

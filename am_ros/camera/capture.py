"""Capture in a thread that keeps only the newest image: a policy wants to see what is, not what was."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from am_ros.camera.sources import EndOfSource, Source, SourceConfig, is_live, open_source, public_name
from am_ros.diagnostics import StreamStatistics
from am_ros.errors import AmRosError
from am_ros.images import crop_resize

# Waits between attempts to open a source [s]: a camera that was unplugged for a moment is back within the first, and
# one that is gone for the night costs nothing.
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 10.0


@dataclass(frozen=True)
class Frame:
    """An image as the policy is to see it."""

    rgb: np.ndarray  # uint8 [height, width, 3], cropped and resized
    captured_s: float  # time.monotonic()
    source_height: int  # [px] before crop and resize
    source_width: int
    whole: np.ndarray  # uint8 [source_height, source_width, 3], as the source gave it


class Capture:
    """Reads a source in a thread of its own, paced, and reconnects with growing waits.

    `on_news()` is called by the thread when there is a new image, or when the thread has failed; `on_report(problem,
    sentence)` once per failure and recovery. A file or folder is opened at once, so that a missing one raises
    AmRosError here; a device or stream that is not there is waited for. `height` and `width` 0: as the source has it.
    """

    def __init__(
        self,
        config: SourceConfig,
        height: int = 0,
        width: int = 0,
        on_news: Callable[[], None] = lambda: None,
        on_report: Callable[[bool, str], None] = lambda problem, sentence: None,
    ):
        if (height == 0) != (width == 0):
            raise AmRosError(f"parameters width and height: {width}x{height}: give both, or 0 for both")
        self.config = config
        self.statistics = StreamStatistics()
        self.ended = False
        self._height, self._width = height, width
        self._on_news, self._on_report = on_news, on_report
        self._name = public_name(config.source)
        self._slot: Frame | None = None
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._source = None if is_live(config.source) else self._open()
        self._thread = threading.Thread(target=self._run, daemon=True, name="camera capture")

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def newest(self) -> Frame | None:
        """Take the newest image; None if it was taken already. Raises what the thread died of, if it did."""
        if self._error is not None:
            raise self._error
        with self._lock:
            frame, self._slot = self._slot, None
        return frame

    def close(self) -> None:
        """Stop reading. A driver that hangs is left behind: only the thread itself may release the source."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2.0)

    def _open(self) -> Source:
        return open_source(self.config, lambda sentence: self._on_report(True, sentence))

    def _run(self) -> None:
        try:
            self._read_for_ever()
        except EndOfSource:
            self.ended = True
            images = self.statistics.report(time.monotonic()).images
            self._on_report(False, f"source {self._name} has ended after {images} images")
        except BaseException as error:  # newest() raises it where somebody sees it
            self._error = error
            self._on_news()

    def _read_for_ever(self) -> None:
        wait_s, source = FIRST_WAIT_S, self._source
        broken_since: float | None = None
        while not self._stop.is_set():
            try:
                source = source or self._open()
                due_s = time.monotonic()
                while not self._stop.is_set():
                    due_s = self._pace(source, due_s)
                    self._deliver(*source.read())
                    wait_s = FIRST_WAIT_S
                    if broken_since is not None:
                        self.statistics.reconnected()
                        self._on_report(
                            False, f"source {self._name} is back after {time.monotonic() - broken_since:.1f} s"
                        )
                        broken_since = None
            except AmRosError as error:
                broken_since = broken_since or time.monotonic()
                if self.statistics.fail(str(error)):
                    self._on_report(True, f"{error}; trying again")
            finally:
                if source is not None:
                    source.close()
                    source = None
            self._stop.wait(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    def _pace(self, source: Source, due_s: float) -> float:
        """Wait until the next image of a file is due; return when the one after it is."""
        if not source.rate_hz:
            return due_s
        self._stop.wait(max(0.0, due_s - time.monotonic()))
        # At most one image is caught up: a busy machine does not lower the rate, and after a pause (a suspended
        # process) the file plays on from where it was.
        return max(due_s + 1 / source.rate_hz, time.monotonic() - 1 / source.rate_hz)

    def _deliver(self, rgb: np.ndarray, captured_s: float) -> None:
        whole, (height, width) = rgb, rgb.shape[:2]
        if self._height:
            rgb = crop_resize(rgb, self._height, self._width)
        with self._lock:
            if self._slot is not None:
                self.statistics.drop()
            self._slot = Frame(rgb, captured_s, height, width, whole)
        self.statistics.image(captured_s)
        self._on_news()

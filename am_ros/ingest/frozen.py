"""A camera that sends its last picture again and again, with new stamps, while the tool goes on."""

import numpy as np

# Two pixels of a picture of 64 px that shows half a metre: so far a tool may move before the picture has to change.
# A real camera's noise makes every picture another one.
MOVED_M = 0.02


class Frozen:
    """Compares each picture with the one before, byte by byte."""

    def __init__(self):
        self._data, self._position_m = None, None
        self.count = 0  # pictures that stood while the tool moved

    def is_old(self, data, position_m: np.ndarray) -> bool:
        """Whether a picture was taken where the tool is no more; `position_m` [3] is where the tool is."""
        if self._data is None or len(data) != len(self._data) or not np.array_equal(data, self._data):
            self._data, self._position_m = data, position_m
            return False
        old = float(np.linalg.norm(position_m - self._position_m)) > MOVED_M
        self.count += old
        return old

    def doubt(self, topic: str) -> str:
        """What is strange about the pictures so far, in words; empty: nothing."""
        if not self.count:
            return ""
        return (
            f"image: {self.count} pictures on {topic} are byte by byte the one before, while the tool moved on by more "
            f"than {1e3 * MOVED_M:.0f} mm: the camera stood still, or does not see the tool"
        )

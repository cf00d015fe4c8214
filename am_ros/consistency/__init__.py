"""Is the camera where it was when a goal was recorded, and is the scene that scene? NumPy and OpenCV only."""

from am_ros.consistency.check import Consistency, ConsistencyConfig, Finding, check_view

__all__ = ["Consistency", "ConsistencyConfig", "Finding", "check_view"]

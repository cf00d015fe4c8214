"""Figures and times as people read them."""

import math
import time
from datetime import datetime


def unix_s(created: str) -> float:
    """Seconds of an ISO 8601 time; 0 if it is none."""
    try:
        return datetime.fromisoformat(created).timestamp()
    except ValueError:
        return 0.0


def when(unix: float) -> str:
    """Date and time of this machine's zone, empty for 0."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(unix)) if unix else ""


def lately(unix: float) -> str:
    """The same, without the year where it is this one; shorter, for tables."""
    this_year = time.localtime(unix).tm_year == time.localtime().tm_year
    return time.strftime("%d %b %H:%M" if this_year else "%Y-%m-%d", time.localtime(unix)) if unix else ""


def duration(seconds: float) -> str:
    """As 40 s, 12 min, 3 h 20 min."""
    if not math.isfinite(seconds) or seconds < 0:
        return "-"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def size(number: float) -> str:
    """Bytes as kB, MB, GB, TB."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if number >= factor:
            return f"{number / factor:.1f} {unit}"
    return f"{number / 1e3:.0f} kB"


def metres(position) -> str:
    """x, y, z in metres."""
    return "  ".join(f"{axis}\u00a0{value:+.3f}" for axis, value in zip("xyz", position, strict=True)) + "\u00a0m"


def move(translation_m, rotation_rad: float, gripper: str, terminate: bool) -> str:
    """A step in one line, as `am-ros reach` says it."""
    if terminate:
        return "ends here"
    if translation_m is None:
        return ""
    way = ", ".join(f"{100 * along:+.1f}" for along in translation_m)
    return f"({way}) cm, {math.degrees(rotation_rad):+.0f}°" + (f", gripper {gripper}" if gripper else "")


def plural(count: int, noun: str) -> str:
    """As 1 bag, 3 bags."""
    return f"{count:,} {noun}{'s' * (count != 1)}".replace(",", " ")

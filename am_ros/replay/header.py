"""store.json, which says what is in a replay store."""

import json
from pathlib import Path
from typing import Any

from am_ros.errors import AmRosError

# What it must hold, beside its format.
_NEEDED = {"observation_shape": list, "action_dim": int, "images": str, "shard_bytes": int}


def read_header(folder: Path) -> dict[str, Any]:
    """The names and values; raises AmRosError, naming the folder or the file, if there is none or no such file."""
    try:
        header = json.loads((folder / "store.json").read_text())
    except (OSError, ValueError) as error:
        raise AmRosError(f"{folder}: is not a replay store ({error})") from None
    if not isinstance(header, dict):
        raise AmRosError(f"{folder / 'store.json'}: is damaged: it holds no names and values")
    return header


def check_header(folder: Path, header: dict[str, Any], expected: int) -> None:
    """Raise AmRosError, naming the folder or the file, if a header is of another format, or not whole."""
    if header.get("format") != expected:
        raise AmRosError(f"{folder}: replay store of format {header.get('format')}, expected {expected}")
    if wrong := [name for name, kind in _NEEDED.items() if not isinstance(header.get(name), kind)]:
        raise AmRosError(f"{folder / 'store.json'}: is damaged: {wrong[0]} is missing or wrong")

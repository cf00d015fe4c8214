"""Paths; those that come over the network are taken only inside a folder that the operator has named."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from am_ros.errors import AmRosError

Folder: TypeAlias = str | os.PathLike[str]
MAX_PATH = 1024  # characters


def inside(text: str, roots: Iterable[Folder], parameter: str) -> Path:
    """The real path of `text`, absolute or relative to the first of `roots`, with every link followed.

    Raises AmRosError "path_refused: ..." if it is no path, climbs by `..`, or ends outside of all `roots`, be it by a
    link; `parameter` is named as what allows more.
    """
    folders = [Path(root).expanduser().resolve() for root in roots]
    if not text or len(text) > MAX_PATH or not text.isprintable():
        raise AmRosError(f"path_refused: {text[:80]!r} is no path of 1 to {MAX_PATH} printable characters")
    if ".." in Path(text).parts:
        raise AmRosError(f"path_refused: {text!r} climbs by ..")
    if not folders:
        raise AmRosError(f"path_refused: {text!r}: parameter {parameter} names no folder to read from")
    try:
        path = (folders[0] / text).resolve()
    except (OSError, RuntimeError) as error:  # a loop of links
        raise AmRosError(f"path_refused: {text!r}: {getattr(error, 'strerror', None) or error}") from None
    if not any(path.is_relative_to(root) for root in folders):
        where = " or ".join(map(str, folders))
        raise AmRosError(f"path_refused: {text!r} is not inside {where} (parameter {parameter})")
    return path

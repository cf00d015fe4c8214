"""Checkpoints that come with am_ros, found by name; docs/results_pictures.md has the commands that trained them."""

import os
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def checkpoint_names() -> list[str]:
    """The names of the checkpoints that come with the package."""
    return sorted(path.parent.name for path in FOLDER.glob("*/checkpoint.json"))


def find_checkpoint(folder: str | os.PathLike[str]) -> Path:
    """`folder`, or the checkpoint of that bare name beside this file if there is no such folder."""
    folder = Path(folder).expanduser()
    named = FOLDER / folder
    return named if len(folder.parts) == 1 and not folder.exists() and named.is_dir() else folder

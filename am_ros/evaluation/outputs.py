"""Whether results can be written, asked before the hours that make them."""

import tempfile
from pathlib import Path

from am_ros.errors import AmRosError


def check_folder(folder: Path, what: str) -> None:
    """Make the folder if it is not there; raise AmRosError unless files can be made in it."""
    _try(folder, what, Path(folder))


def check_file(path: Path, what: str) -> None:
    """Raise AmRosError unless a file of this name can be written; what is there stays as it is."""
    path = Path(path)
    if path.is_dir():
        raise AmRosError(f"{what} {path}: is a folder, not a file")
    _try(path, what, path.parent, path if path.exists() else None)


def _try(name: Path, what: str, folder: Path, file: Path | None = None) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        if file:
            file.open("a").close()
    except OSError as error:
        raise AmRosError(f"{what} {name}: cannot be written ({error.strerror})") from None

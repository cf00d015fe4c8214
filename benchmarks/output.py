"""Where a benchmark writes to: refused before it measures, not after."""

import argparse
from pathlib import Path


def output_file(text: str) -> Path:
    """Type of an option that names a file to be written: its folder is made; a folder in its place is an error."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is a folder, a file is needed")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path.parent}: {error.strerror}") from error
    return path

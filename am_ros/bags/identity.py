"""What tells a bag of ours from every other one of its name, without reading it."""

from pathlib import Path

from am_ros.bags.finder import storage_files
from am_ros.paths import Folder

_END = 37  # bytes of an MCAP file's footer: the checksum of the summary, which counts and times are in


def identity_of(bag: Folder) -> str:
    """Sizes and ends of a bag's files, as text; empty if it cannot be read. A label does not change it."""
    path, parts = Path(bag), []
    try:
        for file in [path] if path.is_file() else storage_files(path):
            with open(file, "rb") as stream:
                size = stream.seek(0, 2)
                stream.seek(max(0, size - _END))
                parts.append(f"{size}-{stream.read()[:-8].hex()[-8:]}")
    except OSError:
        return ""
    return " ".join(parts)

"""Whether two recordings are the same one, by what is in them, wherever they lie and whatever they are called."""

import filecmp
import hashlib
from pathlib import Path

from am_ros.bags.finder import SIDE_FILES, storage_files
from am_ros.errors import AmRosError

# Beginning and end of a file tell it from every other recording: times of reception and checksums lie there.
_LOOKED_AT = 1 << 16


def fingerprint(bag) -> str:
    """Sixteen hexadecimal digits that are the same for copies of a recording, and no others."""
    path = Path(bag)
    try:
        parts = sorted(_of_file(file) for file in _files(path))
    except OSError as error:
        raise AmRosError(f"bag {path}: cannot be read: {error.strerror}") from None
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]


def same_bag(first, second) -> bool:
    """Whether two bags of the same fingerprint are the same byte by byte, so that one need not be read."""
    pairs = zip(_files(Path(first)), _files(Path(second)), strict=False)
    return len(_files(Path(first))) == len(_files(Path(second))) and all(
        filecmp.cmp(a, b, shallow=False) for a, b in pairs
    )


def same_content(files: list[Path]) -> dict[Path, Path]:
    """Of files of which several are the same: the later ones, and which one each is a copy of."""
    sizes: dict[int, list[Path]] = {}
    for file in files:
        sizes.setdefault(file.stat().st_size, []).append(file)
    copies = {}
    for group in sizes.values():
        first: dict[str, Path] = {}
        for file in group if len(group) > 1 else ():
            original = first.setdefault(_of_file(file), file)
            # Byte by byte: one of the two may be damaged in the middle.
            if original is not file and filecmp.cmp(original, file, shallow=False):
                copies[file] = original
    return copies


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else storage_files(path)


def _of_file(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        digest.update(str(size).encode())
        for begin in (0, max(0, size - _LOOKED_AT)):
            file.seek(begin)
            digest.update(file.read(_LOOKED_AT))
    for end in SIDE_FILES:  # all that a killed recorder left may lie there
        beside = Path(f"{path}{end}")
        if beside.is_file():
            digest.update(_of_file(beside).encode())
    return digest.hexdigest()

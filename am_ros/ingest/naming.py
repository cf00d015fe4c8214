"""What the episodes of a recording are called: after its folder, and told apart by what is in it, not where it lies."""

import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from am_ros.bags.reader import BagReader
from am_ros.errors import AmRosError
from am_ros.ingest.identity import fingerprint, same_bag
from am_ros.ingest.ledger import Ledger

RECORDING = "ingested_recording"  # metadata of an ingested episode: the fingerprint of the recording it came from
_LONGEST = 45  # of a name; suffixes and numbers come to it, and an episode's name has 64 letters at most
_EPISODE = re.compile(r"(.+)_\d{4,}\Z")
_DIGITS = re.compile(r"_[0-9a-f]{6}\Z")  # of a fingerprint


class Planned(NamedTuple):
    """A bag that is to be read."""

    path: Path
    name: str  # its episodes are called `<name>_0000` and so on
    recording: str  # its fingerprint; empty if it cannot be read
    copy_of: Path | None = None  # the same recording, which is read in its place


def plan(bags: list[Path], ledger: Ledger | None = None, prefix: str = "") -> list[Planned]:
    """A name for each bag, in the order given; copies of a recording are found out.

    The name is that of the folder or file, with `prefix` before it, as far as letters allow. Where several recordings
    come to the same name, or an episode in the ledger's folder has it that came from another recording, six digits of
    the fingerprint are added. A recording of which there are episodes keeps its name.
    Raises AmRosError if the prefix is no part of a name.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]{0,24}", prefix):
        raise AmRosError(f"--prefix {prefix!r}: use up to 24 letters, digits, '_' or '-'")
    recordings = {path: _fingerprint(path) for path in bags}
    stems = {path: _stem(path, prefix) for path in bags}
    of_names, of_recordings = _in_use(ledger, set(stems.values()))
    originals: dict[str, Path] = {}
    copies = {}
    for path, recording in recordings.items():
        original = originals.setdefault(recording, path)
        if recording and original is not path and same_bag(original, path):
            copies[path] = original
    times = Counter(stem for path, stem in stems.items() if path not in copies)
    planned: dict[Path, Planned] = {}
    for path, stem in stems.items():
        if path in copies:
            planned[path] = planned[copies[path]]._replace(path=path, copy_of=copies[path])
            continue
        recording = recordings[path]
        others = of_names.get(stem, set()) - {recording}
        name = of_recordings.get(recording)
        if name is None:
            name = f"{stem}_{recording[:6]}" if times[stem] > 1 or others else stem
        planned[path] = Planned(path, name, recording)
    return list(planned.values())


def _fingerprint(path: Path) -> str:
    try:
        return fingerprint(path)
    except AmRosError:  # said when it is read
        return ""


def _stem(path: Path, prefix: str) -> str:
    name = path.stem if path.is_file() else path.name
    plain = unicodedata.normalize("NFKD", name or path.resolve().name)
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", "".join(c for c in plain if not unicodedata.combining(c)))
    return "_".join(part for part in (prefix, plain.strip("_") or "bag") if part)[:_LONGEST]


def _in_use(ledger: Ledger | None, stems: set[str]) -> tuple[dict[str, set[str]], dict[str, str]]:
    """Of the names in the folder that we might give: whose they are; and what recordings are called there."""
    of_names: dict[str, set[str]] = {}
    of_recordings = {} if ledger is None else ledger.names
    for path in sorted(ledger.folder.iterdir()) if ledger is not None and ledger.folder.is_dir() else ():
        match = _EPISODE.match(path.name)
        if match is None or match[1] in of_names or not {match[1], _DIGITS.sub("", match[1])} & stems:
            continue
        recording = recording_of(path)
        of_names[match[1]] = {recording}
        if recording:
            of_recordings.setdefault(recording, match[1])
    return of_names, of_recordings


def recordings_among(bags: list[Path], out: Path | None) -> list[Path]:
    """The bags that are not episodes which an earlier run made of one of them: `out` may lie in their folder."""
    place = None if out is None else out.resolve()
    return [bag for bag in bags if bag.resolve().parent != place or not recording_of(bag)]


def recording_of(bag: Path) -> str:
    """The fingerprint that an ingested episode says it came from; empty if it says none."""
    try:
        custom = (BagReader(bag).metadata or {}).get("custom_data") or {}
        return str(custom.get(RECORDING, "")) if isinstance(custom, dict) else ""
    except AmRosError:
        return ""

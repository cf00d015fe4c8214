"""What was read to its end: so that a second call over thousands of recordings reads only the new ones."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from am_ros.action import ActionSpace
from am_ros.bags.identity import identity_of
from am_ros.errors import AmRosError
from am_ros.ingest.mapping import Mapping

LEDGER = "ingested.jsonl"  # in the folder of the episodes: a line per recording


class Ledger:
    """Which recordings were read to their end into a folder, by this mapping and action space, and what they gave."""

    def __init__(self, out, mapping: Mapping, action_space: ActionSpace):
        """Read that of the folder `out`; half a line of a run that was killed is passed over."""
        self.folder = Path(out)
        self._path = self.folder / LEDGER
        rules = json.dumps([mapping.sha256, asdict(action_space)])
        self._rules = hashlib.sha256(rules.encode()).hexdigest()[:16]
        self._entries: dict[str, dict] = {}
        try:
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            lines = []
        except OSError as error:
            raise AmRosError(f"{self._path}: cannot be read: {error.strerror}") from None
        for line in lines:
            try:
                entry = json.loads(line)
                if entry["rules"] == self._rules:
                    self._entries[entry["recording"]] = entry
            except (ValueError, KeyError, TypeError):
                continue

    @property
    def names(self) -> dict[str, str]:
        """What the episodes of each recording are called."""
        return {recording: entry["name"] for recording, entry in self._entries.items()}

    def has(self, recording: str) -> dict | None:
        """The entry of a recording whose episodes all lie in the folder, unchanged; None: it has to be read."""
        entry = self._entries.get(recording) if recording else None
        if entry is None:
            return None
        whole = all(identity_of(self.folder / name) == identity for name, identity in entry["episodes"].items())
        return entry if whole else None

    def add(self, recording: str, name: str, episodes: list[str], steps: int, lost: list[str]) -> None:
        """Note that a recording was read to its end, that it gave these episodes, and what of it was `lost`."""
        if not recording:
            return
        entry = {
            "recording": recording, "rules": self._rules, "name": name, "steps": steps, "lost": lost,
            "episodes": {episode: identity_of(self.folder / episode) for episode in episodes},
        }  # fmt: skip
        try:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise AmRosError(f"{self._path}: cannot be written: {error.strerror}") from None

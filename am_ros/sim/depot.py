"""A collection whose bags lie at a URL: each is put there when it is made, and here only what tells of it is kept.

The folder here holds of every bag its metadata.yaml and facts.json (a kilobyte), so an interrupted collection goes on,
and one that goes on from another machine reads no more than these. A bag's metadata.yaml is put there last.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from am_ros.bags.finder import METADATA, STORAGE_SUFFIXES
from am_ros.sim.dataset_card import CARD, FACTS, README, facts_text, read_facts, write_atomically
from am_ros.storage.remote import Remote

_AT_ONCE = 16  # requests


class Depot:
    """The bags of a collection at `url`; `folder` is where it is made on this machine."""

    def __init__(self, url: str):
        self._remote = Remote(url)
        self.folder = self._remote.cache.folder / "collected" / self._remote.key

    def look(self, record: str) -> None:
        """Have here what tells of the bags that are there, and of the collection."""
        there = {file.name for file in self._remote.files()}
        bags = [name.rpartition("/")[0] for name in there if name.endswith(f"/{METADATA}")]
        small = [f"{bag}/{name}" for bag in sorted(bags) for name in (FACTS, METADATA)] + [record]
        missing = [name for name in small if name in there and not (self.folder / name).exists()]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for name, content in zip(missing, pool.map(self._remote.read, missing), strict=True):
                path = self.folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, content.decode())

    def take(self, bag: Path) -> None:
        """Put a bag there, unless it is; its recording does not stay here."""
        recordings = [path for path in bag.iterdir() if path.name.endswith(STORAGE_SUFFIXES)]
        if not recordings:
            return
        write_atomically(bag / FACTS, json.dumps(facts_text(read_facts(bag))) + "\n")
        files = [*recordings, bag / FACTS, bag / METADATA]
        self._remote.put(self.folder, [path.relative_to(self.folder).as_posix() for path in files])
        for path in recordings:
            path.unlink()

    def finish(self, record: str) -> None:
        """Put there what describes the whole."""
        for name in (record, CARD, README):
            if (self.folder / name).exists():
                self._remote.write(name, (self.folder / name).read_bytes())

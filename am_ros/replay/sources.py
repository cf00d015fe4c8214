"""The bags at a place, a folder or a URL, each by what ingestion asks of it."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from am_ros.bags.finder import METADATA, STORAGE_SUFFIXES, find
from am_ros.bags.identity import identity_of
from am_ros.bags.relabel import label_of
from am_ros.bags.writer import UNFINISHED
from am_ros.errors import AmRosError
from am_ros.storage.remote import Place, Remote, RemoteFile, is_url


@dataclass(frozen=True)
class LocalBag:
    """A bag on a disk of this machine."""

    place: Path

    @property
    def name(self) -> str:
        return self.place.name

    def identity(self) -> str:
        """What tells it from every other one of its name; empty if it cannot be read."""
        return identity_of(self.place)

    def label(self) -> str:
        return label_of(self.place)

    def local(self) -> Path:
        """Where it can be read."""
        return self.place

    def say(self, sentence: str) -> str:
        """A sentence about it."""
        return sentence


@dataclass(frozen=True)
class RemoteBag:
    """A bag at a URL; it is fetched into the cache when it is read."""

    remote: Remote
    folder: str  # below the URL
    files: tuple[RemoteFile, ...]

    @property
    def place(self) -> str:
        return f"{self.remote.url}/{self.folder}" if self.folder else self.remote.url

    @property
    def name(self) -> str:
        return self.place.rpartition("/")[2]

    def identity(self) -> str:
        """Sizes and tags of its recordings: known without fetching anything."""
        recordings = [file for file in self.files if file.name.endswith(STORAGE_SUFFIXES)]
        return " ".join(f"{file.size}-{file.tag}" for file in recordings)

    def label(self) -> str:
        return label_of(self.local())

    def local(self) -> Path:
        """Where it can be read, fetched now unless it is there."""
        return self.remote.fetch(self.files) / self.folder

    def say(self, sentence: str) -> str:
        """A sentence about it: of its URL, not of the copy."""
        return sentence.replace(str(self.remote.cache.folder / self.remote.key / self.folder), self.place)


def bags_at(place: Place) -> tuple[list[LocalBag | RemoteBag], list[str]]:
    """The bags at a place, sorted, and a sentence for what lies there and is not read."""
    if not is_url(place):
        found = find(place)
        return [LocalBag(bag) for bag in found.bags], found.sentences()
    remote = Remote(str(place))
    files = remote.files()
    if not files:
        raise AmRosError(f"bag folder {place}: is not there, or empty")
    folders: dict[str, list[RemoteFile]] = defaultdict(list)
    for file in files:
        folder, _, name = file.name.rpartition("/")
        if name == METADATA or name.endswith(STORAGE_SUFFIXES):
            folders[folder].append(file)
    unfinished = sorted(folder for folder in folders if folder.endswith(UNFINISHED))
    sentences = [f"not read: {place}/{folder}: was never closed" for folder in unfinished]
    bags: list[LocalBag | RemoteBag] = [
        RemoteBag(remote, folder, tuple(folders[folder])) for folder in sorted(folders) if folder not in unfinished
    ]
    return bags, sentences

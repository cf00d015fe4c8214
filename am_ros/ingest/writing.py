"""Episodes of foreign bags to bags of ours: none that is there already, and none in the place of another."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from am_ros.action import ActionSpace
from am_ros.bags.episodes import read_episode, write_episode
from am_ros.bags.finder import natural
from am_ros.bags.reader import BagReader
from am_ros.bags.writer import clear_unfinished
from am_ros.episode import Episode
from am_ros.errors import AmRosError
from am_ros.ingest.conversion import BagReport
from am_ros.ingest.naming import RECORDING, Planned

THERE = "episodes: there already, not written again"


class Writer:
    """Writes the episodes of one recording into a folder."""

    def __init__(self, out, bag: Planned, action_space: ActionSpace):
        self._out, self._bag, self._space = Path(out), bag, action_space
        self._relatives: dict[int, list[Path]] | None = None

    def write(self, episodes: Iterator[Episode], report: BagReport) -> Iterator[Episode]:
        """Write each episode as a bag of ours, unless it is there from an earlier run, and pass it on.

        An episode that is there under another name of the same recording, which was repaired since, counts too.
        Raises AmRosError if an episode of the name is there that is another one.
        """
        for episode in episodes:
            clear_unfinished(self._out, episode.info.episode_id)
            there = self._there(episode)
            if there is not None:
                report.dropped.note(THERE, "" if there.name == episode.info.episode_id else f"as {there.name}")
                yield episode.with_info(episode_id=there.name)
                continue
            extra = {**episode.info.extra, RECORDING: self._bag.recording}
            try:
                write_episode(episode.with_info(extra=extra), self._out, self._space)
            except OSError as error:
                path = self._out / episode.info.episode_id
                raise AmRosError(f"bag {path}: cannot be written: {error.strerror}") from None
            yield episode

    def _there(self, episode: Episode) -> Path | None:
        path = self._out / episode.info.episode_id
        if path.exists():
            if self._same(path, episode):
                return path
            raise AmRosError(
                f"bag {path}: is another episode, of another mapping, action space or version: use another --out, "
                "or a --prefix"
            )
        return next((p for p in self._related().get(int(episode.stamps_ns[0]), ()) if self._same(p, episode)), None)

    def _same(self, path: Path, episode: Episode) -> bool:
        there = read_episode(path, self._space)
        return (
            np.array_equal(there.stamps_ns, episode.stamps_ns)
            and np.array_equal(there.actions, episode.actions)
            and np.array_equal(there.states, episode.states)
        )

    def _related(self) -> dict[int, list[Path]]:
        """Episodes that other states of this recording may have left, by their first stamp."""
        if self._relatives is None:
            self._relatives = {}
            stem = self._bag.name.removesuffix(f"_{self._bag.recording[:6]}")
            for path in sorted(self._out.glob(f"{stem}_*"), key=natural) if self._out.is_dir() else ():
                try:
                    start = (BagReader(path).metadata or {})["starting_time"]["nanoseconds_since_epoch"]
                    self._relatives.setdefault(int(start), []).append(path)
                except (AmRosError, TypeError, KeyError, ValueError):  # unfinished, or none of ours
                    continue
        return self._relatives

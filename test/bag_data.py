"""Episodes for the tests of bags, and the messages they are recorded as."""

from pathlib import Path

import numpy as np

from am_ros.action import ActionSpace
from am_ros.bags.assembler import CONSUMED
from am_ros.bags.episodes import write_episode
from am_ros.bags.reader import BagReader
from am_ros.episode import Episode
from am_ros.faults.synthetic import START_NS, make_episode

__all__ = ["START_NS", "make_episode"]


def many_bags(folder: Path, count: int) -> None:
    """So many closed bags, which share one recording on the disk."""
    bag = write_episode(make_episode("e0", steps=3, size=16), folder, ActionSpace())
    metadata, recording = (bag / "metadata.yaml").read_text(), next(bag.glob("*.mcap"))
    for number in range(1, count):
        copy = folder / f"copy_{number:05d}"
        copy.mkdir()
        (copy / recording.name).hardlink_to(recording)
        (copy / "metadata.yaml").write_text(metadata)


def recorded(bag) -> list:
    """The messages of a bag as (topic, rosbags message, raw bytes, type name)."""
    from am_ros.bags import types

    return [(m.topic, types.deserialize(m.type_name, m.raw), m.raw, m.type_name) for m in BagReader(bag).messages()]


def as_sent(raw: bytes) -> bytes:
    """A serialised message as it comes out of DDS, which fills it up to a multiple of four bytes."""
    return raw + bytes(-len(raw) % 4)


def assert_same_episode(first: Episode, second: Episode, images: str = "equal") -> None:
    """Equal bit by bit; `images="jpeg"` lets pixels differ by what JPEG at quality 95 does to them."""
    assert first.info == second.info
    np.testing.assert_array_equal(first.stamps_ns, second.stamps_ns)
    np.testing.assert_array_equal(first.actions, second.actions)
    np.testing.assert_array_equal(first.states, second.states)
    if images == "equal":
        np.testing.assert_array_equal(first.images, second.images)
    else:
        assert first.images.shape == second.images.shape
        difference = np.abs(first.images.astype(int) - second.images)
        assert difference.mean() < 1.5 and difference.max() < 30


IMAGE_TYPE, STEP_TYPE, EVENT_TYPE = (CONSUMED[t] for t in ("image_raw/compressed", "step", "episode_event"))

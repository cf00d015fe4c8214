"""What a killed writer leaves and what damage spares comes back as a proper bag."""

import signal
import subprocess
import sys

import numpy as np
import pytest
from bag_data import assert_same_episode, make_episode, recorded

from am_ros import cli
from am_ros.action import ActionSpace
from am_ros.bags.episodes import read_episode, write_episode
from am_ros.bags.reader import BagReader
from am_ros.bags.salvage import salvage
from am_ros.bags.verify import verify
from am_ros.bags.writer import EpisodeBag
from am_ros.episode import EpisodeInfo, Outcome
from am_ros.errors import AmRosError

SPACE = ActionSpace()

# A writer that flushes after each step and dies without a word: kill -9 from outside, like a power cut.
WRITER = """
import sys, time
sys.path[:0] = sys.argv[4:]
from bag_data import make_episode, recorded
from am_ros.bags.writer import EpisodeBag
from am_ros.episode import EpisodeInfo
source, folder, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
bag = EpisodeBag(folder, EpisodeInfo("e0", "reach", seed=5))
for topic, _, raw, type_name in recorded(source)[:count]:
    bag.write(topic, type_name, raw, 1)
bag.flush()
print("written", flush=True)
time.sleep(60)
"""


@pytest.fixture
def whole(tmp_path):
    return write_episode(make_episode(steps=8), tmp_path / "whole", SPACE)


@pytest.fixture
def killed(whole, tmp_path):
    """An unfinished bag of which the writer was killed after the first `count` messages."""

    def make(count):
        arguments = [str(whole), str(tmp_path / "bags"), str(count), *sys.path]
        with subprocess.Popen([sys.executable, "-c", WRITER, *arguments], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout.readline() == "written\n"
            unfinished = tmp_path / "bags" / "e0.unfinished"
            with pytest.raises(AmRosError, match="being written by a running process"):
                salvage(unfinished)
            writer.send_signal(signal.SIGKILL)
        return unfinished

    return make


def flip(path, position, bit=3):
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << bit
    path.write_bytes(data)


def test_an_episode_that_was_cut_off_comes_back_up_to_its_last_known_result(killed, whole, tmp_path):
    unfinished = killed(count=12)  # START, 5 times image and step, the next image
    with pytest.raises(AmRosError, match="damaged"):
        read_episode(unfinished, SPACE)
    result = salvage(unfinished)
    assert result.path == tmp_path / "bags" / "salvaged" / "e0" and result.steps == 4 and not result.complete
    episode, original = read_episode(result.path, SPACE), read_episode(whole, SPACE)
    assert len(episode) == 4
    np.testing.assert_array_equal(episode.images, original.images[:5])
    np.testing.assert_array_equal(episode.actions, original.actions[:4])
    np.testing.assert_array_equal(episode.states, original.states[:5])
    assert (episode.info.outcome, episode.info.reason, episode.info.task) == (Outcome.UNKNOWN, "salvaged", "reach")
    assert episode.info.extra["salvaged"] and verify(result.path, SPACE).ok
    assert unfinished.is_dir()  # the source stays


def test_an_episode_that_was_only_not_closed_keeps_its_outcome(killed, whole):
    result = salvage(killed(count=100))
    assert result.complete and result.steps == 8
    episode, original = read_episode(result.path, SPACE), read_episode(whole, SPACE)
    assert episode.info.outcome == Outcome.SUCCESS and episode.info.reason == "terminated"
    np.testing.assert_array_equal(episode.images, original.images)


def test_too_little_for_an_episode_is_still_a_bag(killed):
    result = salvage(killed(count=3))
    assert result.steps == 0 and result.messages == 3
    assert sum(1 for _ in BagReader(result.path).messages()) == 3


def test_nothing_at_all_is_said_so(tmp_path):
    (tmp_path / "e9.unfinished").mkdir()
    (tmp_path / "e9.unfinished" / "e9_0.mcap").touch()
    with pytest.raises(AmRosError, match="nothing to salvage"):
        salvage(tmp_path / "e9.unfinished")


def test_a_lost_metadata_file_is_rebuilt(whole, tmp_path):
    before = read_episode(whole, SPACE)
    (whole / "metadata.yaml").unlink()
    result = salvage(whole, tmp_path / "out")
    rebuilt = read_episode(result.path, SPACE)
    assert (result.path / "metadata.yaml").is_file() and result.complete
    assert_same_episode(rebuilt.with_info(extra=before.info.extra), before)


def in_many_chunks(whole, folder):
    """The messages of a bag again, a chunk each; returns the new bag's MCAP file."""
    bag = EpisodeBag(folder, EpisodeInfo("e0", "reach"))
    for topic, _, raw, type_name in recorded(whole):
        bag.write(topic, type_name, raw, 1)
        bag.flush()
    return bag.close() / "e0_0.mcap"


def test_truncations_never_give_wrong_data(whole, tmp_path):
    """A bag of many chunks, cut anywhere: what comes back is a beginning of the episode."""
    original = read_episode(whole, SPACE)
    file = in_many_chunks(whole, tmp_path / "chunks")
    data = file.read_bytes()
    steps = []
    for n, length in enumerate(sorted(np.random.default_rng(0).integers(0, len(data), 50))):
        file.write_bytes(data[:length])
        try:
            result = salvage(file, tmp_path / f"out{n}")
        except AmRosError as error:
            assert "nothing to salvage" in str(error) and not steps
            continue
        steps.append(result.steps)
        if result.steps:
            episode = read_episode(result.path, SPACE)
            np.testing.assert_array_equal(episode.actions, original.actions[: result.steps])
            np.testing.assert_array_equal(episode.images, original.images[: result.steps + 1])
    assert steps == sorted(steps) and steps[-1] == 8


def test_flipped_bits_never_give_wrong_data(whole, tmp_path):
    original = read_episode(whole, SPACE)
    file = in_many_chunks(whole, tmp_path / "chunks")
    data = file.read_bytes()
    steps = []
    for n, bit in enumerate(np.random.default_rng(1).integers(0, 8 * len(data), 50)):
        file.write_bytes(data)
        flip(file, bit // 8, bit % 8)
        try:
            result = salvage(file, tmp_path / f"out{n}")
            episode = read_episode(result.path, SPACE) if result.steps else None
        except AmRosError as error:
            assert "nothing to salvage" in str(error)
            continue
        steps.append(result.steps)
        if episode is not None:
            assert (episode.info.task, episode.info.seed) == ("reach", original.info.seed)
            np.testing.assert_array_equal(episode.actions, original.actions[: result.steps])
            np.testing.assert_array_equal(episode.states, original.states[: result.steps + 1])
            np.testing.assert_array_equal(episode.images, original.images[: result.steps + 1])
    assert len(steps) > 40 and np.mean(steps) > 3  # on average half an episode comes back


def test_a_damaged_chunk_in_the_middle_costs_what_follows_it_only(whole, tmp_path):
    bag = EpisodeBag(tmp_path / "chunks", EpisodeInfo("e0", "reach"))
    sizes = []
    for topic, _, raw, type_name in recorded(whole):
        bag.write(topic, type_name, raw, 1)
        bag.flush()
        sizes.append((bag.unfinished_path / "e0_0.mcap").stat().st_size)
    file = bag.close() / "e0_0.mcap"
    flip(file, (sizes[10] + sizes[11]) // 2)  # the image of step 5
    result = salvage(file, tmp_path / "out")
    assert result.steps == 4 and "chunk" in result.damage[0]
    original = read_episode(whole, SPACE)
    np.testing.assert_array_equal(read_episode(result.path, SPACE).images, original.images[:5])


def test_the_command_prints_what_came_back(killed, capsys):
    assert cli.main(["bags", "salvage", str(killed(count=12))]) == 0
    out = capsys.readouterr().out
    assert "4 complete steps; its end was lost" in out


def test_a_bag_of_unknown_types_is_salvaged_too(tmp_path):
    from am_ros.bags.writer import Schema

    schema = Schema("ros2msg", "int32 x", "RIHS01_0")
    bag = EpisodeBag(tmp_path, EpisodeInfo("odd"))
    for i in range(5):
        bag.write("/odd", "other_msgs/msg/Odd", b"\0\1\0\0" + bytes(4), i, schema)
    path = bag.close()
    (path / "metadata.yaml").unlink()
    messages = list(BagReader(salvage(path, tmp_path / "out").path).messages())
    assert len(messages) == 5 and messages[0].type_hash == "RIHS01_0"

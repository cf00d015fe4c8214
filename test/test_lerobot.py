"""Episodes as a LeRobot v3 data set: what a frame holds, and, where the package is installed, the data set itself."""

import importlib.util
import json

import numpy as np
import pytest
from bag_data import make_episode

from am_ros import cli
from am_ros.action import ActionSpace
from am_ros.bags import lerobot
from am_ros.bags.episodes import write_episode
from am_ros.errors import AmRosError

SPACE = ActionSpace()
HAS_LEROBOT = importlib.util.find_spec("lerobot") is not None


@pytest.fixture
def folder(tmp_path):
    """Two episodes: one that terminates, one that does not."""
    write_episode(make_episode("e0", steps=5), tmp_path / "bags", SPACE)
    cut = make_episode("e1", steps=5, seed=1)
    cut = type(cut)(cut.info, cut.images[:5], cut.states[:5], cut.actions[:4], cut.stamps_ns[:5])
    write_episode(cut, tmp_path / "bags", SPACE)
    return tmp_path / "bags"


def test_a_frame_is_an_observation_with_the_action_decided_on_it():
    episode = make_episode(steps=4)
    described = lerobot.features(64, 64)
    frames = list(lerobot.frames(episode))
    assert len(frames) == 4
    for t, frame in enumerate(frames):
        assert frame.pop("task") == "reach" and frame.keys() == described.keys()
        for key, value in frame.items():
            assert value.shape == described[key]["shape"]
            assert str(value.dtype) == described[key]["dtype"].replace("image", "uint8")
        assert np.array_equal(frame["observation.images.camera"], episode.images[t])
        assert np.array_equal(frame["action"], episode.actions[t])
        sec, nanosec = frame["observation.stamp"].tolist()
        assert sec * 10**9 + nanosec == episode.stamps_ns[t]


@pytest.mark.skipif(HAS_LEROBOT, reason="lerobot is installed")
def test_without_the_package_export_names_it(folder, tmp_path, capsys):
    assert cli.main(["bags", "export", str(folder), "--lerobot", str(tmp_path / "out")]) == 2
    assert "the Python package lerobot is missing" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not HAS_LEROBOT, reason="lerobot is not installed")
def test_a_data_set_is_written_and_loaded_back(folder, tmp_path):
    done = lerobot.export(folder, tmp_path / "out", SPACE)
    assert (done.episodes, done.frames, done.last_left_out) == (2, 9, 1)
    info = json.loads((tmp_path / "out" / "meta" / "info.json").read_text())
    assert info["codebase_version"] == "v3.0" and info["total_frames"] == 9
    with pytest.raises(AmRosError, match="exists already"):
        lerobot.export(folder, tmp_path / "out", SPACE)


@pytest.mark.skipif(not HAS_LEROBOT, reason="lerobot is not installed")
def test_a_damaged_bag_leaves_no_half_a_data_set(folder, tmp_path):
    file = next((folder / "e1").glob("*.mcap"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 255
    file.write_bytes(data)
    with pytest.raises(AmRosError, match="damaged"):
        lerobot.export(folder, tmp_path / "out", SPACE, lerobot.Options(fps=2))
    assert not (tmp_path / "out").exists()

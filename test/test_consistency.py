"""Goal consistency without ROS: what a moved camera, another scene and an empty picture come to."""

import math

import cv2
import numpy as np
import pytest

from am_ros import cli
from am_ros.configuration import from_dict
from am_ros.consistency import ConsistencyConfig, Finding, check_view
from am_ros.consistency.picture import draw
from am_ros.errors import AmRosError
from am_ros.goals import Goal, GoalLibrary
from am_ros.images import decode, encode_png

FOCAL = 64 / 2 / math.tan(math.radians(32) / 2)  # of a picture of 64 px of a camera of 32 degrees
PX_PER_DEG = FOCAL * math.tan(math.radians(1))


def world(seed=0, size=400) -> np.ndarray:
    """Something to look at: rectangles of all sizes on a soft ground, uint8 [size, size, 3]."""
    rng = np.random.default_rng(seed)
    ground = rng.uniform(110, 170, (8, 8, 3)).astype(np.float32)
    picture = cv2.resize(ground, (size, size), interpolation=cv2.INTER_CUBIC)
    for _ in range(4000):
        x, y, w, h = *rng.integers(0, size, 2), *rng.integers(3, 10, 2)
        cv2.rectangle(picture, (int(x), int(y)), (int(x + w), int(y + h)), rng.uniform(60, 220, 3).tolist(), -1)
    return picture


def view(seed=0, right_deg=0.0, down_deg=0.0, clockwise_deg=0.0, arm=None, light=1.0, size=64) -> np.ndarray:
    """What a camera of 32 degrees sees of a world; `arm`: where a dark bar of a quarter of its width stands."""
    scale = size / 64
    shift = -right_deg * PX_PER_DEG * scale, -down_deg * PX_PER_DEG * scale
    matrix = cv2.getRotationMatrix2D((200, 200), clockwise_deg, scale)
    matrix[:, 2] += (size - 1) / 2 - 200 + shift[0], (size - 1) / 2 - 200 + shift[1]
    rgb = cv2.warpAffine(world(seed), matrix, (size, size), flags=cv2.INTER_AREA)
    if arm is not None:
        left, top = round(arm * size), round(0.7 * size)
        shades = np.random.default_rng(int(100 * arm)).uniform(20, 110, (4, 2, 3)).astype(np.float32)
        rgb[:top, left : left + size // 4] = cv2.resize(shades, (size // 4, top))  # it turns, so it looks different
    noise = np.random.default_rng(int(1000 * abs(right_deg + light))).normal(0, 1, rgb.shape)
    return np.clip(rgb * light + noise, 0, 255).astype(np.uint8)


def test_another_light_and_another_place_of_the_arm_are_consistent():
    found = check_view(view(arm=0.05), view(arm=0.6, light=0.8), FOCAL)
    assert found.finding is Finding.CONSISTENT and found.ok
    assert found.shift_deg < 0.2 and found.registration.matched > 0.3
    assert found.sentence.startswith("consistent: mean shift 0.")


@pytest.mark.parametrize("right_deg, down_deg, size", [(2.0, 0.0, 64), (-3.0, 4.0, 200), (0.0, -8.0, 64)])
def test_a_turned_camera_is_told_with_its_angles(right_deg, down_deg, size):
    then, now = view(arm=0.05, size=size), view(0, right_deg, down_deg, arm=0.6, size=size)
    found = check_view(then, now, FOCAL * size / 64)
    assert found.finding is Finding.MOVED and not found.ok
    assert found.right_deg == pytest.approx(right_deg, abs=0.25) and found.down_deg == pytest.approx(down_deg, abs=0.25)
    assert found.shift_px == pytest.approx(math.hypot(right_deg, down_deg) * PX_PER_DEG * size / 64, rel=0.15)
    if (right_deg, down_deg) == (-3.0, 4.0):
        assert "the camera looks 3." in found.sentence or "the camera looks 2.9" in found.sentence
        assert "further left" in found.sentence and "further down" in found.sentence


def test_a_rolled_camera_is_told_with_its_sense():
    found = check_view(view(size=128), view(clockwise_deg=6.0, size=128), 2 * FOCAL)
    assert found.finding is Finding.MOVED and found.clockwise_deg == pytest.approx(6.0, abs=0.5)
    assert "further clockwise" in found.sentence
    assert abs(found.right_deg) < 0.2 and abs(found.down_deg) < 0.2 and found.scale == pytest.approx(1.0, abs=0.02)


def test_without_the_opening_angle_the_shift_is_told_in_pixels():
    found = check_view(view(), view(right_deg=3.0))
    assert found.finding is Finding.MOVED and math.isnan(found.shift_deg)
    assert found.shift_px == pytest.approx(3 * PX_PER_DEG, rel=0.15)
    small = from_dict(ConsistencyConfig, {"max_shift_share": 0.5})
    assert check_view(view(), view(right_deg=3.0), config=small).finding is Finding.CONSISTENT


def test_another_scene_and_one_without_features_are_told_apart():
    assert check_view(view(0), view(7), FOCAL).finding is Finding.SCENE_DIFFERS
    plain = np.full((64, 64, 3), 128, np.uint8)
    found = check_view(plain, view(), FOCAL)
    assert found.finding is Finding.UNDECIDED and found.ok and "too few features" in found.sentence
    # A single edge does not say how far along it the camera moved.
    edge = np.full((128, 128, 3), 90, np.uint8)
    edge[:, 64:] = 170
    assert check_view(edge, edge.copy(), 2 * FOCAL).finding is Finding.UNDECIDED


def test_pictures_of_other_sizes_are_compared_and_tiny_ones_refused():
    found = check_view(view(size=200), view(right_deg=4.0, size=128), FOCAL * 200 / 64)
    assert found.compared_px == 128 and found.right_deg == pytest.approx(4.0, abs=0.3)
    assert found.shift_px == pytest.approx(4 * PX_PER_DEG * 200 / 64, rel=0.15)  # of the goal image
    with pytest.raises(AmRosError, match="pictures of 20x20 px tell nothing"):
        check_view(view()[:20, :20], view())


def test_the_command_compares_two_files_and_draws_them(tmp_path, capsys):
    library = GoalLibrary(tmp_path / "goals")
    library.record("cup", view(arm=0.1), Goal("cup", "left", focal_px=FOCAL), view(arm=0.1, size=200))
    (tmp_path / "now.png").write_bytes(encode_png(view(right_deg=-5.0, arm=0.5)))
    (tmp_path / "same.png").write_bytes(encode_png(view(arm=0.5)))
    goal, out = str(library.folder / "cup.png"), tmp_path / "overlay.png"
    assert cli.main(["goals", "list", str(library.folder)]) == 0 and "200x200" in capsys.readouterr().out
    assert cli.main(["goals", "show", str(library.folder), "cup"]) == 0 and "note: left" in capsys.readouterr().out
    assert cli.main(["goals", "check", goal, str(tmp_path / "same.png")]) == 0
    assert cli.main(["goals", "check", goal, str(tmp_path / "now.png"), "--out", str(out)]) == 1
    assert "moved: the camera looks 5." in capsys.readouterr().out
    assert decode(out.read_bytes()).shape == (298, 720, 3)
    assert cli.main(["goals", "check", goal, str(tmp_path / "now.png"), "--max-shift-deg", "9", "--fov-deg", "32"]) == 0
    assert cli.main(["goals", "list", str(tmp_path / "nothing")]) == 2
    assert not (tmp_path / "nothing").exists()


def test_the_picture_shows_goal_view_and_overlay():
    then, now = view(arm=0.1), view(right_deg=3.0, arm=0.5)
    picture = draw(then, now, check_view(then, now, FOCAL))
    assert picture.shape == (298, 720, 3) and picture.dtype == np.uint8
    goal, today, overlay = np.split(picture[20:260], 3, axis=1)
    assert not np.array_equal(goal, today)
    green = (overlay == (40, 170, 60)).all(axis=2)
    assert green.sum() > 500  # frames of patches that agree

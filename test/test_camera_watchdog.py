"""The watch over a camera's images: every fault by its name and in time, and none while all is well."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from am_ros.camera.watchdog import ImageWatch, ImageWatchConfig, SourceWatch
from am_ros.configuration import check
from am_ros.errors import AmRosError

CONFIG = ImageWatchConfig()
START_NS = 1_700_000_000_000_000_000
PERIOD_S = 0.05


def noise(seed, height=24, width=24):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


class Camera:
    """A camera at 20 Hz and an arm, and the watch over both; `clock_s` is the monotonic time, from 0."""

    def __init__(self, config=CONFIG, size=None):
        self.watch = ImageWatch(config, 0.0, size)
        self.clock_s, self.frames, self.x_m = 0.0, 0, 0.5

    @property
    def now_ns(self):
        return START_NS + round(self.clock_s * 1e9)

    def frame(self, rgb=None, stamp_s=None, speed_m_s=0.0, delay_s=0.0):
        """One period later: the next image (None: a new one), taken `delay_s` ago; returns whether it may be used."""
        self.clock_s, self.frames = self.clock_s + PERIOD_S, self.frames + 1
        self.x_m += speed_m_s * PERIOD_S
        self.watch.pose((self.x_m, 0.0, 0.2), self.now_ns)
        rgb = noise(self.frames) if rgb is None else rgb
        stamp_ns = self.now_ns - round(delay_s * 1e9) if stamp_s is None else START_NS + round(stamp_s * 1e9)
        return self.watch.image(rgb, stamp_ns, self.now_ns, self.clock_s)

    def fault(self):
        return self.watch.fault(self.clock_s)

    def until_fault(self, frames=100, **how):
        """Feed such images until there is a fault; returns it and the seconds that it took."""
        began_s = self.clock_s
        for _ in range(frames):
            self.frame(**how)
            if self.fault():
                return self.fault(), self.clock_s - began_s
        pytest.fail(f"no fault within {frames} images")


def test_a_camera_that_stops_is_stale_after_the_timeout():
    camera = Camera()
    assert camera.frame() and camera.fault() is None
    camera.clock_s += 1.9
    assert camera.fault() is None
    camera.clock_s += 0.2
    assert camera.fault() == "image_stale: topic image_raw: no new image for 2 s (the newest came before)"
    assert ImageWatch(CONFIG, 0.0).fault(2.1).endswith("(none came)")


def test_a_camera_that_freezes_while_the_arm_moves_is_found_in_time():
    camera = Camera()
    for _ in range(20):
        camera.frame(speed_m_s=0.1)
    fault, took_s = camera.until_fault(rgb=noise(20), speed_m_s=0.1)
    # 2 cm at 0.1 m/s, and then 0.3 s
    assert took_s <= 0.02 / 0.1 + 0.3 + 2 * PERIOD_S
    assert fault.startswith("image_frozen: topic image_raw: ") and "same pixels, while the arm moved by " in fault


@settings(max_examples=40)
@given(speeds=st.lists(st.floats(0, 0.25), min_size=1, max_size=8), tremble_mm=st.floats(0, 5))
def test_the_same_images_of_an_arm_at_rest_are_never_frozen(speeds, tremble_mm):
    """Steps with rests between them: at rest all images are the same, as those of a simulator are."""
    camera, rest = Camera(), 0
    for i, speed in enumerate(speeds):
        for _ in range(8):
            camera.frame(speed_m_s=speed)
        rest = noise(10_000 + i)
        for k in range(40):
            camera.x_m += (-1) ** k * tremble_mm * 1e-3
            assert camera.frame(rgb=rest)
    assert camera.fault() is None


def test_images_that_arrive_late_are_not_taken_for_frozen_ones():
    """An image tells of the arm as it was: at 0.25 m/s and 150 ms, the arm is 4 cm further when it comes."""
    camera, still = Camera(), noise(0)
    for speed in (0.0, 0.25) * 4:
        for k in range(12):
            moving = speed if k >= 3 else 0.0 if speed else 0.25  # what is seen is three images old
            assert camera.frame(rgb=None if moving else still, speed_m_s=speed, delay_s=0.15), camera.fault()
    assert camera.fault() is None


def test_poses_that_arrive_late_are_not_taken_for_a_motion():
    """A busy machine: images of an arm that has come to rest are here before the poses of its motion."""
    watch, still, late_s = ImageWatch(CONFIG, 0.0), noise(0), 0.3
    for k in range(40):
        now_s = k * PERIOD_S
        now_ns, pose_s = START_NS + round(now_s * 1e9), now_s - late_s
        watch.pose((0.5 + 0.25 * min(max(pose_s, 0.0), 0.5), 0.0, 0.2), now_ns - round(late_s * 1e9))
        assert watch.image(noise(k) if now_s <= 0.5 else still, now_ns, now_ns, now_s), watch.fault(now_s)
    assert watch.fault(now_s) is None


def test_stamps_that_stand_still_are_a_frozen_camera():
    camera = Camera()
    camera.frame(stamp_s=0.05)
    fault, took_s = camera.until_fault(stamp_s=0.05)
    assert fault.startswith("image_frozen: ") and "have the same stamp" in fault and took_s <= 0.4


@pytest.mark.parametrize("how, name, sentence", [
    (dict(rgb=np.zeros((24, 24, 3), np.uint8)), "image_black", "black image: mean 0.0 below 4"),
    (dict(rgb=np.full((24, 24, 3), 90, np.uint8)), "image_black", "uniform image"),
    (dict(rgb=noise(1, 12, 24)), "image_wrong_size", "image of 24x12 px, but 24x24 is expected"),
    (dict(delay_s=-3600), "image_stamp_jump", "3600.0 s in the future"),
    (dict(delay_s=3600), "image_stamp_jump", "s before the one before it"),
])
def test_an_image_that_cannot_be_is_never_used_and_three_are_a_fault(how, name, sentence):
    camera = Camera()
    for _ in range(5):
        assert camera.frame()
    assert not camera.frame(**how) and camera.fault() is None
    assert camera.frame()  # one was passed over
    fault, took_s = camera.until_fault(**how)
    assert fault.startswith(f"{name}: topic image_raw: ") and sentence in fault
    assert took_s == pytest.approx(3 * PERIOD_S)
    for _ in range(5):
        assert not camera.frame()
    assert camera.fault() == fault  # the first one stays


def test_what_counts_as_black_can_be_set():
    dim = noise(1) // 100
    assert Camera().until_fault(rgb=dim)[0].startswith("image_black: ")
    camera = Camera(ImageWatchConfig(black_below=0.0, uniform_below=0.0))
    assert camera.frame(rgb=dim) and camera.frame(rgb=np.zeros_like(dim))


def test_a_policy_names_the_size_it_needs():
    assert Camera(size=(64, 64)).until_fault()[0].endswith("image of 24x24 px, but 64x64 is expected")


def test_a_camera_that_lags_is_stale_from_its_first_image():
    fault, _ = Camera().until_fault(delay_s=5.0)
    assert fault.startswith("image_stale: ") and "its stamp is 5.0 s old, more than 2 s" in fault


def test_poses_that_are_no_numbers_are_passed_over():
    camera = Camera()
    camera.watch.pose((float("nan"), 0.0, 0.0), camera.now_ns)
    for _ in range(50):
        assert camera.frame(rgb=noise(0))
    assert camera.fault() is None


def test_thresholds_have_ranges():
    with pytest.raises(AmRosError, match="parameter frozen_images: 1 is outside 2"):
        check(ImageWatchConfig(frozen_images=1))


def test_a_source_says_what_is_wrong_with_its_images_now():
    watch = SourceWatch(frozen_after_s=5.0)
    assert watch.fault(0.0) is None
    for i in range(3):
        watch.image(noise(0), (48, 64), 2.0 * i)
    assert watch.fault(4.5) is None and watch.same_s(4.5) == 4.5
    assert watch.fault(6.0) == ("image_frozen", "the same pixels for 6 s")
    watch.image(noise(1), (48, 64), 7.0)
    assert watch.fault(20.0) is None and watch.same_s(20.0) == 0.0  # one image is not frozen, it is old
    watch.image(np.zeros((24, 24, 3), np.uint8), (48, 64), 8.0)
    assert watch.fault(8.0).name == "image_black"
    watch.image(noise(2), (24, 32), 9.0)
    assert watch.fault(9.0) == ("image_wrong_size", "image of 32x24 px, but 64x48 is expected")
    watch.image(noise(3), (48, 64), 10.0)
    assert watch.fault(10.0) is None

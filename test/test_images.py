"""Images between messages, bytes and arrays: round trips are exact, contradictions are refused by name."""

from array import array

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import Image

from am_ros.errors import AmRosError
from am_ros.images import (
    array_from_image,
    crop_box,
    crop_resize,
    decode,
    encode_jpeg,
    encode_png,
    fault_of,
    fill_image,
)


def picture(height=48, width=64, seed=0):
    """A smooth colourful picture with a saturated red block, uint8 [height, width, 3]."""
    y, x = np.mgrid[:height, :width]
    rgb = np.stack([x * 255 // width, y * 255 // height, (x + y + 40 * seed) % 256], -1).astype(np.uint8)
    rgb[height // 4:height // 2, width // 4:width // 2] = (220, 20, 20)
    return rgb


def message(data: bytes, height: int, width: int, step: int, encoding: str) -> Image:
    return Image(height=height, width=width, step=step, encoding=encoding, data=array("B", data))


def test_a_filled_message_reads_back_exactly():
    msg, rgb = Image(), picture()
    fill_image(msg, rgb)
    assert (msg.encoding, msg.height, msg.width, msg.step) == ("rgb8", 48, 64, 192)
    np.testing.assert_array_equal(array_from_image(msg), rgb)


def test_a_view_with_gaps_is_filled_as_what_it_shows():
    msg, rgb = Image(), picture()
    fill_image(msg, rgb[::2, ::-1])
    np.testing.assert_array_equal(array_from_image(msg), rgb[::2, ::-1])


@pytest.mark.parametrize("encoding, of_rgb", [
    ("bgr8", lambda rgb: rgb[..., ::-1]),
    ("rgba8", lambda rgb: np.dstack([rgb, np.full(rgb.shape[:2], 7, np.uint8)])),
    ("bgra8", lambda rgb: np.dstack([rgb[..., ::-1], np.full(rgb.shape[:2], 7, np.uint8)])),
])
@pytest.mark.parametrize("padding", [0, 5])
def test_other_encodings_and_padded_rows_become_the_same_rgb(encoding, of_rgb, padding):
    rgb = picture()
    rows = of_rgb(rgb).reshape(48, -1)
    padded = np.hstack([rows, np.full((48, padding), 99, np.uint8)])
    msg = message(padded.tobytes(), 48, 64, padded.shape[1], encoding)
    np.testing.assert_array_equal(array_from_image(msg), rgb)


def test_mono_becomes_grey():
    grey = picture()[..., 0]
    rgb = array_from_image(message(grey.tobytes(), 48, 64, 64, "mono8"))
    np.testing.assert_array_equal(rgb, np.dstack([grey] * 3))


@pytest.mark.parametrize("encoding, of_rgb", [
    ("8UC1", lambda rgb: cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)),
    ("8UC3", lambda rgb: rgb[..., ::-1]),
    ("8UC4", lambda rgb: cv2.cvtColor(rgb, cv2.COLOR_RGB2BGRA)),
    ("yuv422", lambda rgb: cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_UYVY)),
    ("uyvy", lambda rgb: cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_UYVY)),
    ("yuv422_yuy2", lambda rgb: cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_YUY2)),
    ("yuyv", lambda rgb: cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_YUY2)),
    ("bayer_rggb8", lambda rgb: mosaic(rgb, 0, 0)),
    ("bayer_bggr8", lambda rgb: mosaic(rgb, 1, 1)),
    ("bayer_grbg8", lambda rgb: mosaic(rgb, 0, 1)),
    ("bayer_gbrg8", lambda rgb: mosaic(rgb, 1, 0)),
])
@pytest.mark.parametrize("padding", [0, 6])
def test_what_ingest_reads_the_live_nodes_read_too(encoding, of_rgb, padding):
    """A message of rclpy, as a node gets it: a red field, even in every pair of pixels."""
    rgb = np.full((48, 64, 3), (20, 60, 160), np.uint8)
    rgb[:, 32:] = (200, 40, 30)
    rows = np.ascontiguousarray(of_rgb(rgb)).reshape(48, -1)
    padded = np.hstack([rows, np.full((48, padding), 99, np.uint8)])
    seen = array_from_image(message(padded.tobytes(), 48, 64, padded.shape[1], encoding)).astype(int)
    expected = rgb if encoding != "8UC1" else np.dstack([cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)] * 3)
    for column in (8, 56):
        assert np.abs(seen[24, column] - expected[24, column].astype(int)).max() < 6


def mosaic(rgb, row, column):
    """A Bayer pattern whose red pixels begin in that row and column."""
    grey = rgb[..., 1].copy()
    grey[row::2, column::2] = rgb[row::2, column::2, 0]
    grey[1 - row::2, 1 - column::2] = rgb[1 - row::2, 1 - column::2, 2]
    return grey


@pytest.mark.parametrize("msg, sentence", [
    (message(bytes(100), 10, 10, 30, "rgb8"), "100 bytes of data, but height 10 x step 30 is 300"),
    (message(bytes(200), 10, 10, 20, "rgb8"), "step 20 is less than width 10 x 3 bytes of rgb8"),
    (message(b"", 0, 0, 0, "rgb8"), "0x0 px is outside"),
    (message(b"", 2**32 - 1, 2**32 - 1, 0, "rgb8"), "px is outside"),
    (message(bytes(100), 10, 10, 10, "16UC1"), "cv_bridge"),
    (message(bytes(220), 10, 11, 22, "yuv422_yuy2"), "width 11 is odd"),
    (message(bytes(100), 10, 10, 10, ""), "encoding '' is not one of rgb8"),
])
def test_a_message_that_contradicts_itself_is_refused_in_one_sentence(msg, sentence):
    with pytest.raises(AmRosError) as refusal:
        array_from_image(msg, "goal_image")
    assert str(refusal.value).startswith("goal_image: ") and sentence in str(refusal.value)


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=400), height=st.integers(0, 20) | st.integers(0, 2**32 - 1),
       width=st.integers(0, 20) | st.integers(0, 2**32 - 1), step=st.integers(0, 60) | st.integers(0, 2**32 - 1),
       encoding=st.sampled_from(["rgb8", "bgr8", "rgba8", "bgra8", "yuv422", "bayer_rggb8", "8UC3", "32FC1", "é"]))
def test_any_message_is_converted_to_its_size_or_refused(data, height, width, step, encoding):
    msg = message(data, height, width, step, encoding)
    try:
        rgb = array_from_image(msg)
    except AmRosError as refusal:
        assert "\n" not in str(refusal)
    else:
        assert rgb.shape == (height, width, 3) and rgb.dtype == np.uint8


def test_png_is_lossless_and_jpeg_keeps_the_colour_of_a_small_block():
    rgb = picture()
    np.testing.assert_array_equal(decode(encode_png(rgb)), rgb)
    # A block of 3x3 px, as an object looks at the policy's resolution: with 4:2:0 its red would be off by 60 and more.
    rgb[20:23, 31:34] = (0, 0, 255)
    error = np.abs(decode(encode_jpeg(rgb)).astype(int) - rgb)
    assert error[20:23, 31:34].max() < 40 and error.mean() < 2


@settings(max_examples=200, deadline=None)
@given(position=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.integers(0, 10_000))
def test_damaged_files_decode_to_an_image_or_are_refused(position, value, cut):
    for data in (bytearray(PNG), bytearray(JPEG)):
        data[position % len(data)] = value
        data = data[:cut % len(data)] if cut % 2 else data
        try:
            assert decode(bytes(data), "x.png").dtype == np.uint8
        except AmRosError as refusal:
            assert str(refusal).startswith("x.png: ")


PNG, JPEG = encode_png(picture(16, 16)), encode_jpeg(picture(16, 16))


def test_a_truncated_image_is_refused_rather_than_filled_with_grey():
    for data in (PNG, JPEG):
        for size in range(8, len(data) - 12, 7):
            with pytest.raises(AmRosError, match="cut short"):
                decode(data[:size])


def test_what_is_not_an_image_is_refused():
    for bad in (b"", b"not an image", PNG[:40]):
        with pytest.raises(AmRosError, match="x.png"):
            decode(bad, "x.png")
    for bad in (picture().astype(float), picture()[..., 0], picture()[:0], [[1, 2, 3]]):
        with pytest.raises(AmRosError, match="image: "):
            encode_png(bad)
    with pytest.raises(AmRosError, match="quality"):
        encode_jpeg(picture(), 101)


def test_crop_is_central_and_keeps_the_aspect():
    assert crop_box(480, 640, 64, 64) == (0, 80, 480, 480)
    assert crop_box(640, 480, 64, 64) == (80, 0, 480, 480)
    assert crop_box(480, 640, 48, 64) == (0, 0, 480, 640)
    rgb = np.zeros((48, 96, 3), np.uint8)
    rgb[:, 24:72] = 200  # exactly the centre square
    assert (crop_resize(rgb, 12, 12) == 200).all()
    assert crop_resize(rgb, 48, 96) is rgb


@settings(max_examples=100, deadline=None)
@given(*[st.integers(1, 70)] * 4)
def test_crop_resize_gives_the_size_asked_for(height, width, to_height, to_width):
    rgb = np.full((height, width, 3), 130, np.uint8)
    assert (crop_resize(rgb, to_height, to_width) == np.full((to_height, to_width, 3), 130)).all()


def test_black_and_uniform_images_are_named_and_a_scene_passes():
    noise = np.random.default_rng(0).integers(0, 3, (48, 64, 3)).astype(np.uint8)
    assert fault_of(noise).startswith("black image: mean 1.0 below 4")
    assert fault_of(noise + 100).startswith("uniform image: standard deviation 0.8 below 3")
    assert fault_of(picture()) is None
    assert fault_of(picture() // 8) is None  # a dark scene is still a scene

"""Images of other cells' cameras: encodings, Bayer patterns, crops."""

import cv2
import numpy as np
import pytest

from am_ros import images
from am_ros.errors import AmRosError
from am_ros.ingest.mapping import ImageRole
from am_ros.ingest.pictures import COMPRESSED, IMAGE, Pictures


def message(encoding: str, channels: int, rows: np.ndarray):
    """An Image message."""

    class Image:
        height, width, step, data = rows.shape[0], rows.shape[1] // channels, rows.shape[1], rows.reshape(-1)

    Image.encoding = encoding
    return Image


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_each_bayer_pattern_gives_the_colours_that_were_seen(pattern, tmp_path):
    colour = {"r": 200, "g": 120, "b": 40}
    mosaic = np.array([[colour[pattern[2 * (y % 2) + x % 2]] for x in range(32)] for y in range(32)], np.uint8)
    pictures = Pictures(ImageRole(topic="/c", width=16, height=16, crop=(2, 2, 28, 28)), IMAGE)
    told = message(f"bayer_{pattern}8", 1, mosaic)
    pictures.look(told)
    with pytest.raises(AmRosError, match="uniform"):  # one colour all over shows nothing
        pictures.decode(told)
    mosaic[:, 16:] //= 2
    np.testing.assert_array_equal(pictures.decode(told)[8, 2], [200, 120, 40])


@pytest.mark.parametrize("encoding", ["16UC1", "mono16", "rgb16", "bayer_rggb16", "32FC1", "nv12"])
def test_images_of_more_than_eight_bits_or_of_an_unknown_kind_are_refused_by_name(encoding):
    role = ImageRole(topic="/c")
    with pytest.raises(AmRosError, match=encoding):
        Pictures(role, IMAGE).look(message(encoding, 2, np.zeros((8, 16), np.uint8)))
    deep = cv2.imencode(".png", np.full((8, 8), 40_000, np.uint16))[1]
    with pytest.raises(AmRosError, match="more than 8 bits"):
        Pictures(role, COMPRESSED).look(type("Compressed", (), {"format": "png", "data": deep}))


def test_crop_channel_order_and_yuv(tmp_path):
    rgb = np.zeros((40, 60, 3), np.uint8)
    rgb[:, 10:] = (250, 30, 60)
    rgb[:, 35:] = (20, 200, 90)
    role = ImageRole(topic="/c", width=16, height=16, crop=(30, 5, 20, 20))
    seen = Pictures(role, IMAGE).decode(message("bgr8", 3, rgb[..., ::-1].reshape(40, -1)))
    assert tuple(seen[8, 1]) == (250, 30, 60) and tuple(seen[8, 14]) == (20, 200, 90)
    swapped = ImageRole(topic="/c", width=16, height=16, swap_red_blue=True)
    data = np.frombuffer(images.encode_png(rgb[..., ::-1]), np.uint8)
    png = type("Compressed", (), {"format": "png", "data": data})
    assert tuple(Pictures(swapped, COMPRESSED).decode(png)[8, 14]) == (20, 200, 90)
    rgb[:, 34:] = (20, 200, 90)  # two pixels share their colour
    yuv = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_UYVY).reshape(40, -1)
    seen = Pictures(role, IMAGE).decode(message("yuv422", 2, yuv))
    assert np.abs(seen[8, 1].astype(int) - (250, 30, 60)).max() < 8
    assert np.abs(seen[8, 14].astype(int) - (20, 200, 90)).max() < 8

"""Every image of a foreign bag is looked at: what changes in mid-bag cuts or is counted, and colours are those seen."""

import importlib.util
import sys
from fractions import Fraction

import cv2
import numpy as np
import pytest
from recordings import (
    COMPRESSED,
    IMAGE,
    PACKET,
    T0,
    VIDEO,
    camera,
    compressed,
    header,
    image,
    ingested,
    jpeg,
    largest_error_m,
    make,
    picture,
    poses,
    rules,
    time,
    write,
    x_of,
)

from am_ros import cli
from am_ros.errors import AmRosError

PIXEL_M = 0.4 / 63
SKY = (20, 60, 160)  # the picture's upper half


def refusal(bag, mapping) -> str:
    with pytest.raises(AmRosError) as caught:
        ingested(bag, mapping)
    return str(caught.value)


def drawn(number_of, usual=image):
    """Draws a picture by the number of the image; None: as usual."""
    numbers = iter(range(10**6))

    def draw(t, rgb):
        return number_of(next(numbers), t, rgb) or usual(t, rgb)

    return draw


def mosaic(rgb, size=256) -> np.ndarray:
    """What a sensor with an RGGB pattern sees."""
    rgb = cv2.resize(rgb, (size, size), interpolation=cv2.INTER_NEAREST)
    grey = rgb[..., 1].copy()
    grey[0::2, 0::2], grey[1::2, 1::2] = rgb[0::2, 0::2, 0], rgb[1::2, 1::2, 2]
    return grey


@pytest.mark.parametrize("told, data, mapped", [
    ("bayer_rggb8; jpeg compressed ", lambda rgb: jpeg(mosaic(rgb)), ""),
    ("bayer_rggb8; jpeg compressed bgr8", lambda rgb: jpeg(rgb[..., ::-1]), ""),
    ("bayer_rggb8; jpeg compressed ", lambda rgb: jpeg(rgb[..., ::-1]), ""),
    ("jpeg", lambda rgb: jpeg(mosaic(rgb)), "bayer_rggb8"),
    ("rgb8; jpeg compressed bgr8", lambda rgb: jpeg(rgb[..., ::-1]), ""),
    ("bgr8; png compressed bgr8", lambda rgb: cv2.imencode(".png", rgb[..., ::-1])[1].tobytes(), ""),
    ("rgb8; jpeg compressed rgb8", lambda rgb: jpeg(rgb), ""),  # OpenCV took RGB for BGR when it was written
    ("bgr8; jpeg compressed rgb8", lambda rgb: jpeg(rgb), ""),
    ("jpeg", lambda rgb: jpeg(rgb[..., ::-1]), ""),
    ("jpeg", lambda rgb: jpeg(rgb[..., ::-1]) + bytes(5000), ""),  # padded to the size of a buffer
])  # fmt: skip
def test_a_compressed_image_has_the_colours_that_were_seen(told, data, mapped, tmp_path):
    draw = lambda t, rgb: compressed(t, data(rgb), told)  # noqa: E731
    bag = write(tmp_path / "bag", camera(5, draw=draw, kind=COMPRESSED) + poses(5))
    episodes, _ = ingested(bag, rules(tmp_path, image={"encoding": mapped}))
    assert np.abs(episodes[0].images[0][5, 5].astype(int) - SKY).max() < 8
    assert largest_error_m(episodes) < 2 * PIXEL_M


@pytest.mark.parametrize("odd, reason", [
    (lambda t: image(t, np.full((64, 64), 700, "<u2"), "16UC1"), "images: encoding '16UC1'"),
    (lambda t: image(t, picture(0.5), ""), "images: encoding ''"),
    (lambda t: image(t, picture(0.5), "nv12"), "images: encoding 'nv12'"),
])  # fmt: skip
def test_an_image_of_no_use_costs_that_image_alone(odd, reason, tmp_path):
    draw = drawn(lambda i, t, rgb: odd(t) if i % 20 == 0 else None)  # the first one too
    episodes, report = ingested(write(tmp_path / "bag", camera(draw=draw) + poses()), rules(tmp_path))
    assert report.dropped[reason] == 6 and report.images == 114 and len(episodes) == 1
    assert "the image of stamp 1750000000.000 s" in report.dropped.first[reason]
    assert largest_error_m(episodes) < PIXEL_M


@pytest.mark.parametrize("after, kind", [
    (lambda t, rgb: image(t, cv2.resize(rgb, (32, 32), interpolation=cv2.INTER_NEAREST)), IMAGE),
    (lambda t, rgb: image(t, rgb[..., ::-1], "bgr8"), IMAGE),
    (lambda t, rgb: compressed(t, jpeg(cv2.resize(rgb, (96, 96))[..., ::-1]), "jpeg"), COMPRESSED),
])  # fmt: skip
def test_a_camera_that_is_reconfigured_makes_two_episodes(after, kind, tmp_path):
    usual = image if kind == IMAGE else lambda t, rgb: compressed(t, jpeg(rgb[..., ::-1]), "jpeg")
    draw = drawn(lambda i, t, rgb: after(t, rgb) if i >= 60 else None, usual)
    episodes, report = ingested(write(tmp_path / "bag", camera(draw=draw, kind=kind) + poses()), rules(tmp_path))
    assert [e.info.extra["ingested_cut"] for e in episodes] == ["picture changed", "bag_end"]
    assert any("changes of the picture from 64x64 px" in reason for reason in report.dropped)
    assert largest_error_m(episodes) < 2 * PIXEL_M


def test_a_crop_is_meant_for_the_size_that_the_bag_begins_with(tmp_path):
    draw = drawn(lambda i, t, rgb: image(t, cv2.resize(rgb, (128, 128))) if i >= 60 else None)
    bag = write(tmp_path / "bag", camera(draw=draw) + poses())
    episodes, report = ingested(bag, rules(tmp_path, image={"crop": [0, 0, 64, 64]}))
    assert report.dropped["images: of another size than the first"] == 60 and len(episodes) == 1


def of_frame(message, name: str):
    message.header.frame_id = name
    return message


@pytest.mark.parametrize("other", [
    lambda t, rgb: image(t, cv2.resize(rgb, (128, 128))),
    lambda t, rgb: of_frame(image(t, rgb), "wrist"),
])  # fmt: skip
def test_two_cameras_on_one_topic_are_named(other, tmp_path):
    draw = drawn(lambda i, t, rgb: other(t, rgb) if i % 2 else None)
    said = refusal(write(tmp_path / "bag", camera(draw=draw) + poses()), rules(tmp_path))
    assert "image: two sources alternate on /cam, one with " in said and "64x64 px 'rgb8' of frame 'cam'" in said


def test_a_bag_whose_images_are_all_of_no_use_is_refused_and_the_others_are_read(tmp_path, capsys):
    far = np.full((64, 64), 700, "<u2")
    depth = write(tmp_path / "depth", camera(draw=lambda t, _: image(t, far, "16UC1")) + poses())
    odd = camera(draw=lambda t, _: image(t, np.zeros((64, 126), np.uint8), "yuv422_yuy2"))
    for _, _, _, message in odd:
        message.width = 63
    odd = write(tmp_path / "odd", odd + poses())
    good = write(tmp_path / "good", camera() + poses())
    mapping = rules(tmp_path)
    said = refusal(depth, mapping)
    assert "image: no image on /cam can be used: encoding '16UC1': has more than 8 bits a channel" in said
    _, report = ingested(odd, mapping)
    assert "width 63 is odd" in report.dropped.first["images: cannot be decoded"]
    code = cli.main(["bags", "ingest", str(depth), str(odd), str(good), "--mapping", mapping.path, "--dry-run"])
    assert code == 1 and "good_0000: 25 steps" in capsys.readouterr().out


def encoded(name: str, pictures: list, b_frames: int = 0) -> list[bytes]:
    """The packets of a video."""
    import av

    encoder = av.CodecContext.create(name, "w")
    encoder.width = encoder.height = pictures[0].shape[0]
    encoder.pix_fmt, encoder.time_base, encoder.framerate = "yuv420p", Fraction(1, 10), 10
    encoder.gop_size, encoder.max_b_frames = 10, b_frames
    # Key frames at every tenth picture and nowhere else.
    options = "keyint=10:min-keyint=10:scenecut=0"
    kind = {"x265-params": f"{options}:log-level=none"} if "265" in name else {"x264-params": options}
    encoder.options = kind if b_frames else {**kind, "tune": "zerolatency"}
    packets = []
    for number, rgb in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
        frame.pts = number
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    return packets + [bytes(packet) for packet in encoder.encode(None)]


def film(kind: str, codec: str, told: str, seconds: float = 12.0, b_frames: int = 0) -> list:
    """A camera that sends video."""
    times = [i / 10 for i in range(round(10 * seconds))]
    found = []
    packets = encoded(codec, [picture(x_of(t), 128) for t in times], b_frames)
    for number, (t, packet) in enumerate(zip(times, packets, strict=True)):
        data = np.frombuffer(packet, np.uint8)
        if kind == VIDEO:
            message = make(VIDEO, timestamp=time(T0 + t), frame_id="cam", data=data, format=told)
        elif kind == PACKET:
            message = make(
                PACKET, header=header(T0 + t), width=128, height=128, encoding=told, pts=number, flags=0,
                is_bigendian=False, data=data,
            )  # fmt: skip
        else:
            message = compressed(T0 + t, packet, told)
        found.append(("/cam", kind, T0 + t + 0.02, message))
    return found


needs_av = pytest.mark.skipif(importlib.util.find_spec("av") is None, reason="PyAV is not installed: the extra `video`")


@needs_av
@pytest.mark.parametrize("kind, codec, told", [
    (VIDEO, "libx264", "h264"), (VIDEO, "libx265", "h265"), (PACKET, "libx264", "libx264;yuv420p;bgr8;bgr8"),
    (PACKET, "libx265", "hevc_nvenc"), (PACKET, "libx264", "h.264"), (COMPRESSED, "libx264", "h264"),
])  # fmt: skip
def test_video_gives_the_picture_of_each_message(kind, codec, told, tmp_path):
    messages = film(kind, codec, told)
    episodes, report = ingested(write(tmp_path / "bag", messages + poses()), rules(tmp_path))
    assert report.images == 120 and largest_error_m(episodes) < 2 * PIXEL_M
    # A recording that begins in mid-stream, and a packet that was lost: nothing is made up until the next key frame.
    cut = write(tmp_path / "cut", messages[4:33] + messages[34:] + poses())
    episodes, report = ingested(cut, rules(tmp_path))
    assert report.dropped["images: video without a picture"] == 6 + 6
    assert largest_error_m(episodes) < 2 * PIXEL_M


@needs_av
def test_video_whose_packets_do_not_give_their_own_picture_is_named(tmp_path):
    bag = write(tmp_path / "bag", film(VIDEO, "libx264", "h264", 6.0, b_frames=3) + poses(6))
    episodes, report = ingested(bag, rules(tmp_path))
    assert not episodes and "B-frames" in report.dropped.first["images: video out of order"]


def test_video_that_cannot_be_read_is_refused_by_name(tmp_path, monkeypatch):
    def video(t: float, told: str):
        return make(VIDEO, timestamp=time(t), frame_id="", data=np.zeros(9, np.uint8), format=told)

    bag = write(tmp_path / "vp9", [("/cam", VIDEO, t, video(t, "vp9")) for t in T0 + np.arange(20) / 10] + poses(2))
    assert "video 'vp9': is neither H.264 nor H.265" in refusal(bag, rules(tmp_path))
    monkeypatch.setitem(sys.modules, "av", None)  # not installed
    bag = write(tmp_path / "h264", [("/cam", VIDEO, t, video(t, "h264")) for t in T0 + np.arange(20) / 10] + poses(2))
    said = refusal(bag, rules(tmp_path))
    assert "image: h264 video needs PyAV, which is not installed: pip install 'am_ros[video]'" in said

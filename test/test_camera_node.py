"""The camera node as a process: every image in order, stamped at capture, with calibration and diagnostics."""

import signal
import time

import numpy as np
import pytest
from am_msgs.srv import CountImages
from conftest import wait_until
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from test_camera import CALIBRATION, MjpegServer, number_of, picture, write_folder, write_video

from am_ros.camera.calibration import pinhole
from am_ros.images import array_from_image, crop_resize, decode, encode_png
from am_ros.ros.node.common import from_ns, to_ns


def values_of(array: DiagnosticArray) -> dict:
    return {value.key: value.value for value in array.status[0].values}


def test_a_folder_is_published_in_order_with_stamps_and_no_published_image_is_lost(ros, start_node, tmp_path):
    folder = write_folder(tmp_path / "images", 25)
    images, compressed = ros.receive(Image, "image_raw"), ros.receive(CompressedImage, "image_raw/compressed")
    infos, reports = ros.receive(CameraInfo, "camera_info"), ros.receive(DiagnosticArray, "/diagnostics")
    camera = start_node("camera", source=str(folder), rate_hz=20.0, frame_id="lens", ready="ready: ")
    images.wait(30)
    wall_ns = time.time_ns()
    camera.signal(signal.SIGSTOP)  # what is on the way arrives; nothing new comes
    time.sleep(0.3)
    first, last = images[0].header, images[-1].header
    camera.signal(signal.SIGCONT)

    numbers = [number_of(array_from_image(image)) for image in images[:30]]
    ways = np.diff(numbers) % 25
    assert (ways >= 1).all() and ways.sum() <= 29 + 3
    told = len(reports)
    wait_until(lambda: len(reports) > told, 5, "diagnostics")
    assert ways.sum() - 29 <= int(values_of(reports[-1])["drops"])  # what is passed over is counted, or it was lost
    np.testing.assert_array_equal(array_from_image(images[0]), picture(numbers[0]))
    assert {(image.encoding, image.header.frame_id) for image in images} == {("rgb8", "lens")}
    stamps = [to_ns(image.header.stamp) for image in images[:30]]
    assert np.median(np.diff(stamps)) / 1e9 == pytest.approx(0.05, abs=0.01)
    assert abs(stamps[29] - wall_ns) < 1e9
    received = sum(to_ns(first.stamp) <= to_ns(image.header.stamp) <= to_ns(last.stamp) for image in images)
    counted = ros.call(CountImages, "camera/count_images", first=first.stamp, last=last.stamp)
    assert counted.count == received and (counted.first, counted.last) == (first.stamp, last.stamp)
    assert ros.call(CountImages, "camera/count_images").count >= 30
    assert ros.call(CountImages, "camera/count_images", first=from_ns(1), last=from_ns(2)).count == 0

    by_stamp = {to_ns(image.header.stamp): image for image in images}
    jpeg = compressed.wait(5)[4]
    original = array_from_image(by_stamp[to_ns(jpeg.header.stamp)]).astype(int)
    assert np.abs(decode(jpeg.data) - original).mean() < 3 and "jpeg" in jpeg.format
    info = infos.wait(1)[0]
    expected = pinhole(64, 48, 1.05)
    assert (info.width, info.height, info.header.frame_id) == (64, 48, "lens")
    np.testing.assert_allclose(info.k, expected.k)
    assert to_ns(info.header.stamp) in by_stamp
    assert camera.stop() == 0


def test_a_video_is_cropped_to_the_policys_size_with_its_calibration(ros, start_node, tmp_path):
    path = write_video(tmp_path / "a.mp4", "mp4v", 20)
    (tmp_path / "camera.yaml").write_text(CALIBRATION)
    images, infos = ros.receive(Image, "image_raw"), ros.receive(CameraInfo, "camera_info")
    start_node("camera", source=str(path), width=24, height=24, camera_info_url=f"file://{tmp_path}/camera.yaml")
    rgb = array_from_image(images.wait(1)[0])
    assert rgb.shape == (24, 24, 3)
    reference = crop_resize(picture(0), 24, 24)
    assert np.abs(rgb[..., 2].astype(int) - reference[..., 2]).mean() < 30
    info = infos.wait(1)[0]
    assert (info.width, info.height) == (24, 24)
    # 64x48 is cropped to 48x48 (8 columns on the left) and halved.
    assert (info.k[0], info.k[4]) == (25.0, 25.5)
    assert (info.k[2], info.k[5]) == ((31.0 - 8 + 0.5) / 2 - 0.5, (23.0 + 0.5) / 2 - 0.5)
    assert list(info.d) == [0.1, -0.2, 0.001, 0.002, 0.0]


def test_diagnostics_tell_rate_and_say_error_when_the_stream_dies(ros, start_node):
    server = MjpegServer()
    url = f"http://user:secret@127.0.0.1:{server.port}/a.mjpg"
    reports = ros.receive(DiagnosticArray, "/diagnostics", 10)
    images = ros.receive(Image, "image_raw")
    camera = start_node("camera", source=url, stale_after_s=0.5, source_timeout_s=1.0)
    images.wait(50)
    wait_until(lambda: float(values_of(reports[-1])["rate_hz"]) > 30, what="a rate above 30 Hz")
    healthy = reports[-1].status[0]
    assert (healthy.level, healthy.name) == (b"\x00", "/camera: images") and "images per second" in healthy.message
    assert float(values_of(reports[-1])["age_s"]) < 0.3
    server.close()
    wait_until(lambda: reports[-1].status[0].level == b"\x02", what="level ERROR")
    wait_until(lambda: "cannot be opened" in reports[-1].status[0].message, what="the reason")
    assert reports[-1].status[0].message.startswith("no image for")
    server = MjpegServer(server.port)
    before = len(images)
    images.wait(before + 20)
    wait_until(lambda: reports[-1].status[0].level == b"\x00", what="level OK")
    assert values_of(reports[-1])["reconnects"] == "1"
    server.close()
    assert "secret" not in camera.output + " ".join(s.message + s.hardware_id for r in reports for s in r.status)


def test_diagnostics_name_a_source_that_freezes_turns_black_or_changes_its_size(ros, start_node, tmp_path):
    folder = write_folder(tmp_path / "images", 1)
    reports = ros.receive(DiagnosticArray, "/diagnostics", 10)
    start_node("camera", source=str(folder), rate_hz=20.0, frozen_after_s=0.5, ready="ready: ")
    for rgb, level, sentence in (
        (picture(0), b"\x01", "image_frozen: topic /image_raw: the same pixels for "),
        (picture(0) // 100, b"\x02", "image_black: topic /image_raw: black image: mean "),
        (picture(0, 24, 32), b"\x02", "image_wrong_size: topic /image_raw: image of 32x24 px, but 64x48 is expected"),
    ):
        (tmp_path / "next.png").write_bytes(encode_png(rgb))
        (tmp_path / "next.png").replace(folder / "000.png")
        wait_until(lambda sentence=sentence: reports and reports[-1].status[0].message.startswith(sentence),
                   what=sentence)
        assert reports[-1].status[0].level == level
    assert float(values_of(reports[-1])["same_pixels_s"]) > 0


def test_a_device_that_is_not_there_is_named_once_and_waited_for(ros, start_node):
    reports = ros.receive(DiagnosticArray, "/diagnostics", 10)
    camera = start_node("camera", source="63", ready="source 63 cannot be opened: no such camera")
    wait_until(lambda: reports and "cannot be opened" in reports[-1].status[0].message, what="diagnostics name it")
    assert values_of(reports[-1])["age_s"] == "nan"
    time.sleep(1.0)
    assert camera.returncode is None and camera.output.count("cannot be opened") == 1
    assert "ready" not in camera.output  # not before there is an image
    assert camera.stop() == 0


@pytest.mark.parametrize("parameters, sentence", [
    ({"source": "/nowhere/clip.mp4"}, "camera: source /nowhere/clip.mp4 cannot be opened: no such file or folder"),
    ({"source": "63", "width": 64}, "camera: parameters width and height: 64x0: give both, or 0 for both"),
    ({"source": "63", "jpeg_quality": 101}, "camera: parameter jpeg_quality: "),
    ({"source": "63", "camera_info_url": "/nowhere/c.yaml"}, "camera: calibration /nowhere/c.yaml: cannot be read"),
])
def test_what_cannot_work_ends_the_node_with_one_sentence(start_node, parameters, sentence):
    camera = start_node("camera", **parameters)
    assert camera.wait() == 2
    assert sentence in camera.output and "Traceback" not in camera.output


def test_a_calibration_of_another_size_ends_the_node(start_node, tmp_path):
    (tmp_path / "camera.yaml").write_text(CALIBRATION.replace("image_width: 64", "image_width: 640"))
    camera = start_node("camera", source=str(write_folder(tmp_path / "images", 1)),
                        camera_info_url=str(tmp_path / "camera.yaml"))
    assert camera.wait() == 2
    assert "camera.yaml: is for 640x48 px, but" in camera.output and "Traceback" not in camera.output

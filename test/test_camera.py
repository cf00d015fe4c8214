"""Camera sources and capture without ROS: real files, a real network stream that dies and comes back."""

import math
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest
from conftest import wait_until

from am_ros.camera.calibration import load_calibration, pinhole
from am_ros.camera.capture import Capture
from am_ros.camera.sources import EndOfSource, SourceConfig, is_live, open_source, public_name
from am_ros.diagnostics import LatencyWindow, StampLog, StreamStatistics
from am_ros.errors import AmRosError
from am_ros.images import crop_resize, encode_jpeg, encode_png


def picture(number: int, height=48, width=64) -> np.ndarray:
    """A red picture with a green bar, whose column tells the number (below 26): it survives any video codec."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[..., 0] = 250
    rgb[:, 4 + 2 * number:12 + 2 * number] = (0, 250, 0)
    return rgb


def number_of(rgb: np.ndarray) -> int:
    green = np.maximum(rgb[..., 1].astype(float).mean(axis=0) - 60, 0)
    return round(((green * np.arange(green.size)).sum() / green.sum() - 7.5) / 2)


def write_folder(folder, count: int):
    folder.mkdir(exist_ok=True)
    for i in range(count):
        (folder / f"{i:03d}.png").write_bytes(encode_png(picture(i)))
    return folder


def write_video(path, fourcc: str, count: int, rate_hz: float = 25.0):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*fourcc), rate_hz, (64, 48))
    assert writer.isOpened()
    for i in range(count):
        writer.write(np.ascontiguousarray(picture(i)[..., ::-1]))
    writer.release()
    return path


class Gathered:
    """A running capture whose every image is taken at once."""

    def __init__(self, config: SourceConfig, height=0, width=0):
        self.frames, self.said = [], []
        self.capture = Capture(config, height, width, self._take, lambda problem, text: self.said.append(text))
        self.capture.start()

    def _take(self):
        frame = self.capture.newest()
        if frame is not None:
            self.frames.append(frame)

    def wait(self, count: int, timeout_s=10.0):
        wait_until(lambda: len(self.frames) >= count, timeout_s, f"{count} images ({self.said})")
        return self.frames[:count]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.capture.close()


@pytest.mark.parametrize("fourcc, name", [("mp4v", "a.mp4"), ("MJPG", "a.avi")])
def test_a_video_is_played_at_its_own_rate_in_the_right_colours(tmp_path, fourcc, name):
    path = write_video(tmp_path / name, fourcc, 20)
    with Gathered(SourceConfig(str(path), loop=False)) as run:
        frames = run.wait(20)
        wait_until(lambda: run.capture.ended, what="the end")
    assert [number_of(frame.rgb) for frame in frames] == list(range(20))
    assert frames[1].rgb[..., 0].mean() > 150 > 50 > frames[1].rgb[..., 2].mean()  # red is the first channel
    assert frames[-1].captured_s - frames[0].captured_s == pytest.approx(19 / 25, abs=0.1)
    assert run.said == [f"source {path} has ended after 20 images"]


def test_a_looped_video_starts_again(tmp_path):
    path = write_video(tmp_path / "a.mp4", "mp4v", 5)
    with Gathered(SourceConfig(str(path), rate_hz=100.0)) as run:
        assert [number_of(frame.rgb) for frame in run.wait(12)] == [i % 5 for i in range(12)]


def test_a_folder_is_played_by_name_and_a_broken_image_is_named_once(tmp_path):
    folder = write_folder(tmp_path / "images", 4)
    (folder / "001.png").write_bytes(b"broken")
    (folder / "notes.txt").write_text("no image")
    with Gathered(SourceConfig(str(folder), rate_hz=100.0)) as run:
        frames = run.wait(9)
    assert [number_of(frame.rgb) for frame in frames] == [0, 2, 3] * 3
    assert len(run.said) == 1 and "001.png: 6 bytes that are not" in run.said[0]


def test_a_folder_that_is_not_looped_ends_even_if_the_last_image_is_broken(tmp_path):
    folder = write_folder(tmp_path / "images", 2)
    (folder / "001.png").write_bytes(b"broken")
    source = open_source(SourceConfig(str(folder), loop=False))
    assert number_of(source.read()[0]) == 0
    with pytest.raises(EndOfSource):
        source.read()


def test_images_are_cropped_and_resized_to_the_policys_size(tmp_path):
    folder = write_folder(tmp_path / "images", 1)
    with Gathered(SourceConfig(str(folder)), height=16, width=16) as run:
        frame = run.wait(1)[0]
    np.testing.assert_array_equal(frame.rgb, crop_resize(picture(0), 16, 16))
    assert (frame.source_height, frame.source_width) == (48, 64)
    with pytest.raises(AmRosError, match="width and height: 16x0: give both"):
        Capture(SourceConfig(str(folder)), width=16)


def test_only_the_newest_image_is_kept_and_the_others_are_counted(tmp_path):
    capture = Capture(SourceConfig(str(write_folder(tmp_path / "images", 20)), rate_hz=100.0, loop=False))
    capture.start()
    wait_until(lambda: capture.ended, what="the end")
    report = capture.statistics.report(time.monotonic())
    assert number_of(capture.newest().rgb) == 19 and capture.newest() is None
    assert (report.images, report.drops) == (20, 19)
    assert report.rate_hz == pytest.approx(100, rel=0.2) and report.age_s < 5


def test_what_cannot_be_opened_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("this is not a video " * 50)
    for source, why in ((tmp_path / "gone", "no such file or folder"), (tmp_path / "empty", "holds no image"),
                        (tmp_path / "text.mp4", "not a video"), ("63", "no such camera"),
                        ("/dev/video63", "no such camera"), ("rtsp://127.0.0.1:9/x", "no stream there")):
        with pytest.raises(AmRosError, match=f"source {source} cannot be opened: .*{why}"):
            open_source(SourceConfig(str(source), source_timeout_s=1.0))
    for wrong in ({"source": ""}, {"capture_fourcc": "MJPEG"}):
        with pytest.raises(AmRosError, match=f"parameter {next(iter(wrong))}: "):
            SourceConfig(**wrong)


def test_a_password_is_never_told():
    assert public_name("rtsp://user:pa@ss@10.0.0.1/live?x=1") == "rtsp://***@10.0.0.1/live?x=1"
    assert public_name("/data/a@b.mp4") == "/data/a@b.mp4"
    with pytest.raises(AmRosError) as refusal:
        open_source(SourceConfig("rtsp://user:secret@127.0.0.1:9/x", source_timeout_s=0.5))
    assert "secret" not in str(refusal.value)


class MjpegServer:
    """A network camera: motion JPEG over HTTP at 50 Hz, until it is stopped."""

    def __init__(self, port: int = 0):
        stop = self._stop = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                number = 0
                while not stop.wait(0.02):
                    data = encode_jpeg(picture(number % 25))
                    number += 1
                    part = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data)
                    try:
                        self.wfile.write(part + data + b"\r\n")
                    except OSError:
                        return

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()


def test_a_stream_that_dies_is_named_once_and_comes_back():
    server = MjpegServer()
    url = f"http://user:secret@127.0.0.1:{server.port}/stream.mjpg"
    with Gathered(SourceConfig(url, source_timeout_s=2.0)) as run:
        run.wait(10)
        server.close()
        wait_until(lambda: len(run.said) >= 1, what="the failure is named")
        time.sleep(2.0)  # several attempts meanwhile
        assert len(run.said) <= 2, run.said  # that it broke off, and that nobody answers
        before = len(run.frames)
        server = MjpegServer(server.port)
        wait_until(lambda: len(run.frames) > before + 5, 60, "images after the reconnect")
        server.close()
    report = run.capture.statistics.report(time.monotonic())
    assert report.reconnects == 1 and sum("is back after" in text for text in run.said) == 1
    assert "secret" not in " ".join(run.said)


def test_a_stream_is_thinned_out_to_the_rate_asked_for():
    server = MjpegServer()
    with Gathered(SourceConfig(f"http://127.0.0.1:{server.port}/a.mjpg", rate_hz=10.0)) as run:
        frames = run.wait(12)[2:]  # the first ones come from FFmpeg's buffer
    server.close()
    assert (frames[-1].captured_s - frames[0].captured_s) / 9 == pytest.approx(0.1, rel=0.2)


def test_a_server_that_accepts_and_says_nothing_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begin = time.monotonic()
        with pytest.raises(AmRosError, match="no stream there .waited at most 0.5 s"):
            open_source(SourceConfig(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/x", source_timeout_s=0.5))
        assert time.monotonic() - begin < 3


def test_statistics_forget_what_is_long_ago():
    statistics = StreamStatistics()
    assert statistics.report(0.0).age_s is None
    for i in range(101):
        statistics.image(i / 20)
    assert statistics.report(5.0).rate_hz == pytest.approx(20)
    assert statistics.report(30.0).rate_hz == 0 and statistics.report(30.0).age_s == 25
    assert statistics.fail("gone") and not statistics.fail("gone") and statistics.report(30.0).problem == "gone"
    statistics.image(31.0)
    assert statistics.report(31.0).problem == "" and statistics.fail("gone")


def test_latencies_are_those_of_the_last_ones():
    window = LatencyWindow(kept=200)
    assert np.isnan(window.report().p50_ms) and window.report().count == 0
    for ms in (5000.0, *range(1, 201)):
        window.add(float(ms))
    report = window.report()
    assert (report.p50_ms, report.max_ms, report.count) == (100.5, 200.0, 201) and 198 < report.p99_ms < 200
    assert str(report) == "100 ms (p99 198, max 200)"


def test_stamps_are_counted_between_two_times():
    log = StampLog()
    for stamp in (10, 20, 40, 30):
        log.add(stamp)
    assert log.between() == [10, 20, 30, 40] and log.between(20, 30) == [20, 30]
    assert log.between(21) == [30, 40] and log.between(0, 9) == []


def project(calibration, point):
    k = np.array(calibration.k).reshape(3, 3)
    return (k @ point)[:2] / point[2]


def test_calibration_follows_crop_and_resize():
    whole = pinhole(640, 480, 1.0)
    small = whole.cropped_and_resized(64, 64)
    assert (small.width, small.height) == (64, 64)
    centre = np.array([0.0, 0.0, 1.0])
    np.testing.assert_allclose(project(small, centre), (31.5, 31.5))
    # A bright dot where the whole image shows a point must land where the adapted calibration says.
    point = np.array([0.13, -0.21, 1.0])
    column, row = np.rint(project(whole, point)).astype(int)
    image = np.zeros((480, 640, 3), np.uint8)
    image[row - 4:row + 5, column - 4:column + 5] = 255
    weights = crop_resize(image, 64, 64)[..., 0].astype(float)
    rows, columns = np.mgrid[:64, :64]
    found = (columns * weights).sum() / weights.sum(), (rows * weights).sum() / weights.sum()
    np.testing.assert_allclose(project(small, point), found, atol=0.1)
    assert 2 * math.atan(320 / whole.k[0]) == pytest.approx(1.0)


CALIBRATION = """
image_width: 64
image_height: 48
camera_name: test
camera_matrix: {rows: 3, cols: 3, data: [50.0, 0, 31.0, 0, 51.0, 23.0, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0.1, -0.2, 0.001, 0.002, 0]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [49.0, 0, 31.5, 0, 0, 50.0, 23.5, 0, 0, 0, 1, 0]}
"""


def test_a_calibration_file_of_ros_is_read(tmp_path):
    path = tmp_path / "camera.yaml"
    path.write_text(CALIBRATION)
    calibration = load_calibration(f"file://{path}")
    assert calibration == load_calibration(str(path))
    assert (calibration.width, calibration.height, calibration.k[0], calibration.p[5]) == (64, 48, 50.0, 50.0)
    assert calibration.d == (0.1, -0.2, 0.001, 0.002, 0.0)


@pytest.mark.parametrize("old, new, sentence", [
    ("image_width: 64", "image_width: wide", "image_width and image_height must be whole numbers"),
    ("plumb_bob", "fisheye", "distortion_model 'fisheye' is not one of"),
    ("data: [50.0, 0,", "data: [50.0,", "camera_matrix must have 9 finite numbers"),
    ("data: [50.0, 0,", "data: [0.0, 0,", "focal lengths in camera_matrix must be positive"),
    ("49.0", ".nan", "projection_matrix must have 12 finite numbers"),
    ("rectification_matrix", "something", "rectification_matrix must have 9 finite numbers"),
    (CALIBRATION, "just text", "is not a calibration"),
    (CALIBRATION, "a: [", "is not YAML"),
])
def test_a_bad_calibration_file_is_refused_in_one_sentence(tmp_path, old, new, sentence):
    path = tmp_path / "camera.yaml"
    path.write_text(CALIBRATION.replace(old, new))
    with pytest.raises(AmRosError) as refusal:
        load_calibration(str(path))
    assert str(refusal.value).startswith(f"calibration {path}: ") and sentence in str(refusal.value)
    with pytest.raises(AmRosError, match="gone.yaml: cannot be read: No such file"):
        load_calibration(str(tmp_path / "gone.yaml"))


def test_files_in_memory_are_files_and_devices_are_devices():
    assert [is_live(s) for s in ("0", "/dev/video0", "http://camera/stream")] == [True] * 3
    assert [is_live(s) for s in ("/dev/shm/pictures", "pictures", "/data/dev/0.png")] == [False] * 3

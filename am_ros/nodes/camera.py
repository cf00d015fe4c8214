"""Publish what a camera sees, cropped and resized to the policy's size, with calibration and diagnostics."""

import math
import sys
import time
from dataclasses import dataclass

from am_msgs.srv import CountImages
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from am_ros import topics
from am_ros.camera.calibration import Calibration, load_calibration, pinhole
from am_ros.camera.capture import Capture, Frame
from am_ros.camera.sources import SourceConfig, public_name
from am_ros.camera.watchdog import SourceWatch
from am_ros.configuration import parameter
from am_ros.diagnostics import StampLog
from am_ros.errors import AmRosError
from am_ros.images import encode_jpeg, fill_image, larger_view
from am_ros.ros.node.clocks import steady_timer
from am_ros.ros.node.common import SENSOR_QOS, declare, from_ns, run, to_ns
from am_ros.ros.node.diagnostics import ERROR, OK, WARN, Diagnostics


@dataclass(frozen=True)
class CameraConfig:
    """What is published of the source."""

    width: int = parameter(0, "width of the published image [px]; 0: as the source", range=(0, 4096))
    height: int = parameter(0, "height of the published image [px]; 0: as the source", range=(0, 4096))
    frame_id: str = parameter("camera_optical_frame", "frame of the images: z forward, x right, y down")
    jpeg_quality: int = parameter(95, "of image_raw/compressed", range=(1, 100))
    camera_info_url: str = parameter("", "calibration file (path or file:// URL); empty: a pinhole guess")
    horizontal_fov_rad: float = parameter(1.05, "opening angle for the pinhole guess [rad]", range=(0.05, 3.0))
    view_px: int = parameter(
        472, "longest side of image_view, by which goals are checked; 0: none [px]", range=(0, 4096)
    )
    view_rate_hz: float = parameter(5.0, "image_view at most so often [Hz]", range=(0.1, 60.0))
    stale_after_s: float = parameter(1.0, "diagnostics say ERROR after so long without image [s]", range=(0.05, 60.0))
    frozen_after_s: float = parameter(
        5.0, "diagnostics say WARN after so long with the same pixels; a scene may stand still [s]", range=(0.1, 3600.0)
    )


class CameraNode(Node):
    """The capture thread wakes the executor for each image; all publishing happens here."""

    def __init__(self):
        super().__init__("camera")
        self.config, source = declare(self, CameraConfig), declare(self, SourceConfig)
        url = self.config.camera_info_url
        self._calibration = load_calibration(url) if url else None
        self._adapted: dict[tuple[int, int], Calibration] = {}
        self._stamps = StampLog()
        self._images = self.create_publisher(Image, topics.IMAGE, SENSOR_QOS)
        self._compressed = self.create_publisher(CompressedImage, topics.IMAGE_COMPRESSED, SENSOR_QOS)
        self._infos = self.create_publisher(CameraInfo, topics.CAMERA_INFO, SENSOR_QOS)
        self._views = self.create_publisher(CompressedImage, topics.IMAGE_VIEW, SENSOR_QOS)
        self._view_due_s = 0.0
        self._diagnostics = Diagnostics(self)
        self._watch = SourceWatch(self.config.frozen_after_s)
        self.create_service(CountImages, "~/count_images", self._on_count)
        steady_timer(self, 1.0, self._publish_diagnostics)
        self._started_s = time.monotonic()
        self._name = public_name(source.source)
        wake = self.create_guard_condition(self._publish_newest)
        self._capture = Capture(source, self.config.height, self.config.width, wake.trigger, self._report)
        self._capture.start()

    def close(self) -> None:
        """Stop the capture."""
        self._capture.close()

    def _report(self, problem: bool, sentence: str) -> None:
        if problem:  # on two lines: rclpy's logger refuses another severity from the same line
            self.get_logger().error(sentence)
        else:
            self.get_logger().info(sentence)

    def _publish_newest(self) -> None:
        frame = self._capture.newest()
        if frame is None:  # woken twice for one
            return
        age_ns = int((time.monotonic() - frame.captured_s) * 1e9)
        stamp_ns = self.get_clock().now().nanoseconds - age_ns
        image = Image()
        image.header.stamp, image.header.frame_id = from_ns(stamp_ns), self.config.frame_id
        fill_image(image, frame.rgb)
        self._images.publish(image)
        if not self._stamps.count:  # not before: a source may open late, or never
            self.get_logger().info(f"ready: {self._name} to {self.resolve_topic_name(topics.IMAGE)}")
        self._stamps.add(stamp_ns)
        self._watch.image(frame.rgb, (frame.source_height, frame.source_width), frame.captured_s)
        if self._compressed.get_subscription_count():
            # The format text is image_transport's, so that its republisher reads it.
            jpeg = CompressedImage(header=image.header, format="rgb8; jpeg compressed bgr8")
            jpeg.data.frombytes(encode_jpeg(frame.rgb, self.config.jpeg_quality))
            self._compressed.publish(jpeg)
        self._publish_view(frame, image.header)
        info = CameraInfo(header=image.header)
        self._calibration_of(frame).fill(info)
        self._infos.publish(info)

    def _publish_view(self, frame: Frame, header) -> None:
        """What the image shows, larger, less often: two views tell more of a camera that has moved, and so do eyes."""
        if time.monotonic() < self._view_due_s or not self._views.get_subscription_count():
            return
        self._view_due_s = time.monotonic() + 1 / self.config.view_rate_hz
        view = larger_view(frame.whole, frame.rgb.shape[0], frame.rgb.shape[1], self.config.view_px)
        if view is not None:
            message = CompressedImage(header=header, format="rgb8; jpeg compressed bgr8")
            message.data.frombytes(encode_jpeg(view, self.config.jpeg_quality))
            self._views.publish(message)

    def _calibration_of(self, frame: Frame) -> Calibration:
        size = frame.source_width, frame.source_height
        if size not in self._adapted:
            whole = self._calibration or pinhole(*size, self.config.horizontal_fov_rad)
            if (whole.width, whole.height) != size:
                raise AmRosError(
                    f"calibration {self.config.camera_info_url}: is for {whole.width}x{whole.height} px, but "
                    f"{self._name} gives {size[0]}x{size[1]}"
                )
            self._adapted[size] = whole.cropped_and_resized(*frame.rgb.shape[:2])
        return self._adapted[size]

    def _publish_diagnostics(self) -> None:
        now_s = time.monotonic()
        report = self._capture.statistics.report(now_s)
        age_s = now_s - self._started_s if report.age_s is None else report.age_s
        fault = self._watch.fault(now_s)
        level, message = OK, f"{report.rate_hz:.1f} images per second"
        if age_s > self.config.stale_after_s:
            level, message = ERROR, f"no image for {age_s:.1f} s"
            if self._capture.ended:
                message += ": the source has ended"
            elif report.problem:
                message += f": {report.problem}"
        elif fault:
            level = WARN if fault.name == "image_frozen" else ERROR
            message = fault.on(self.resolve_topic_name(topics.IMAGE))
        age = math.nan if report.age_s is None else report.age_s
        values = {
            "rate_hz": f"{report.rate_hz:.2f}",
            "age_s": f"{age:.3f}",
            "same_pixels_s": f"{self._watch.same_s(now_s):.1f}",
            "images": report.images,
            "drops": report.drops,
            "reconnects": report.reconnects,
        }
        self._diagnostics.publish("images", level, message, values, self._name)

    def _on_count(self, request, response):
        stamps = self._stamps.between(to_ns(request.first), to_ns(request.last))
        response.count = len(stamps)
        if stamps:
            response.first, response.last = from_ns(stamps[0]), from_ns(stamps[-1])
        return response


def main(args=None) -> int:
    """Entry point of the console script `camera`."""
    return run(CameraNode, "camera", args)


if __name__ == "__main__":
    sys.exit(main())

"""How much of a core the camera node takes, and whether an image is lost on the way to another process.

    python benchmarks/camera.py --size 472 --rate 30 --seconds 10

It plays 640x480 JPEG files from a folder, cropped and resized, with JPEG compression of what it publishes.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from am_ros.environment import enter_ros_environment

enter_ros_environment()  # before rclpy is imported

from am_msgs.srv import CountImages  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image  # noqa: E402

from am_ros.graph import NodeSpec  # noqa: E402
from am_ros.images import encode_jpeg  # noqa: E402
from am_ros.nodes.client import RosClient  # noqa: E402
from am_ros.nodes.common import to_ns  # noqa: E402
from am_ros.processes import NodeProcess  # noqa: E402


def cpu_s(pid: int) -> float:
    """Processor time of a process so far [s]."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=472, help="height and width of the published image [px]")
    parser.add_argument("--rate", type=float, default=30.0, help="images per second [Hz]")
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, RosClient("camera_benchmark") as client:
        random = np.random.default_rng(0)
        for i in range(30):
            blobs = random.integers(0, 256, (60, 80, 3)).astype(np.uint8)
            Path(folder, f"{i:02d}.jpg").write_bytes(encode_jpeg(cv2.resize(blobs, (640, 480))))
        images = client.receive(Image, "image_raw")
        compressed = client.receive(CompressedImage, "image_raw/compressed")
        parameters = {"source": folder, "rate_hz": arguments.rate, "width": arguments.size, "height": arguments.size}
        camera = NodeProcess(NodeSpec("camera", parameters=parameters))
        try:
            images.wait(5), compressed.wait(5)
            begin_s, begin_cpu_s, begin = time.monotonic(), cpu_s(camera.pid), len(images)
            time.sleep(arguments.seconds)
            share = (cpu_s(camera.pid) - begin_cpu_s) / (time.monotonic() - begin_s)
            window = images[begin].header.stamp, images[-1].header.stamp
            published = client.call(CountImages, "camera/count_images", first=window[0], last=window[1]).count
        finally:
            camera.stop()

        def received(messages) -> int:
            return sum(to_ns(window[0]) <= to_ns(m.header.stamp) <= to_ns(window[1]) for m in messages)

        print(
            f"{arguments.size}x{arguments.size} at {arguments.rate:g} Hz: published {published}, "
            f"received {received(images)} raw and {received(compressed)} compressed; {share:.0%} of a core"
        )


if __name__ == "__main__":
    main()

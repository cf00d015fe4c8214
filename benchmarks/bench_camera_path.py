"""Is an image lost on the way from the camera to the policy, how old is it when it arrives, and what does that cost?

    python benchmarks/bench_camera_path.py --size 472 --rate 30 --seconds 60

The camera node plays 640x480 JPEG files from a folder, cropped and resized, with JPEG compression of what it
publishes. The policy server is the real one, without a checkpoint: it counts what it receives. A process beside them,
with the same quality of service, notes when images come.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from am_ros.cell.environment import enter_ros_environment

enter_ros_environment()  # before rclpy is imported

from am_msgs.srv import CountImages  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image  # noqa: E402

from am_ros.cell.graph import NodeSpec  # noqa: E402
from am_ros.cell.processes import NodeProcess, stop_all  # noqa: E402
from am_ros.diagnostics import LatencyWindow  # noqa: E402
from am_ros.images import encode_jpeg  # noqa: E402
from am_ros.ros.introspection.client import RosClient  # noqa: E402
from am_ros.ros.node.common import SENSOR_QOS, from_ns, to_ns  # noqa: E402


def cpu_s(pid: int) -> float:
    """Processor time of a process so far [s]."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def write_images(folder: str) -> None:
    """Thirty pictures of 640x480."""
    random = np.random.default_rng(0)
    for i in range(30):
        blobs = random.integers(0, 256, (60, 80, 3)).astype(np.uint8)
        Path(folder, f"{i:02d}.jpg").write_bytes(encode_jpeg(cv2.resize(blobs, (640, 480))))


def measure(client: RosClient, camera: NodeProcess, policy: NodeProcess, seconds: float) -> str:
    """One sentence about so many seconds."""
    arrivals: list[tuple[int, int]] = []  # stamp and arrival of each image [ns]
    client.node.create_subscription(
        Image, "image_raw", lambda m: arrivals.append((to_ns(m.header.stamp), time.time_ns())), SENSOR_QOS
    )
    compressed = client.receive(CompressedImage, "image_raw/compressed")
    reports = client.receive(DiagnosticArray, "/diagnostics", 10)
    compressed.wait(5, 30.0)
    while client.call(CountImages, "policy_server/count_images", timeout_s=60.0).count < 5:
        time.sleep(0.1)
    begin_s, begin, busy_s = time.monotonic(), len(arrivals), [cpu_s(camera.pid), cpu_s(policy.pid)]
    time.sleep(seconds)
    busy_s = [cpu_s(node.pid) - before for node, before in zip((camera, policy), busy_s, strict=True)]
    shares = [busy / (time.monotonic() - begin_s) for busy in busy_s]
    window = arrivals[begin:]
    time.sleep(0.5)  # until the last of them is everywhere
    latency = LatencyWindow(kept=len(window))
    for stamp_ns, arrived_ns in window:
        latency.add((arrived_ns - stamp_ns) / 1e6)
    span = {"first": from_ns(window[0][0]), "last": from_ns(window[-1][0])}
    published, acted_on = (
        client.call(CountImages, f"{node}/count_images", **span).count for node in ("camera", "policy_server")
    )
    jpegs = sum(window[0][0] <= to_ns(m.header.stamp) <= window[-1][0] for m in compressed)
    ours = [report.status[0] for report in reports if report.status[0].name == "/camera: images"]
    dropped = next(value.value for value in ours[-1].values if value.key == "drops")
    return (
        f"published {published} in {seconds:g} s ({dropped} were replaced by a newer one before), received {acted_on} "
        f"by the policy server, {len(window)} raw and {jpegs} compressed beside it; from capture to arrival "
        f"{latency.report()}; {shares[0]:.0%} of a core for the camera, {shares[1]:.0%} for the policy server"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=472, help="height and width of the published image [px]")
    parser.add_argument("--rate", type=float, default=30.0, help="images per second [Hz]")
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, RosClient("camera_benchmark") as client:
        write_images(folder)
        parameters = {"source": folder, "rate_hz": arguments.rate, "width": arguments.size, "height": arguments.size}
        camera = NodeProcess(NodeSpec("camera", parameters=parameters))
        policy = NodeProcess(NodeSpec("policy_server"))
        try:
            sentence = measure(client, camera, policy, arguments.seconds)
        finally:
            stop_all([camera, policy])
    print(f"{arguments.size}x{arguments.size} at {arguments.rate:g} Hz: {sentence}")


if __name__ == "__main__":
    main()

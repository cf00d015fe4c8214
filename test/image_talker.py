"""A process that publishes images of 472x472 as a camera does: `python image_talker.py COUNT RATE_HZ [now]`.

Their stamps are 0, 1, 2 ... ns; with `now` the time when they are published, to see how long they take.
"""

import array
import sys
import time

from sensor_msgs.msg import Image

from am_ros.ros.introspection.client import RosClient
from am_ros.ros.node.common import SENSOR_QOS, from_ns

SIDE = 472


def main(count: int, rate_hz: float, now: bool) -> None:
    with RosClient("image_talker") as client:
        publisher = client.publisher(Image, "image_raw", SENSOR_QOS)
        message = Image(height=SIDE, width=SIDE, encoding="rgb8", step=3 * SIDE)
        begin = time.monotonic()
        for i in range(count):
            time.sleep(max(0.0, begin + i / rate_hz - time.monotonic()))
            message.data = array.array("B", bytes([i % 256]) * (3 * SIDE * SIDE))
            message.header.stamp = from_ns(time.time_ns() if now else i)
            publisher.publish(message)
        time.sleep(0.5)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), "now" in sys.argv)

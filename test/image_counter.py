"""A process that counts images and how long they took: `python image_counter.py SECONDS_OF_SILENCE`, a line of JSON."""

import json
import sys
import time

from sensor_msgs.msg import Image

from am_ros.ros.introspection.client import RosClient
from am_ros.ros.node.common import IMAGES_QOS, to_ns


def main(silence_s: float) -> None:
    took_ms, last_s = [], time.monotonic()

    def note(message):
        nonlocal last_s
        took_ms.append((time.time_ns() - to_ns(message.header.stamp)) / 1e6)
        last_s = time.monotonic()

    with RosClient("image_counter") as client:
        client.node.create_subscription(Image, "image_raw", note, IMAGES_QOS)
        while not took_ms or time.monotonic() - last_s < silence_s:
            time.sleep(0.05)
    took_ms.sort()
    print(json.dumps({"count": len(took_ms), "p50_ms": took_ms[len(took_ms) // 2], "max_ms": took_ms[-1]}))


if __name__ == "__main__":
    main(float(sys.argv[1]))

"""A camera that can be broken on purpose: passes images on from `image_in` to `image_raw`, as its parameters say.

With `joints:=true` it passes on joint states, too, from `joint_states_in` to `joint_states`.

    python -m am_ros.nodes.image_relay --ros-args -p mode:=pass

Start the camera or the simulated cell with {"image_raw": "image_in"}; `set_relay(client, mode="frozen")` changes it at
run time, and so does `ros2 param set`.
"""

import random
import sys
from array import array
from dataclasses import dataclass

from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image, JointState

from am_ros.configuration import parameter
from am_ros.errors import AmRosError
from am_ros.ros.node.common import SENSOR_QOS, declare, from_ns, run, to_ns

HOUR_NS = 3600 * 1_000_000_000
IMAGE_IN = {"image_raw": "image_in"}  # the remapping of whoever publishes the images
JOINTS_IN = "joint_states_in"


MODES = ("pass", "frozen", "stuck", "black", "wrong_size", "nothing", "stamp_back", "stamp_ahead")


@dataclass(frozen=True)
class RelayConfig:
    """What is wrong with the camera; the first two may be changed while it runs."""

    mode: str = parameter("pass", "what becomes of the images", choices=MODES)
    drop_share: float = parameter(0.0, "share of the messages that is dropped", range=(0.0, 1.0))
    joints: bool = parameter(False, "pass on joint states too")


class ImageRelay(Node):
    """Each `mode` is a method below, without its underscore."""

    def __init__(self):
        super().__init__("image_relay")
        config = declare(self, RelayConfig, changeable=("mode", "drop_share"))
        self._last: Image | None = None  # what was passed on last
        self._random = random.Random(0)
        self._out = self.create_publisher(Image, "image_raw", SENSOR_QOS)
        self.create_subscription(Image, "image_in", self._on_image, SENSOR_QOS)
        if config.joints:
            self._joints = self.create_publisher(JointState, "joint_states", SENSOR_QOS)
            self.create_subscription(JointState, "joint_states_in", self._on_joints, SENSOR_QOS)
        self.get_logger().info("relay is running")

    def _drops(self) -> bool:
        return self._random.random() < self.get_parameter("drop_share").value

    def _on_joints(self, joints: JointState) -> None:
        if not self._drops():
            self._joints.publish(joints)

    def _on_image(self, image: Image) -> None:
        if self._drops():
            return
        image = getattr(self, "_" + self.get_parameter("mode").value)(image)
        if image is not None:
            self._out.publish(image)

    def _pass(self, image):
        self._last = image
        return image

    def _frozen(self, image):
        """The pixels of the last good image under new stamps: a driver that hands out one buffer for ever."""
        self._last = self._last or image
        image.data = self._last.data
        return image

    def _stuck(self, image):
        """The last good image again and again, stamp and all: a bridge that repeats itself."""
        self._last = self._last or image
        return self._last

    def _black(self, image):
        image.data = array("B", bytes(len(image.data)))
        return image

    def _wrong_size(self, image):
        """The upper half."""
        image.height //= 2
        image.data = image.data[: image.height * image.step]
        return image

    def _nothing(self, _image):
        return None

    def _stamp_back(self, image):
        return _shifted(image, -HOUR_NS)

    def _stamp_ahead(self, image):
        return _shifted(image, HOUR_NS)


def _shifted(image: Image, by_ns: int) -> Image:
    image.header.stamp = from_ns(to_ns(image.header.stamp) + by_ns)
    return image


def set_relay(client, **parameters) -> None:
    """Change parameters of a running relay: `mode`, `drop_share`; `client` is a RosClient."""
    messages = [Parameter(name, value=value).to_parameter_msg() for name, value in parameters.items()]
    answer = client.call(SetParameters, "image_relay/set_parameters", parameters=messages)
    if not all(result.successful for result in answer.results):
        raise AmRosError(f"image_relay: {answer.results}")


def main(args=None) -> int:
    """Entry point of the executable."""
    return run(ImageRelay, "image_relay", args)


if __name__ == "__main__":
    sys.exit(main())

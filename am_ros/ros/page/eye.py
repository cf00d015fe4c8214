"""Where the camera stands and what it sees of the cell: from robot_description and camera_info, where they tell it."""

import numpy as np
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import String

from am_ros import topics
from am_ros.control.frames import fixed_pose
from am_ros.errors import AmRosError
from am_ros.page.projection import Projection
from am_ros.ros.node.common import LATCHED_QOS, SENSOR_QOS

MAX_URDF = 5_000_000  # characters


class Eye:
    """Listens while it is wanted and something is not known yet; `adapt` belongs into the executor."""

    def __init__(self, node, base_frame: str):
        self._node, self._base = node, base_frame
        self._urdf, self._info = "", None
        self._subscriptions: list = []
        self.projection: Projection | None = None  # None: the camera's pose or matrix is not known

    def adapt(self, wanted: bool) -> None:
        """A camera may be set up anew between two goals: each time that it is wanted, it is asked for again."""
        if wanted and not self._subscriptions and self._info is None:
            node = self._node
            self._subscriptions = [
                node.create_subscription(String, "robot_description", self._on_description, LATCHED_QOS),
                node.create_subscription(CameraInfo, topics.CAMERA_INFO, self._on_info, SENSOR_QOS),
            ]
        elif self._subscriptions and (not wanted or self.projection is not None):
            for subscription in self._subscriptions:
                self._node.destroy_subscription(subscription)
            self._subscriptions = []
        if not wanted:
            self._info = None

    def _on_description(self, message: String) -> None:
        if len(message.data) <= MAX_URDF:
            self._urdf = message.data
            self._look()

    def _on_info(self, message: CameraInfo) -> None:
        news = self._info is None or self._info.k.tolist() != message.k.tolist()
        self._info = message
        if news:
            self._look()

    def _look(self) -> None:
        info = self._info
        if info is None or not self._urdf:
            return
        k = np.reshape(info.k, (3, 3))
        try:
            # A lens that bends straight lines is drawn as if it did not: within a few pixels at the rim.
            pose = fixed_pose(self._urdf, info.header.frame_id, self._base)
        except AmRosError:
            pose = None
        told = pose is not None and info.width and info.height and np.isfinite(k).all() and k[0, 0] > 0
        self.projection = Projection(k, pose, info.width, info.height) if told else None

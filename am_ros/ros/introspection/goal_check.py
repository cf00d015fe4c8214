"""Is the camera where it was for a goal? The service ~/check of the goal registry, and what it needs to hear."""

import math
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from am_msgs.srv import CheckGoal
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.task import Future
from sensor_msgs.msg import CameraInfo, CompressedImage

from am_ros import topics
from am_ros.consistency import Consistency, ConsistencyConfig, check_view
from am_ros.consistency.picture import draw
from am_ros.errors import AmRosError
from am_ros.goals import Goal, GoalLibrary
from am_ros.images import array_from_image, decode, fill_image
from am_ros.ros.node.common import SENSOR_QOS, declare


class GoalCheck:
    """Compares in a thread of its own, while the node's executor goes on answering.

    `await current_image()` gives today's image, of which `pixels` makes uint8 [H, W, 3]; both may raise AmRosError.
    Where the camera publishes a larger view (topic image_view), goals keep one, and these are compared instead: more
    can be seen on them.
    """

    def __init__(self, node, library: GoalLibrary, current_image, pixels, max_age_s: float):
        self.config = declare(node, ConsistencyConfig)
        self._node, self._library, self._max_age_s = node, library, max_age_s
        self._current_image, self._pixels = current_image, pixels
        self._info: CameraInfo | None = None
        self._view: tuple[CompressedImage, float] | None = None
        self._thread = ThreadPoolExecutor(1, "goal check")
        node.create_subscription(CameraInfo, topics.CAMERA_INFO, self._on_info, SENSOR_QOS)
        node.create_subscription(CompressedImage, topics.IMAGE_VIEW, self._on_view, SENSOR_QOS)
        node.create_service(CheckGoal, "~/check", self._on_check, callback_group=MutuallyExclusiveCallbackGroup())

    def close(self) -> None:
        """Wait for the comparison under way."""
        self._thread.shutdown(cancel_futures=True)

    def focal_px(self, width: int) -> float | None:
        """Focal length in pixels of an image of that width; None while no camera_info has come."""
        info = self._info
        if info is None or not info.width or not math.isfinite(info.k[0]) or info.k[0] <= 0:
            return None
        return float(info.k[0]) * width / info.width

    def view(self) -> np.ndarray | None:
        """The larger view of now; None where the camera gives none, or has stopped to."""
        if self._view is None or time.monotonic() - self._view[1] > self._max_age_s:
            return None
        return decode(bytes(self._view[0].data), f"topic {topics.IMAGE_VIEW}")

    def _on_info(self, info: CameraInfo) -> None:
        self._info = info

    def _on_view(self, view: CompressedImage) -> None:
        self._view = view, time.monotonic()

    async def _on_check(self, request, response: CheckGoal.Response) -> CheckGoal.Response:
        try:
            goal, now, small = await self._pictures(request)
            focal = self._focal_of(goal, small)
            done = Future()
            comparing = self._thread.submit(_compare, goal[1], now, focal, self.config)
            comparing.add_done_callback(lambda _: done.set_result(None))
            await done
            found, picture = comparing.result()
            _fill(response, found, small.shape[1] / goal[1].shape[1])
            fill_image(response.overlay, picture)
            log = self._node.get_logger()
            name = goal[0].goal_id if goal[0] else "given"
            if found.finding:  # on two lines: rclpy allows one severity per line
                log.warning(f"goal {name}: {found.sentence}")
            else:
                log.info(f"goal {name}: {found.sentence}")
        except AmRosError as error:
            response.message = str(error)
        return response

    async def _pictures(self, request):
        """(the goal or None, its picture to be compared), today's picture, and the goal image itself."""
        if not request.goal_id:
            small = array_from_image(request.goal_image, "goal image")
            return (None, small), self._pixels(await self._current_image()), small
        goal, small = self._library.get(request.goal_id)
        then, now = self._library.view(goal), self.view()
        if then is None or now is None:
            return (goal, small), self._pixels(await self._current_image()), small
        return (goal, then), now, small

    def _focal_of(self, goal: tuple[Goal | None, np.ndarray], small: np.ndarray) -> float | None:
        """Of the picture that is compared: as the goal says, else of the camera now."""
        width = goal[1].shape[1]
        if goal[0] is not None and goal[0].focal_px:
            return goal[0].focal_px * width / small.shape[1]
        return self.focal_px(width)


def _compare(goal, now, focal, config) -> tuple[Consistency, np.ndarray]:
    found = check_view(goal, now, focal, config)
    return found, draw(goal, now, found)


def _fill(response: CheckGoal.Response, found: Consistency, to_goal_px: float) -> None:
    response.success, response.message, response.finding = True, found.sentence, int(found.finding)
    response.shift_px = found.shift_px * to_goal_px
    response.shift_deg, response.right_deg, response.down_deg = found.shift_deg, found.right_deg, found.down_deg
    response.clockwise_deg, response.scale = found.clockwise_deg, found.scale
    response.matched, response.compared_px = found.registration.matched, found.compared_px
    response.inliers = int(found.registration.agrees.sum())
    response.patches = int(found.registration.compared.sum())

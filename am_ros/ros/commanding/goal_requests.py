"""The goal that an action asks for: its image, and whether the camera still stands where it stood for it."""

import numpy as np
from am_msgs.srv import CheckGoal, GetGoal

from am_ros import images
from am_ros.episode import check_name
from am_ros.errors import AmRosError
from am_ros.ros.node.service import RemoteService

GET, CHECK = "goal_registry/get", "goal_registry/check"
# In a cell that is up its services are found within 0.3 s; who waits longer than this waits for nothing.
READY_S = 2.0
ANSWER_S = 5.0  # a comparison takes 0.1 s, and several on a busy machine


class GoalRequests:
    """Asks the registry. Blocks, and so belongs into a thread that is not the executor's."""

    def __init__(self, node):
        self._get = RemoteService(node, GetGoal, GET)
        self._check = RemoteService(node, CheckGoal, CHECK)

    def image(self, request) -> np.ndarray:
        """The goal image of a ReachGoal request, uint8 [H, W, 3]; raises AmRosError if there is none."""
        if not request.goal_id:
            return images.array_from_image(request.goal_image)
        check_name(request.goal_id, "goal id")
        answer = self._get.call(GetGoal.Request(goal_id=request.goal_id), ANSWER_S, READY_S)
        if not answer.success:
            raise AmRosError(answer.message)
        return images.array_from_image(answer.image)

    def warnings(self, request, check: str) -> list[str]:
        """What today's view says of the goal, a sentence each; `check` is the parameter goal_check.

        With "refuse" AmRosError is raised instead if the camera has moved or the scene differs, or if no comparison is
        made; what cannot be told from the pictures refuses no goal.
        """
        if check == "off":
            return []
        asked = CheckGoal.Request(goal_id=request.goal_id)
        if not request.goal_id:
            asked.goal_image = request.goal_image
        try:
            answer = self._check.call(asked, ANSWER_S, READY_S)
            if not answer.success:
                raise AmRosError(answer.message)
        except AmRosError as error:
            sentence = f"goal_not_checked: {error}"
            if check == "refuse":
                raise AmRosError(sentence) from None
            return [sentence]
        if answer.finding == CheckGoal.Response.CONSISTENT:
            return []
        if answer.finding == CheckGoal.Response.UNDECIDED:
            return [f"goal_not_checked: {answer.message}"]
        sentence = f"goal_inconsistent: {answer.message}"
        if check == "refuse":
            raise AmRosError(sentence)
        return [sentence]

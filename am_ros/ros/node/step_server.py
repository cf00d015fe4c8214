"""The action of the Cartesian controller: one step at a time, and a reason for whoever asks in between."""

import time
from collections.abc import Awaitable, Callable

from am_msgs.action import MoveCartesian
from rclpy.action import ActionServer, CancelResponse, GoalResponse

from am_ros.control.command import OPERATOR, Lease, commander_name
from am_ros.errors import AmRosError
from am_ros.ros.node.common import RESULT_KEPT_S
from am_ros.ros.node.goal_clients import GoalClients


class StepServer:
    """Serves ~/move_cartesian: `execute` is a coroutine from goal to result, `refused` makes a refusal's result."""

    def __init__(
        self,
        node,
        lease: Lease,
        execute: Callable[[object], Awaitable[MoveCartesian.Result]],
        refused: Callable[[str], MoveCartesian.Result],
    ):
        self._log, self._lease, self._execute, self._refused = node.get_logger(), lease, execute, refused
        self._clients = GoalClients(node, "~/move_cartesian")
        self._busy = ""  # whose goal it is, from its acceptance to its result
        self._server = ActionServer(
            node,
            MoveCartesian,
            "~/move_cartesian",
            self._run,
            goal_callback=self._on_goal,
            handle_accepted_callback=self._on_accepted,
            cancel_callback=lambda _goal: CancelResponse.ACCEPT,
            result_timeout=RESULT_KEPT_S,
        )

    def fault(self) -> str:
        """ "client_gone: ..." if nobody wants the step under way any more, or empty; to be asked often."""
        return self._clients.fault()

    def _on_goal(self, request) -> GoalResponse:
        if self._busy == (request.commander or OPERATOR):
            self._log.warning("move_cartesian rejected: busy with another motion")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _on_accepted(self, goal) -> None:
        if self._busy:
            goal.execute(self._refuse_intruder)
        else:
            self._busy = goal.request.commander or OPERATOR
            self._clients.begin(goal)
            goal.execute()

    async def _run(self, goal) -> MoveCartesian.Result:
        """A coroutine: while it waits for the motion's end, the executor serves everything else."""
        try:
            return await self._execute(goal)
        finally:
            self._busy = ""
            self._clients.end()

    def _refuse_intruder(self, goal) -> MoveCartesian.Result:
        """Another commander asks in mid-motion; the motion goes on."""
        reason = "busy: another step was accepted just now"
        try:
            self._lease.check(commander_name(goal.request.commander), time.monotonic())
        except AmRosError as error:
            reason = str(error)
        self._log.warning(f"move_cartesian: {reason}")
        goal.abort()
        return self._refused(reason)

"""Episodes that an operator plays step by step, with any pauses: each step is recorded as what the arm then did."""

import math
import time
from contextlib import ExitStack

from am_msgs.action import MoveCartesian
from am_msgs.msg import EpisodeEvent

from am_ros.action import ActionSpace, CartesianAction
from am_ros.episode import check_name, yaw_of_quaternion
from am_ros.errors import AmRosError
from am_ros.ros.commanding.commander import POLL_S
from am_ros.ros.commanding.episode_runner import EpisodeRunner
from am_ros.ros.messages.acting import ActingConfig, Choice, Label, Seen
from am_ros.ros.node.common import to_ns

REFUSED = MoveCartesian.Result.REFUSED
CONTROLLER_WAIT_S = 2.0  # to find it, when both have just been started


class ManualEpisodes(EpisodeRunner):
    """`step` moves the arm, with or without an episode; all methods block, in a thread that is not the executor's."""

    def __init__(self, node, config: ActingConfig):
        super().__init__(node, config)
        self.label: Label | None = None  # of the episode that is played now
        self.steps = 0
        self._last: Seen | None = None  # what was seen after the last motion
        self._until_end = ExitStack()

    def begin(self, label: Label, halted) -> None:
        """Publish START. Raises AmRosError if there is no controller, image, pose or joint state.

        Who begins an episode as soon as the node is there has not found the controller yet: that is waited for, unless
        `halted` is set.
        """
        check_name(label.episode_id, "episode id")
        self._wait_for_controller(halted)
        self._until_end.enter_context(self._watching(None))
        try:
            self._last = self._observe(self._now())
        except AmRosError:
            self._until_end.close()
            raise
        self._begin(label, self._last)
        self.label, self.steps = label, 0

    def step(self, action: CartesianAction, halted) -> MoveCartesian.Result:
        """Execute one step, braked as soon as `halted` is set; in an episode, publish what the arm did as a Step.

        Raises AmRosError with the fault if the controller is gone, or if images may not be acted on in an episode.
        """
        self._wait_for_controller(halted)
        with self._commander.commanding(halted):
            if self.label is None:
                now = self.node.get_clock().now().to_msg()
                return self._commander.step(action, now, lambda: self._commander.fault(time.monotonic()), halted)
            seen = self._observe(self._now())
            result = self._move(seen, self._inside(seen, action), halted)
            if result.end != REFUSED:
                after = self._observe(max(to_ns(result.stamp), to_ns(seen.message.image_stamp)))
                self._record(seen, _measured(seen, result.ee_pose, action), after)
            return result

    def terminate(self) -> None:
        """The last step of an episode: the decision that nothing is left to be done."""
        seen = self._observe(self._now())
        self._record(seen, CartesianAction(terminate=True), seen)

    def end(self, reason: str) -> bool:
        """Publish END; an episode without a step is withdrawn instead. Returns whether it has steps."""
        kind = EpisodeEvent.END if self.steps else EpisodeEvent.DISCARD
        self._conclude(kind, reason)
        return kind == EpisodeEvent.END

    def close(self, reason: str) -> None:
        """As `end`, if an episode is played."""
        self.end(reason)

    def discard(self) -> None:
        """Withdraw the episode that is played now."""
        self._conclude(EpisodeEvent.DISCARD, "discarded")

    def withdraw(self, label: Label) -> None:
        """Say of an episode that has ended that it is void."""
        self._publish_event(label, EpisodeEvent.DISCARD, self._last, reason="discarded")

    def _wait_for_controller(self, halted) -> None:
        """An operator who may quit at any time waits for no long timeout."""
        deadline_s = time.monotonic() + CONTROLLER_WAIT_S
        while fault := self._commander.fault(time.monotonic()):
            if halted.is_set() or time.monotonic() > deadline_s:
                raise AmRosError(fault)
            time.sleep(POLL_S)

    def _conclude(self, kind: int, reason: str) -> None:
        self._finish(kind, reason, seen=self._last)
        self.label = None
        self._until_end.close()

    def _record(self, seen: Seen, action: CartesianAction, after: Seen) -> None:
        assert self.label is not None  # between begin and end
        self._publish_step(self.label, self.steps, seen, action, Choice(action))
        self.steps, self._last = self.steps + 1, after


def _measured(seen: Seen, pose, asked: CartesianAction) -> CartesianAction:
    """What the arm did between two poses: less than was asked for, where it was braked or pushed against something."""
    limits = ActionSpace()
    p, q, before = pose.position, pose.orientation, seen.message.ee_pose.orientation
    way = [now - then for now, then in zip((p.x, p.y, p.z), seen.position_m, strict=True)]
    turn = yaw_of_quaternion(q.x, q.y, q.z, q.w) - yaw_of_quaternion(before.x, before.y, before.z, before.w)
    turn = (turn + math.pi) % math.tau - math.pi
    bounded = [
        min(max(x, -limit), limit)
        for x, limit in zip([*way, turn], [*limits.max_translation_m, limits.max_rotation_rad], strict=True)
    ]
    return CartesianAction(tuple(bounded[:3]), bounded[3], asked.gripper)

"""What the policy is doing, from what it publishes, whoever asked it to; and goals sent from the page."""

import math
import threading
import time
from collections import OrderedDict
from dataclasses import replace

from action_msgs.msg import GoalStatus
from am_msgs.action import ReachGoal
from am_msgs.msg import EpisodeEvent, Step
from rclpy.qos import HistoryPolicy, QoSProfile
from sensor_msgs.msg import CompressedImage
from visualization_msgs.msg import MarkerArray

from am_ros import topics
from am_ros.errors import AmRosError
from am_ros.page.source import Candidate, PursuitState, PursuitStep
from am_ros.page.words import plural
from am_ros.ros.messages.candidates import TOPIC as CANDIDATES
from am_ros.ros.messages.candidates import read_candidates
from am_ros.ros.node.clocks import steady_timer
from am_ros.ros.node.common import RELIABLE_QOS, SENSOR_QOS, to_ns
from am_ros.ros.page.asking import REACH, STOPPED, Asking
from am_ros.ros.page.eye import Eye
from am_ros.ros.page.listening import CellListener

KEPT_PICTURES = 200
RECENT = 40  # newest pictures of the camera, among which a step finds its own
LOST_S = 4.0  # a policy server reports once a second
GRIPPERS = {1: "opens", 2: "closes"}
HOW = {
    ReachGoal.Result.TERMINATED: "the policy says that the goal is reached",
    ReachGoal.Result.STEP_LIMIT: "all steps made",
    ReachGoal.Result.CANCELLED: "cancelled, the arm was stopped",
}
REASONS = {"terminated": HOW[0], "step_limit": HOW[1], "cancelled": HOW[2]}


class PursuitWatch:
    """Hears steps and episode events always, they are few; pictures and candidates while a goal is pursued."""

    def __init__(self, node, asking: Asking, listener: CellListener, base_frame: str = "base_link"):
        self._node, self._asking, self._listener = node, asking, listener
        self._lock = threading.Lock()
        self._state = PursuitState()
        self._sent: PursuitState | None = None  # the one that was asked for here: its result says how it ended
        self._sending, self._withdrawn = False, False  # not accepted yet; and stopped before it was
        self.episode = ""  # that anybody plays now
        self._recent: OrderedDict[int, bytes] = OrderedDict()
        self._pictures: OrderedDict[int, bytes] = OrderedDict()
        self._missing: dict[int, int] = {}  # stamp of a picture that comes later than its step -> number
        self._number = 0
        self._candidates: list[Candidate] = []
        self._subscriptions: list = []
        self.eye = Eye(node, base_frame)
        node.create_subscription(Step, topics.STEP, self._on_step, RELIABLE_QOS)
        node.create_subscription(EpisodeEvent, topics.EPISODE_EVENT, self._on_event, RELIABLE_QOS)
        steady_timer(node, 0.25, self._adapt)

    # -- for the page

    def state(self) -> PursuitState:
        """As it is now; a policy server that has died is noticed here."""
        with self._lock:
            state = self._state
            silent_s = self._listener.heard_s("policy_server")
            if state.running and time.monotonic() - state.began_s > LOST_S and LOST_S < silent_s < math.inf:
                state.running, state.fault, self.episode = False, True, ""
                self._asking.forget_goals()
                state.ended = f"policy_server has said nothing for {silent_s:.0f} s; when it is back, pursue it again"
            # A pursuit that began before anybody looked on has steps whose pictures nobody kept.
            steps = [s if s.number in self._pictures else replace(s, number=0) for s in state.steps]
            return replace(state, steps=steps, warnings=list(state.warnings))

    def candidates(self) -> list[Candidate]:
        """Of the last decision."""
        return self._candidates

    def picture(self, number: int) -> bytes:
        """What the policy saw at a step; raises AmRosError if it is not kept."""
        with self._lock:
            if number not in self._pictures:
                raise AmRosError(f"picture {number}: is not kept")
            return self._pictures[number]

    def pursue(self, goal_id: str, max_steps: int) -> str:
        """Send the goal; raises AmRosError if it is not accepted."""
        self._listener.watched = True
        with self._lock:
            before = self._state
            if before.running:
                raise AmRosError(f"the goal {before.goal_id} is being pursued: cancel it first")
            self._state = self._sent = mine = PursuitState(goal_id, True, time.monotonic())
            self._sending, self._withdrawn = True, False

        def end(status: int, result) -> None:
            self._on_result(mine, status, result)

        try:
            goal = ReachGoal.Goal(goal_id=goal_id, max_steps=max_steps, seed=-1)
            self._asking.send_goal(ReachGoal, REACH, goal, end, self._on_feedback)
        except BaseException:  # whatever it is, nothing is pursued then
            with self._lock:
                self._sending = False
                if self._state is mine:
                    self._state, self._sent = before, None
            raise
        with self._lock:
            self._sending = False
        if self._withdrawn:
            return self._asking.cancel_all()
        return f"{goal_id} is pursued"

    def withdraw(self) -> None:
        """Whatever is being sent to the policy server just now is cancelled as soon as it is accepted."""
        with self._lock:
            self._withdrawn = self._sending

    def cancel(self) -> str:
        """Cancel whatever goal the policy pursues; one that it knows nothing of any more is given up."""
        before = self._state
        self.withdraw()
        said = self._asking.cancel_all()
        with self._lock:
            if self._withdrawn:
                return f"{before.goal_id} is cancelled as soon as the policy server has taken it"
            if before.running and self._state is before and STOPPED[REACH] not in said:
                before.running, before.fault = False, True
                self._asking.forget_goals()
                before.ended = "the policy server knows nothing of it: it was started anew"
        return said

    # -- in the executor

    def _on_result(self, state: PursuitState, status: int, result) -> None:
        with self._lock:
            if not state.running:  # it was given up, for instance because the policy server had fallen silent
                return
            state.running, state.fault = False, result.end == ReachGoal.Result.FAULT
            state.fault = state.fault or status not in (GoalStatus.STATUS_SUCCEEDED, GoalStatus.STATUS_CANCELED)
            told = HOW.get(result.end, result.reason) if not state.fault else result.reason
            state.ended = f"{told}; {plural(result.steps, 'step')}"
            if result.steps:
                state.ended += f", Q {result.final_q:.2f} at the end, decisions of {result.decision_ms_p50:.1f} ms"

    def _on_feedback(self, feedback: ReachGoal.Feedback) -> None:
        with self._lock:
            self._state.warnings += [warning for warning in feedback.warnings if warning not in self._state.warnings]

    def _on_event(self, event: EpisodeEvent) -> None:
        with self._lock:
            self.episode = event.episode_id if event.type == EpisodeEvent.START else ""
            if event.source != "policy":
                return
            state = self._state
            if event.type == EpisodeEvent.START and not (state is self._sent and state.running and not state.steps):
                # Somebody else's: `am-ros reach`, a program. It is shown like one of ours. The policy plays one at a
                # time: one that is still said to run was lost.
                self._state = PursuitState(event.goal_id or "(a picture)", True, time.monotonic())
            elif event.type != EpisodeEvent.START and state.running and state is not self._sent:
                state.running, state.fault = False, event.reason not in REASONS
                state.ended = f"{REASONS.get(event.reason, event.reason)}; {plural(event.steps, 'step')}"

    def _on_step(self, step: Step) -> None:
        if step.source != "policy":
            return
        way, p = step.action.translation, step.observation.ee_pose.position
        stamp_ns = to_ns(step.observation.image_stamp)
        with self._lock:
            self._number += 1
            picture = self._recent.get(stamp_ns)
            if picture is None:
                self._missing[stamp_ns] = self._number
            else:
                self._keep(self._number, picture)
            self._state.steps.append(
                PursuitStep(
                    step.index, float(step.q_value), float(step.decision_ms), (way.x, way.y, way.z),
                    float(step.action.rotation_z), GRIPPERS.get(step.action.gripper, ""), bool(step.action.terminate),
                    self._number, (p.x, p.y, p.z),
                )
            )  # fmt: skip

    def _adapt(self) -> None:
        """Pictures and candidates only while a goal is pursued and somebody looks on."""
        wanted = self._state.running and self._listener.watched
        self.eye.adapt(wanted)
        if wanted and not self._subscriptions:
            node, one = self._node, QoSProfile(depth=1, history=HistoryPolicy.KEEP_LAST)
            self._subscriptions = [
                node.create_subscription(CompressedImage, topics.IMAGE_COMPRESSED, self._on_image, SENSOR_QOS),
                node.create_subscription(MarkerArray, CANDIDATES, self._on_candidates, one),
            ]
        elif not wanted and self._subscriptions:
            for subscription in self._subscriptions:
                self._node.destroy_subscription(subscription)
            self._subscriptions = []

    def _on_image(self, message: CompressedImage) -> None:
        stamp_ns, data = to_ns(message.header.stamp), bytes(message.data)
        with self._lock:
            self._recent[stamp_ns] = data
            while len(self._recent) > RECENT:
                self._recent.popitem(last=False)
            if stamp_ns in self._missing:
                self._keep(self._missing.pop(stamp_ns), data)

    def _keep(self, number: int, picture: bytes) -> None:
        self._pictures[number] = picture
        while len(self._pictures) > KEPT_PICTURES:
            self._pictures.popitem(last=False)
        while len(self._missing) > RECENT:
            del self._missing[next(iter(self._missing))]

    def _on_candidates(self, message: MarkerArray) -> None:
        self._candidates = read_candidates(message)

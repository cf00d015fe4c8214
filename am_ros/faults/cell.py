"""The simulated cell on a bench: its nodes, the arm's real motion, and a commander of its own with a heartbeat.

    camera -- image_in --> image_relay -- image_raw --> policy_server --> cartesian_controller -- joint_trajectory -->
    sim_workcell -- joint_states_in --> image_relay -- joint_states --> all

The camera is the camera node with a folder of pictures, so that it can be killed without the arm.
"""

import time
from types import MappingProxyType

import cv2
import numpy as np
from am_msgs.action import MoveCartesian, ReachGoal
from am_msgs.msg import CartesianAction, ControllerStatus, Heartbeat
from am_msgs.srv import LoadCheckpoint, ResetScene
from geometry_msgs.msg import Pose, PoseStamped, Vector3
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from am_ros import images, topics
from am_ros.cell.processes import NodeProcess
from am_ros.errors import AmRosError
from am_ros.faults.arm import SPEED_WINDOW_S, ArmRecord
from am_ros.faults.bench import Bench, wait_until
from am_ros.faults.checkpoints import aimless_checkpoint
from am_ros.faults.synthetic import make_episode
from am_ros.nodes.image_relay import IMAGE_IN, JOINTS_IN, set_relay
from am_ros.ros.introspection.client import GoalRun
from am_ros.ros.node.clocks import steady_timer
from am_ros.ros.node.common import LATCHED_QOS, RELIABLE_QOS

NAME = "faults"  # as a commander
MOVING_M_S = 0.02
# What is left of a motion that something happens to: more than the longest time that it takes to notice (heartbeats
# stay out for 0.5 s), or the motion may be over by itself before anything is named.
MOTION_LEFT_S = 0.65
# A server that was killed stays in the graph for a while, and a goal may be sent to it instead of to its successor.
PURSUITS = 3
# Slow enough that a step is not over before anything is noticed: a long one takes two seconds.
# The simulator of a machine that has too much to do may pause for half a second, and that is not what is tried here.
CONTROLLER = {"velocity_scale": 0.15, "joint_state_timeout_s": 1.0}


PARTS = ("policy", "camera", "controller")


class Cell:
    """All nodes, ready when the constructor returns.

    The camera's images are `size_px` high and wide. `relayed=False`: the relay is left out. `parts`: which nodes beside
    the simulator. `simulated` are parameters of the simulator, `controlled` those of the controller, `everywhere` of
    all nodes.
    """

    simulator: NodeProcess
    policy: NodeProcess
    camera: NodeProcess
    controller: NodeProcess

    def __init__(
        self, bench: Bench, size_px: int = 64, rate_hz: float = 20.0, relayed: bool = True, parts=PARTS,
        simulated=MappingProxyType({}), controlled=CONTROLLER, **everywhere,
    ):  # fmt: skip
        self.bench, client = bench, bench.client
        self._everywhere, self._controlled, self._simulated = everywhere, controlled, dict(simulated)
        self._size_px = size_px
        self.checkpoint = aimless_checkpoint(bench.folder / "checkpoint", image_size=size_px)
        pictures = bench.folder / "pictures"
        _draw(pictures, size_px)
        self._camera = {"source": str(pictures), "width": size_px, "height": size_px, "rate_hz": rate_hz, "loop": True}
        self._relayed = relayed
        joints = JOINTS_IN if relayed else topics.JOINT_STATES
        self._pose = Pose()  # of the tool, as the controller sees it
        self._silent = False
        client.node.create_subscription(PoseStamped, topics.EE_POSE, self._on_pose, RELIABLE_QOS)
        self.status = client.receive(ControllerStatus, topics.CONTROLLER_STATUS, LATCHED_QOS)
        self.arm = ArmRecord(client, joints)
        self._heartbeats = client.node.create_publisher(Heartbeat, topics.COMMANDER_HEARTBEAT, RELIABLE_QOS)
        steady_timer(client.node, 0.1, self._beat)
        remap = {topic: "sim_" + topic for topic in (topics.IMAGE, topics.IMAGE_COMPRESSED, topics.CAMERA_INFO)}
        self._remap = {**remap, topics.JOINT_STATES: joints}
        self.start("simulator")
        relay = [(bench.start("image_relay", joints=True, **everywhere), "running")] if relayed else []
        for part in parts:
            self.start(part)
        policy = [(self.policy, "serving")] if "policy" in parts else []
        for node, line in ((self.simulator, "cell is running"), *policy, *relay):
            node.wait_for_line(line, 60.0)
        self.wait_for_state(ControllerStatus.IDLE)

    def _beat(self) -> None:
        if not self._silent:
            self._heartbeats.publish(Heartbeat(name=NAME))

    def silence(self, silent: bool = True) -> None:
        """Whether the commander's heartbeats stay out."""
        self._silent = silent

    def _on_pose(self, message: PoseStamped) -> None:
        self._pose = message.pose

    def start(self, which: str, ready: str = "") -> NodeProcess:
        """Start `simulator`, `policy`, `camera` or `controller`, the first time or once more."""
        executable, settings, remap = {
            "simulator": ("sim_workcell", self._simulated, self._remap),
            "policy": ("policy_server", {"checkpoint": str(self.checkpoint), "samples": 8}, {}),
            "camera": ("camera", self._camera, IMAGE_IN if self._relayed else {}),
            "controller": ("cartesian_controller", self._controlled, {}),
        }[which]
        process = self.bench.start(executable, ready=ready, remap=remap, **settings, **self._everywhere)
        setattr(self, which, process)
        return process

    def simulate(self, **parameters) -> None:
        """Have a simulator with these parameters, another process if they are not the present ones."""
        if parameters != self._simulated:
            self.simulator.stop()
            self._simulated = parameters
            self.start("simulator", ready="cell is running")

    def control(self, **parameters) -> None:
        """Have a controller with these parameters: another process if they are not the present ones."""
        if parameters != self._controlled or self.controller.returncode is not None:
            self.controller.stop()
            self._controlled = parameters
            self.start("controller")
            self.wait_for_state(ControllerStatus.IDLE)

    def begin(self, seed: int = 1, task: str = "reach") -> None:
        """As new: everything passes the relay, no commander, no protective stop, a scene that the controller knows."""
        self.control(**CONTROLLER)
        self.wait_for_lease("")
        set_relay(self.bench.client, mode="pass", drop_share=0.0)
        self.reset(seed, task)
        self.clear_stop()

    def wait_for_state(self, state: int, timeout_s: float = 30.0) -> None:
        """Wait until the controller publishes this state, from now on."""
        seen = len(self.status)
        wait_until(lambda: any(s.state == state for s in self.status[seen:]), timeout_s, f"controller state {state}")

    def wait_for_lease(self, name: str) -> None:
        """Wait until nobody else holds the arm."""
        wait_until(lambda: self.status and self.status[-1].commander in ("", name), 10, f"the arm free for {name}")

    def reset(self, seed: int = 1, task: str = "reach") -> None:
        """Arrange a scene; the controller knows of it when this returns."""
        answer = self.bench.client.call(ResetScene, "sim_workcell/reset", task=task, seed=seed, timeout_s=30.0)
        if not answer.success:
            raise AmRosError(f"sim_workcell/reset: {answer.message}")
        # The arm was put there, not moved: a step that is planned from where it was before would be one great leap.
        wait_until(lambda: _distance(self._pose, answer.scene.ee_pose) < 2e-3, 10, "ee_pose of the scene")
        time.sleep(2 * SPEED_WINDOW_S)  # or the leap would look like a motion

    def clear_stop(self) -> None:
        """Leave the protective stop, if there is one. A controller that was killed still looks ready for a while."""

        def cleared():
            try:
                return self.bench.client.call(Trigger, "cartesian_controller/reset", timeout_s=2.0).success
            except AmRosError:
                return False

        wait_until(cleared, 30, "reset of the protective stop")

    def load(self, checkpoint) -> str:
        """Have the policy server serve another checkpoint; empty, or why it refuses."""
        answer = self.bench.client.call(LoadCheckpoint, "policy_server/load_checkpoint", 30.0, path=str(checkpoint))
        return "" if answer.success else answer.message

    def send(self, way_m, turn: float = 0.0, commander: str = NAME, **fields) -> GoalRun:
        """Ask the controller for one step."""
        x, y, z = map(float, way_m)
        action = CartesianAction(translation=Vector3(x=x, y=y, z=z), rotation_z=float(turn), **fields)
        name = "cartesian_controller/move_cartesian"
        return self.bench.client.send_goal(MoveCartesian, name, 20.0, action=action, commander=commander)

    def inward(self, step_m: float = 0.08) -> np.ndarray:
        """A long step along y that stays in the workspace."""
        return np.array([0.0, -step_m if self.arm.tool_now()[1] > 0 else step_m, 0.0])

    def serves(self) -> str:
        """Empty if the controller executes a valid step, else why not."""
        self.wait_for_lease(NAME)
        result = self.send(self.inward(0.03)).result(30.0)
        return "" if result.end == MoveCartesian.Result.DONE else result.reason

    def pursue(self, max_steps: int = 500, seed: int = 0) -> GoalRun:
        """Have the policy server pursue a goal image that shows nothing in particular."""
        goal, shape = Image(), (self._size_px, self._size_px, 3)
        images.fill_image(goal, np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8))
        tries = PURSUITS
        while True:
            tries -= 1
            try:
                return self.bench.client.send_goal(
                    ReachGoal, "policy_server/reach_goal", 10.0, goal_image=goal, max_steps=max_steps
                )
            except AmRosError:
                if not tries:
                    raise

    def policy_serves(self, steps: int = 2) -> str:
        """Empty if the policy server pursues a goal to its end, else why not."""
        self.wait_for_lease("policy_server")
        result = self.pursue(steps).result(60.0)
        return "" if result.end == ReachGoal.Result.STEP_LIMIT else result.reason

    def wait_until_it_moves(self, run: GoalRun) -> None:
        """Return in the middle of a motion that still has a while to go; AmRosError with its reason if `run` ends."""

        def moves() -> bool:
            if run.done:
                raise AmRosError(f"a goal that should have moved the arm for long has ended: {run.result().reason}")
            return self.arm.left_s() > MOTION_LEFT_S and self.arm.speed() > MOVING_M_S

        wait_until(moves, 90, "a long motion of the arm")

    def stops(self, since: int = 0) -> list[str]:
        """Why there were protective stops since so many messages of the controller's status."""
        stopped = [s.reason for s in self.status[since:] if s.state == ControllerStatus.PROTECTIVE_STOP]
        return list(dict.fromkeys(stopped))


def cell_of(bench: Bench) -> Cell:
    """The cell of a bench, as new; the bench keeps it, so faults that share a bench share it."""
    cell = bench.kept.get("cell")
    if cell is None:
        cell = bench.kept["cell"] = Cell(bench)
    cell.begin()
    return cell


def _distance(first: Pose, second: Pose) -> float:
    """Between two positions [m]."""
    a, b = first.position, second.position
    return float(np.linalg.norm([a.x - b.x, a.y - b.y, a.z - b.z]))


def _draw(folder, size_px: int) -> None:
    """Pictures for the camera, none like the one before."""
    folder.mkdir()
    for i, picture in enumerate(make_episode("pictures", steps=40, size=size_px, seed=5).images):
        cv2.imwrite(str(folder / f"{i:03d}.jpg"), picture)

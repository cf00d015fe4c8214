"""The simulated workcell as a node: images, joint states and truth out; joint trajectory and gripper command in."""

import math
from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

from am_msgs.msg import SceneState as SceneStateMsg
from am_msgs.srv import CountImages, GetOutcome, ResetScene
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from sensor_msgs.msg import JointState as JointStateMsg
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMsg

from am_ros import images, topics
from am_ros.configuration import parameter
from am_ros.control.robot import looking_at, robot_model
from am_ros.errors import AmRosError
from am_ros.ros.arm.description import Description, DescriptionConfig
from am_ros.ros.arm.driver_model import DriverModel, trajectory_command
from am_ros.ros.messages.scene import scene_message
from am_ros.ros.node.clocks import steady_timer
from am_ros.ros.node.common import RELIABLE_QOS, SENSOR_QOS, declare, from_ns, run, to_ns
from am_ros.sim.camera import intrinsics
from am_ros.sim.runtime import CellRuntime, Frame, RuntimeConfig, ideal_trajectory
from am_ros.sim.workcell import JointState, SimConfig

MAX_POINTS = 10_000  # of a trajectory; the controller sends some hundred
PHASES = {ResetScene.Request.START: "start", ResetScene.Request.GOAL: "goal"}


@dataclass(frozen=True)
class SimWorkcellConfig:
    """Parameters of the node."""

    task: str = parameter("reach", "task of the scene at start-up")
    seed: int = parameter(0, "seed of the scene at start-up", range=(0, 2**62))
    base_frame: str = parameter("base_link", "frame of poses")
    camera_frame: str = parameter("camera_optical_frame", "frame of images")
    jpeg_quality: int = parameter(95, "of the compressed images", range=(1, 100))
    description: bool = parameter(False, "publish robot_description and the camera's frame, as an arm's driver does")
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    sim: SimConfig = field(default_factory=SimConfig)


class SimWorkcellNode(Node):
    """Wiring between topics and am_ros.sim.runtime."""

    def __init__(self):
        super().__init__("sim_workcell")
        self.config = config = declare(self, SimWorkcellConfig)
        self._stamps = array("q")  # of all images published
        self._camera_info = camera_info(config)
        self._image = self.create_publisher(Image, topics.IMAGE, SENSOR_QOS)
        self._compressed = self.create_publisher(CompressedImage, topics.IMAGE_COMPRESSED, SENSOR_QOS)
        self._info = self.create_publisher(CameraInfo, topics.CAMERA_INFO, SENSOR_QOS)
        self._joints = self.create_publisher(JointStateMsg, topics.JOINT_STATES, SENSOR_QOS)
        self._scene = self.create_publisher(SceneStateMsg, topics.SCENE_STATE, RELIABLE_QOS)
        self._driver = DriverModel(self, config.runtime.driver, robot_model(config.sim.model).joint_names)
        self._runtime = CellRuntime(
            config.sim, config.runtime, self._now, self._on_joints, self._on_frame, self._driver.publish_command
        )
        self._driver.serve(self._runtime)
        self._runtime.start(config.task, config.seed)
        self.create_subscription(JointTrajectoryMsg, topics.JOINT_TRAJECTORY, self._on_trajectory, RELIABLE_QOS)
        self.create_subscription(Float64MultiArray, topics.GRIPPER_COMMAND, self._on_gripper, RELIABLE_QOS)
        self.create_service(ResetScene, "~/reset", self._on_reset)
        self.create_service(GetOutcome, "~/outcome", self._on_outcome)
        self.create_service(CountImages, "~/count_images", self._on_count_images)
        self._description = Description(self, description(config)) if config.description else None
        steady_timer(self, 0.2, self._runtime.check)
        self.get_logger().info(f"cell is running: {config.sim.model}, scene {config.seed} of {config.task}")

    def close(self) -> None:
        """Stop the simulation."""
        if self._description is not None:
            self._description.close()
        self._runtime.close()

    def _now(self) -> int:
        return self.get_clock().now().nanoseconds

    # -- out, in the runtime's thread ------------------------------------------------------------------------------

    def _on_joints(self, state: JointState, stamp_ns: int) -> None:
        msg = JointStateMsg(
            name=list(state.names), position=state.positions.tolist(), velocity=state.velocities.tolist()
        )
        self._stamp(msg, stamp_ns, self.config.base_frame)
        self._joints.publish(msg)

    def _on_frame(self, frame: Frame) -> None:
        raw, jpeg = Image(), CompressedImage(format="rgb8; jpeg compressed bgr8")
        images.fill_image(raw, frame.image)
        jpeg.data = array("B", images.encode_jpeg(frame.image, self.config.jpeg_quality))
        scene = scene_message(frame.scene)
        for msg in (raw, jpeg, self._camera_info):
            self._stamp(msg, frame.stamp_ns, self.config.camera_frame)
        self._stamp(scene, frame.stamp_ns, self.config.base_frame)
        # The truth first: who waits for the image of a stamp finds the scene of that stamp.
        self._scene.publish(scene)
        self._info.publish(self._camera_info)
        self._compressed.publish(jpeg)
        self._image.publish(raw)
        self._stamps.append(frame.stamp_ns)

    def _stamp(self, msg, stamp_ns: int, frame: str) -> None:
        msg.header.stamp, msg.header.frame_id = from_ns(stamp_ns), frame

    # -- in --------------------------------------------------------------------------------------------------------

    def _on_trajectory(self, msg: JointTrajectoryMsg) -> None:
        try:
            if len(msg.points) > MAX_POINTS:
                raise AmRosError(f"joint_trajectory: {len(msg.points)} points, at most {MAX_POINTS} are followed")
            command = trajectory_command(msg)
            if self._driver.ideal:
                names = self._runtime.joint_names
                self._runtime.follow(lambda q: ideal_trajectory(names, command, q, self._now() * 1e-9))
            else:
                self._runtime.accept(command)
                self._driver.preempted()
        except AmRosError as error:
            self.get_logger().error(str(error))

    def _on_gripper(self, msg: Float64MultiArray) -> None:
        if len(msg.data) != 1 or not math.isfinite(msg.data[0]) or not 0 <= msg.data[0] <= 1:
            self.get_logger().error(f"gripper_command: expected one number 0 ... 1, got {list(msg.data)}")
            return
        self._runtime.command_gripper(msg.data[0])

    def _on_reset(self, request, response: ResetScene.Response) -> ResetScene.Response:
        try:
            if request.phase not in PHASES:
                raise AmRosError(f"phase {request.phase}: use START or GOAL")
            scene = self._runtime.reset(request.task, request.seed, PHASES[request.phase])
            response.success, response.scene = True, scene_message(scene)
            self._stamp(response.scene, self._now(), self.config.base_frame)
        except AmRosError as error:
            response.message = str(error)
        return response

    def _on_outcome(self, _request, response: GetOutcome.Response) -> GetOutcome.Response:
        outcome = self._runtime.outcome()
        response.success, response.reached, response.reached_once = True, outcome.reached, outcome.reached_once
        response.distance, response.best_distance = outcome.distance_m, outcome.best_distance_m
        return response

    def _on_count_images(self, request, response: CountImages.Response) -> CountImages.Response:
        stamps, first, last = self._stamps[:], to_ns(request.first), to_ns(request.last)
        low = bisect_left(stamps, first)
        high = bisect_right(stamps, last) if last else len(stamps)
        response.count = max(0, high - low)
        if response.count:
            response.first, response.last = from_ns(stamps[low]), from_ns(stamps[high - 1])
        return response


def camera_info(config: SimWorkcellConfig) -> CameraInfo:
    """Calibration of the simulated camera: a pinhole without distortion."""
    size, k = config.sim.camera.image_size, intrinsics(config.sim.camera)
    projection = [*k[0], 0.0, *k[1], 0.0, *k[2], 0.0]
    return CameraInfo(
        width=size, height=size, distortion_model="plumb_bob", d=[0.0] * 5, k=k.ravel().tolist(),
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0], p=[float(x) for x in projection],
    )  # fmt: skip


def description(config: SimWorkcellConfig) -> DescriptionConfig:
    """The simulated arm, and its camera where it stands but for what a scene's variety moves it by."""
    camera = config.sim.camera
    rpy = looking_at(camera.camera_position_m, camera.camera_target_m)
    words = (" ".join(f"{number:.6f}" for number in numbers) for numbers in (camera.camera_position_m, rpy))
    return DescriptionConfig(
        config.sim.model, "", robot_model(config.sim.model).joint_names, camera_xyz=next(words), camera_rpy=next(words),
        base_frame=config.base_frame, camera_frame=config.camera_frame,
    )  # fmt: skip


def main(args=None) -> int:
    """Console script."""
    return run(SimWorkcellNode, "sim_workcell", args)


if __name__ == "__main__":
    raise SystemExit(main())

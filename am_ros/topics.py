"""Names of the topics, relative to the namespace of the workcell, and which of them an episode consists of."""

IMAGE = "image_raw"
IMAGE_COMPRESSED = "image_raw/compressed"
IMAGE_VIEW = "image_view"  # sensor_msgs/CompressedImage, now and then: what the camera sees, larger than image_raw
CAMERA_INFO = "camera_info"
JOINT_STATES = "joint_states"
GRIPPER_STATES = "gripper_states"  # sensor_msgs/JointState of the fingers, where joint_states does not have them
JOINT_TRAJECTORY = "joint_trajectory"
# What ros2_control's trajectory controllers call the action beside their topic, and by what it says whether it is used.
TRAJECTORY_ACTION = "follow_joint_trajectory"
TRAJECTORY_ACTION_STATUS = f"{TRAJECTORY_ACTION}/_action/status"
GRIPPER_COMMAND = "gripper_command"  # std_msgs/Float64MultiArray: one number, 0 closed ... 1 fully open
EE_POSE = "ee_pose"
CONTROLLER_STATUS = "controller_status"
COMMANDER_HEARTBEAT = "commander_heartbeat"  # am_msgs/Heartbeat at 10 Hz, of whoever commands the arm
GOAL_HEARTBEAT = "goal_heartbeat"  # am_msgs/Heartbeat at 10 Hz, named after a goal: of the client that wants it
STEP = "step"
EPISODE_EVENT = "episode_event"
SCENE_STATE = "scene_state"
DIAGNOSTICS = "/diagnostics"
CLOCK = "/clock"  # rosgraph_msgs/Clock: simulated time, for nodes with use_sim_time

# What the episode logger records, with the ROS type of each.
RECORDED = {
    IMAGE_COMPRESSED: "sensor_msgs/msg/CompressedImage",
    CAMERA_INFO: "sensor_msgs/msg/CameraInfo",
    JOINT_STATES: "sensor_msgs/msg/JointState",
    GRIPPER_STATES: "sensor_msgs/msg/JointState",
    JOINT_TRAJECTORY: "trajectory_msgs/msg/JointTrajectory",
    GRIPPER_COMMAND: "std_msgs/msg/Float64MultiArray",
    EE_POSE: "geometry_msgs/msg/PoseStamped",
    STEP: "am_msgs/msg/Step",
    EPISODE_EVENT: "am_msgs/msg/EpisodeEvent",
}

# Without these a bag holds no episode; `MoveCartesian` and the images tell the rest.
REQUIRED = (IMAGE_COMPRESSED, STEP, EPISODE_EVENT)

# What drivers call otherwise: the section /**/topics of config/<stack>.yaml may rename these.
REMAPPED = (
    IMAGE,
    IMAGE_COMPRESSED,
    CAMERA_INFO,
    JOINT_STATES,
    GRIPPER_STATES,
    JOINT_TRAJECTORY,
    GRIPPER_COMMAND,
    "gripper_positions",
    "gripper_trajectory",
    "gripper_switch",
)


def in_bag(topic: str) -> str | None:
    """Which recorded topic a name of a bag means, in whatever namespace of the workcell; None: none of them."""
    names = (*RECORDED, IMAGE)
    return next((name for name in names if topic == name or topic.endswith("/" + name)), None)

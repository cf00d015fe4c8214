"""SceneState of the simulator and of am_msgs, one into the other."""

from am_msgs.msg import ObjectState as ObjectStateMsg
from am_msgs.msg import SceneState as SceneStateMsg
from geometry_msgs.msg import Point, Quaternion
from geometry_msgs.msg import Pose as PoseMsg

from am_ros.sim.scene import ObjectState, Pose, SceneState


def pose_message(pose: Pose) -> PoseMsg:
    """Pose as its message."""
    (x, y, z), (qx, qy, qz, qw) = pose.position_m, pose.quaternion
    return PoseMsg(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=qx, y=qy, z=qz, w=qw))


def pose_from_message(msg: PoseMsg) -> Pose:
    """The inverse of pose_message."""
    p, q = msg.position, msg.orientation
    return Pose((p.x, p.y, p.z), (q.x, q.y, q.z, q.w))


def scene_message(scene: SceneState) -> SceneStateMsg:
    """SceneState as its message; the header is left to the caller."""
    return SceneStateMsg(
        task=scene.task,
        seed=scene.seed,
        ee_pose=pose_message(scene.end_effector),
        ee_goal_pose=pose_message(scene.end_effector_goal),
        gripper_opening=scene.gripper_opening,
        goal_gripper_opening=scene.goal_gripper_opening,
        objects=[_object_message(state) for state in scene.objects],
    )


def scene_from_message(msg: SceneStateMsg) -> SceneState:
    """The inverse of scene_message."""
    return SceneState(
        msg.task,
        msg.seed,
        pose_from_message(msg.ee_pose),
        pose_from_message(msg.ee_goal_pose),
        msg.gripper_opening,
        msg.goal_gripper_opening,
        tuple(
            ObjectState(o.name, pose_from_message(o.pose), pose_from_message(o.goal_pose) if o.has_goal else None)
            for o in msg.objects
        ),
    )


def _object_message(state: ObjectState) -> ObjectStateMsg:
    msg = ObjectStateMsg(name=state.name, pose=pose_message(state.pose), has_goal=state.goal is not None)
    if state.goal is not None:
        msg.goal_pose = pose_message(state.goal)
    return msg

"""Which of the pose sources a mapping asks for."""

from am_ros.errors import AmRosError
from am_ros.ingest.frames import TF_TYPES, FramesSource
from am_ros.ingest.joints import JOINT_STATE, JointsSource
from am_ros.ingest.mapping import JOINTS, TF, PoseRole
from am_ros.ingest.poses import PoseSource, PosesSource


def pose_source(role: PoseRole, type_name: str) -> PoseSource:
    """The source that a mapping asks for; raises AmRosError if the topic's type does not fit it."""
    expected = {TF: TF_TYPES, JOINTS: (JOINT_STATE,)}.get(role.source)
    if expected and type_name not in expected:
        raise AmRosError(
            f"pose: topic {role.topic or '/tf'} has type {type_name}, source: {role.source} needs {expected[0]}"
        )
    if role.source == TF:
        return FramesSource(role)
    return JointsSource(role) if role.source == JOINTS else PosesSource(role, type_name)

"""An episode for the viewer of Rerun: pictures, poses, steps, gripper and Q on the time lines `step` and `time`."""

from pathlib import Path
from typing import Any

from am_ros.bags.playback import Moment, read_playback
from am_ros.errors import AmRosError

MISSING = "rerun-sdk is not installed: pip install 'am_ros[rerun]'"


def show_in_rerun(bag: Path, save: Path | None = None) -> str:
    """Open the episode in Rerun's viewer, or write it to an .rrd file that the viewer opens; returns a sentence.

    Raises AmRosError if rerun-sdk is not installed, the bag cannot be read, or the file not be written.
    """
    try:
        import rerun
    except ImportError:
        raise AmRosError(MISSING) from None
    moments = read_playback(bag)
    recording = rerun.RecordingStream("am_ros", recording_id=bag.name)
    if save is None:
        recording.spawn()
    else:
        try:
            save.parent.mkdir(parents=True, exist_ok=True)
            recording.save(save)
        except (OSError, RuntimeError) as error:
            raise AmRosError(f"--save {save}: cannot be written ({error})") from None
    log_moments(rerun, recording, moments)
    recording.flush()
    return f"{save}: {len(moments)} moments" if save else f"{bag.name}: {len(moments)} moments sent to Rerun"


def log_moments(rerun: Any, recording: Any, moments: list[Moment]) -> None:
    """Everything of an episode; positions in metres, in the robot's base frame."""
    recording.log("cell", rerun.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
    recording.log("cell/way", rerun.LineStrips3D([[moment.position_m for moment in moments]]), static=True)
    for index, moment in enumerate(moments):
        recording.set_time("step", sequence=index)
        recording.set_time("time", duration=moment.t_s)
        kind = "image/png" if moment.picture.startswith(b"\x89PNG") else "image/jpeg"
        recording.log("camera", rerun.EncodedImage(contents=moment.picture, media_type=kind))
        recording.log("cell/tool", rerun.Points3D([moment.position_m], radii=[0.008]))
        recording.log("gripper_opening", rerun.Scalars([moment.gripper_opening]))
        if moment.translation_m is None:
            recording.log("cell/step", rerun.Clear(recursive=False))
            continue
        arrow = rerun.Arrows3D(origins=[moment.position_m], vectors=[moment.translation_m])
        recording.log("cell/step", arrow)
        if moment.q_value is not None:
            recording.log("q", rerun.Scalars([moment.q_value]))
        recording.log("decision_ms", rerun.Scalars([moment.decision_ms]))
        said = "the gripper " + moment.gripper if moment.gripper else ""
        if moment.terminate or said:
            recording.log("decision", rerun.TextLog("ends here" if moment.terminate else said))

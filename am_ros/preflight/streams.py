"""What the nodes live on: is it there, of the right type, often enough, and with stamps to be believed?"""

from dataclasses import dataclass, replace

import numpy as np

from am_ros import topics
from am_ros.camera.watchdog import ImageWatchConfig, pixel_fault
from am_ros.preflight.cell import CONTROLLER, Cell, configured
from am_ros.preflight.findings import WARNING, Finding, ok, warning, wrong
from am_ros.preflight.observed import Observed, TopicSeen, incompatible

IMAGE_TYPE, JOINTS_TYPE = "sensor_msgs/msg/Image", "sensor_msgs/msg/JointState"
INFO_TYPE, JPEG_TYPE = "sensor_msgs/msg/CameraInfo", "sensor_msgs/msg/CompressedImage"


@dataclass(frozen=True)
class Stream:
    """A topic that the cell cannot do without: who gives it, and how long the nodes wait for its next message."""

    name: str
    type: str
    rate_hz: float
    timeout_s: float
    from_whom: str
    what: str  # as it stands in the names of findings


def streams(cell: Cell) -> list[Stream]:
    """What the nodes live on."""
    images = configured(ImageWatchConfig, cell.parameters("policy_server"))
    camera = "the camera node (am-ros up starts it)" if cell.spec("camera") else "the simulated cell"
    arm = "the arm's driver" if cell.spec("camera") else "the simulated cell"
    rate, timeout_s = cell.image_rate_hz, images.image_timeout_s
    return [
        Stream(cell.topic(topics.IMAGE), IMAGE_TYPE, rate, timeout_s, camera, "image"),
        Stream(cell.topic(topics.IMAGE_COMPRESSED), JPEG_TYPE, rate, timeout_s, camera, "compressed"),
        Stream(cell.topic(topics.CAMERA_INFO), INFO_TYPE, rate, timeout_s, camera, "camera_info"),
        Stream(
            cell.topic(topics.JOINT_STATES, CONTROLLER), JOINTS_TYPE, cell.check.joint_state_rate_hz,
            cell.controller.joint_state_timeout_s, arm, "joint_states",
        ),
    ]  # fmt: skip


def check_clock(cell: Cell, observed: Observed) -> list[Finding]:
    """Where nodes take their time from /clock: does it run, and do all of them?"""
    simulated = cell.simulated_time
    if not simulated:
        return []
    who, seen = f"use_sim_time is set for {', '.join(simulated)}", observed.topic(topics.CLOCK)
    if not seen.stamps_ns:
        mend = "start what publishes it, or take use_sim_time out"
        return [wrong("clock_missing", f"{topics.CLOCK}: nothing came in {seen.listened_s:.1f} s, and {who}", mend)]
    if len(set(seen.stamps_ns)) == 1:
        what = f"{topics.CLOCK} has stood at {seen.stamps_ns[0] / 1e9:.3f} s for {seen.listened_s:.1f} s, and {who}"
        return [wrong("clock_stopped", what, "let the simulator, or whoever publishes it, go on")]
    others = [spec.label for spec in cell.specs if spec.label not in simulated]
    if others:
        mend = "set it for all nodes or for none: a section /** of the parameter file"
        return [wrong("clock_differs", f"{who}, but not for {', '.join(others)}", mend)]
    return [ok("clock_runs", f"{topics.CLOCK} runs")]


def check_streams(cell: Cell, observed: Observed) -> list[Finding]:
    """Presence, type, rate and quality of service of what the nodes live on."""
    findings = []
    for stream in streams(cell):
        seen = observed.topic(stream.name)
        found = _presence(stream, seen) or [*_rate(cell, _beside(stream, cell, observed), seen), *_lost(stream, seen)]
        findings += [*found, *_quality(stream.what, seen)]
    return findings


def _presence(stream: Stream, seen: TopicSeen) -> list[Finding]:
    """What is wrong if nothing comes; empty if something does."""
    name, types = f"{stream.what}_missing", {p.type for p in seen.publishers}
    if not seen.publishers:
        return [wrong(name, f"no node publishes {seen.name}", f"start {stream.from_whom}, or remap its topic")]
    if stream.type not in types:
        what = f"{seen.name} is {', '.join(sorted(types))}, but {stream.type} is expected"
        return [wrong(f"{stream.what}_type", what, f"remap: this topic is not that of {stream.from_whom}")]
    if seen.arrived_s:
        return []
    nodes = ", ".join(p.node for p in seen.publishers)
    what = f"{nodes} publishes {seen.name}, but nothing came in {seen.listened_s:.1f} s"
    return [wrong(f"{stream.what}_silent", what, f"look at what {nodes} says in its log")]


def _beside(stream: Stream, cell: Cell, observed: Observed) -> Stream:
    """What comes with each image is expected as often as images come: a slow camera is named once."""
    images_hz = observed.topic(cell.image_topic).rate_hz
    with_images = stream.what in ("compressed", "camera_info") and images_hz
    return replace(stream, rate_hz=min(stream.rate_hz, round(images_hz, 1))) if with_images else stream


def _rate(cell: Cell, stream: Stream, seen: TopicSeen) -> list[Finding]:
    name, check = f"{stream.what}_rate", cell.check
    what = f"{seen.name} comes at {seen.rate_hz:.1f} Hz, {stream.rate_hz:g} Hz expected"
    if seen.longest_gap_s > stream.timeout_s:
        pause = f"{seen.name} paused for {seen.longest_gap_s:.1f} s; the nodes give up after {stream.timeout_s:g} s"
        return [wrong(name, pause, f"find out what holds up {stream.from_whom}")]
    if seen.rate_hz < check.rate_warning * stream.rate_hz:
        level = wrong if seen.rate_hz < check.rate_wrong * stream.rate_hz else warning
        expected = "joint_state_rate_hz" if stream.what == "joint_states" else "image_rate_hz"
        return [level(name, what, f"speed up {stream.from_whom}, or say what is meant: {expected} under /**/check")]
    return [ok(name, what)]


def _lost(stream: Stream, seen: TopicSeen) -> list[Finding]:
    if not seen.lost:
        return []
    what = f"{seen.lost} of {seen.lost + len(seen.arrived_s)} messages of {seen.name} were lost on the way"
    mend = "give all programs the Fast DDS profile of am_ros (FASTRTPS_DEFAULT_PROFILES_FILE), and free a processor"
    return [warning(f"{stream.what}_lost", what, mend)]


def _quality(what: str, seen: TopicSeen) -> list[Finding]:
    """Pairs of publisher and subscriber that will never hear each other, one finding for each reason."""
    findings: dict[tuple[str, str], str] = {}
    for publisher in seen.publishers:
        for subscriber in seen.subscribers:
            why = publisher.type == subscriber.type and incompatible(publisher, subscriber)
            if why:
                sentence = f"{seen.name}: {subscriber.node} does not hear {publisher.node}, which {why}"
                findings.setdefault((subscriber.node, why), sentence)
    mend = "change the QoS of the subscriber: sensor data is best effort and volatile"
    return [warning(f"{what}_qos", sentence, mend) for sentence in findings.values()]


def check_stamps(cell: Cell, observed: Observed) -> list[Finding]:
    """Header stamps against this machine's clock and against each other, and the frames they are given in."""
    images = configured(ImageWatchConfig, cell.parameters("policy_server"))
    findings = []
    for stream in streams(cell):
        seen = observed.topic(stream.name)
        if stream.type == JPEG_TYPE or not seen.stamps_ns:
            continue
        found = _stamps(stream, seen, cell, images.image_timeout_s, images.stamp_tolerance_s)
        in_parts = stream.type == JOINTS_TYPE and observed.joints and len(observed.joints.watch.parts) > 1
        # The parts of an arm's state may share their stamp.
        findings += [f for f in found if not (in_parts and f.level == WARNING and "repeat the one before" in f.seen)]
    return findings + _frames(cell, observed)


def _stamps(stream: Stream, seen: TopicSeen, cell: Cell, oldest_s: float, tolerance_s: float) -> list[Finding]:
    name, steps = f"{stream.what}_stamps", np.diff(seen.stamps_ns)
    if 0 in seen.stamps_ns:
        return [wrong(name, f"{seen.name} comes without header stamps", f"let {stream.from_whom} stamp its messages")]
    if (steps < 0).any():
        back_s = -steps.min() / 1e9
        what = f"the stamps of {seen.name} go back by up to {back_s:.3f} s"
        return [wrong(name, what, "two publishers, or a clock that is set: leave one of them, use chrony or ptp")]
    age_s = float(np.median(seen.ages_s))
    clocks = "synchronise the clocks of the machines (chrony, ptp), and use_sim_time alike everywhere"
    if age_s > oldest_s or age_s < -tolerance_s:
        side = f"{age_s:.2f} s old" if age_s > 0 else f"{-age_s:.2f} s in the future"
        return [wrong(name, f"{seen.name} is {side} on arrival by its stamps", clocks)]
    if age_s < -cell.check.clock_tolerance_s:
        return [warning(name, f"{seen.name} is stamped {-age_s:.3f} s in the future", clocks)]
    if age_s > cell.check.max_age_s:
        return [warning(name, f"{seen.name} is {age_s:.2f} s old on arrival", f"{clocks}, or make its way shorter")]
    if (steps == 0).any():
        same = int((steps == 0).sum())
        mend = f"let {stream.from_whom} stamp each message when it was taken"
        return [warning(name, f"{same} of {len(steps)} stamps of {seen.name} repeat the one before", mend)]
    return [ok(name, f"{seen.name} is {age_s * 1e3:.0f} ms old on arrival")]


def _frames(cell: Cell, observed: Observed) -> list[Finding]:
    image, info = observed.topic(cell.image_topic), observed.topic(cell.topic(topics.CAMERA_INFO))
    if not image.stamps_ns:
        return []
    if not any(image.frames):
        mend = "give the camera a frame (frame_id), else nobody knows where the picture was taken from"
        return [warning("image_frame", f"{image.name} has no frame_id", mend)]
    if info.frames and info.frames != image.frames:
        what = f"{image.name} is in {_list(image.frames)}, {info.name} in {_list(info.frames)}"
        return [warning("image_frame", what, "give both the same frame_id")]
    return [ok("image_frame", f"{image.name} is in frame {_list(image.frames)}")]


def check_image(cell: Cell, observed: Observed) -> list[Finding]:
    """Size, contents and calibration of the newest image."""
    if observed.image is None:
        return []
    topic, rgb = cell.image_topic, observed.image.rgb
    if rgb is None:
        return [wrong("image_malformed", observed.image.problem, "let the camera publish rgb8 or bgr8")]
    size, expected = rgb.shape[:2], cell.image_size
    fault = pixel_fault(rgb, expected)
    if fault:
        mend = {
            "image_wrong_size": "set width and height of the camera, or image_size:=, to what is wanted",
            "image_black": "take off the lens cap, switch the light on, look at the exposure",
        }[fault.name]
        return [wrong(fault.name, f"{topic}: {fault.sentence}", mend)]
    found = [ok("image_size", f"{topic} is {size[1]}x{size[0]} px and shows something")]
    if observed.camera_info_size and observed.camera_info_size != size:
        info = observed.camera_info_size
        what = f"{cell.topic(topics.CAMERA_INFO)} is for {info[1]}x{info[0]} px, the image is {size[1]}x{size[0]}"
        found.append(wrong("camera_info_size", what, "calibrate at the size that is published (camera_info_url)"))
    return found


def _list(names: set[str]) -> str:
    return ", ".join(sorted(name or '""' for name in names))

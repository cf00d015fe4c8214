"""config/workcell.rviz and config/foxglove.json: what RViz (Jazzy) and Foxglove read, and topics that a cell has."""

import json
from pathlib import Path

import yaml
from am_msgs.msg import Step

CONFIG = Path(__file__).parents[1] / "config"
# rviz_default_plugins/plugins_description.xml of ros2/rviz, branch jazzy (14.1.5): displays with what they show, then
# tools and views.
DISPLAYS = {
    "Grid": None, "TF": None, "RobotModel": "std_msgs/msg/String", "Image": "sensor_msgs/msg/Image",
    "Pose": "geometry_msgs/msg/PoseStamped", "MarkerArray": "visualization_msgs/msg/MarkerArray",
    "Camera": "sensor_msgs/msg/Image", "PointCloud2": "sensor_msgs/msg/PointCloud2",
}  # fmt: skip
TOOLS = ("MoveCamera", "PublishPoint", "Select", "SetGoal", "Measure", "FocusCamera", "SetInitialPose", "Interact")
VIEWS = ("FPS", "Orbit", "TopDownOrtho", "XYOrbit", "ThirdPersonFollower")
PANELS = ("Displays", "Views", "Selection", "Tool Properties", "Time")  # rviz_common
# packages/suite-base/src/panels/index.ts of lichtblick, which Foxglove Studio became: the types that are used here.
FOXGLOVE = ("3D", "Image", "RawMessages", "Plot", "DiagnosticSummary", "DiagnosticStatusPanel")
POLICIES = {
    "Reliability Policy": ("Reliable", "Best Effort", "System Default"),
    "Durability Policy": ("Volatile", "Transient Local", "System Default"),
}  # fmt: skip


def rviz() -> dict:
    return yaml.safe_load((CONFIG / "workcell.rviz").read_text())


def rviz_topics() -> dict[str, tuple[str, dict]]:
    """Type, and what is said of the quality of service, by topic."""
    found = {}
    for display in rviz()["Visualization Manager"]["Displays"]:
        topic = display.get("Topic") or display.get("Description Topic")
        if topic:
            found["/" + topic["Value"]] = DISPLAYS[display["Class"].rpartition("/")[2]], topic
    return found


def foxglove() -> dict:
    return json.loads((CONFIG / "foxglove.json").read_text())


def foxglove_topics() -> dict[str, str]:
    """Types by topic."""
    found = {}
    for name, panel in foxglove()["configById"].items():
        kind = name.partition("!")[0]
        if kind == "3D":
            found |= {layer["topic"]: "std_msgs/msg/String" for layer in panel["layers"].values() if "topic" in layer}
            found |= {
                topic: DISPLAYS["Pose" if "type" in how else "MarkerArray"] for topic, how in panel["topics"].items()
            }
        elif kind == "Image":
            found[panel["imageMode"]["imageTopic"]] = "sensor_msgs/msg/CompressedImage"
            found[panel["imageMode"]["calibrationTopic"]] = "sensor_msgs/msg/CameraInfo"
        elif kind == "DiagnosticSummary":
            found[panel["topicToRender"]] = "diagnostic_msgs/msg/DiagnosticArray"
        elif kind == "RawMessages":
            found[panel["topicPath"]] = "am_msgs/msg/Step"
        elif kind == "Plot":
            found |= {path["value"].partition(".")[0]: "am_msgs/msg/Step" for path in panel["paths"]}
    return found


def test_rviz_knows_every_class_and_policy_of_its_file():
    manager, panels = rviz()["Visualization Manager"], rviz()["Panels"]
    assert {panel["Class"].removeprefix("rviz_common/") for panel in panels} <= set(PANELS)
    for parts, known in (
        (manager["Displays"], DISPLAYS), (manager["Tools"], TOOLS), ([manager["Views"]["Current"]], VIEWS)
    ):  # fmt: skip
        classes = [part["Class"].partition("/") for part in parts]
        assert {package for package, _, _ in classes} == {"rviz_default_plugins"}
        assert {name for _, _, name in classes} <= set(known)
    for _, about in rviz_topics().values():
        assert all(about[name] in known for name, known in POLICIES.items() if name in about)


def test_a_foxglove_layout_places_each_of_its_panels_once_and_plots_fields_that_are_there():
    content = foxglove()
    placed = []

    def walk(part) -> None:
        if isinstance(part, str):
            placed.append(part)
            return
        assert part["direction"] in ("row", "column") and 0 < part.get("splitPercentage", 50) < 100
        walk(part["first"])
        walk(part["second"])

    walk(content["layout"])
    assert sorted(placed) == sorted(content["configById"])
    assert {name.partition("!")[0] for name in placed} <= set(FOXGLOVE)
    assert {"globalVariables", "userNodes"} <= set(content)
    for path in content["configById"]["Plot!q"]["paths"]:
        assert path["value"].partition(".")[2] in Step.get_fields_and_field_types()
        assert path["timestampMethod"] in ("receiveTime", "headerStamp")

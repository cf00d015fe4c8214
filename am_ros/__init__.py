"""Actionable Models for a ROS 2 workcell: record bags, learn from them, reach goal images."""

import os
from importlib import metadata

try:
    __version__ = metadata.version("am_ros")  # package.xml has it, setup.py reads it there
except metadata.PackageNotFoundError:
    __version__ = "0+not.installed"

# OpenCV reads these once, when it is loaded: a file of a few bytes that claims 60000x60000 px is refused before it is
# given memory. The sides are those of am_ros.images.MAX_SIDE_PX.
for _name in ("WIDTH", "HEIGHT"):
    os.environ.setdefault(f"OPENCV_IO_MAX_IMAGE_{_name}", "8192")
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(8192 * 8192))
# What is wrong with a picture is said once and in our words, not twice a picture in OpenCV's.
os.environ.setdefault("OPENCV_LOG_LEVEL", "FATAL")

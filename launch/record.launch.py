"""Teleoperate and log: `ros2 launch am_ros record.launch.py stack:=lbr_fri camera:=0`."""

from am_ros.cell.launching import describe


def generate_launch_description():
    return describe("record")

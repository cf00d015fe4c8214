"""The trainer, which watches a folder of bags: `ros2 launch am_ros train.launch.py bags:=FOLDER`."""

from am_ros.cell.launching import describe


def generate_launch_description():
    return describe("train")

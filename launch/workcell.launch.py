"""The real workcell, beside the arm's own driver: `ros2 launch am_ros workcell.launch.py stack:=lbr_fri camera:=0`."""

from am_ros.cell.launching import describe


def generate_launch_description():
    return describe("workcell")

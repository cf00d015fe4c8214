"""The simulated workcell: `ros2 launch am_ros sim.launch.py --show-args` lists the arguments."""

from am_ros.cell.launching import describe


def generate_launch_description():
    return describe("sim")

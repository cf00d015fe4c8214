"""The ROS 2 nodes, one executable per file: parameters, topics and services around plain Python."""

import sys

from am_ros.cell.environment import enter_ros_environment
from am_ros.cell.start_check import check_rmw
from am_ros.errors import AmRosError

enter_ros_environment()  # before rclpy loads: however a node is started, it finds its interfaces and DDS profile

try:
    check_rmw()  # of one that is not there rclpy says something in C++ and ends the process
except AmRosError as error:
    print(f"am_ros: {error}", file=sys.stderr)
    sys.exit(2)

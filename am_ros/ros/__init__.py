"""What the nodes share of ROS: messages, the frame of a node, who commands the arm, the arm's side, a client."""

from am_ros.cell.environment import enter_ros_environment
from am_ros.cell.start_check import check_rmw

enter_ros_environment()  # before rclpy loads: however a program is started, it finds its interfaces and DDS profile
check_rmw()  # of one that is not there rclpy says something in C++ and ends the process

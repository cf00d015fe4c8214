"""The ROS 2 nodes, one executable per file: parameters, topics and services around plain Python."""

from am_ros.cell.environment import enter_ros_environment

enter_ros_environment()  # before rclpy loads: however a node is started, it finds its interfaces and DDS profile

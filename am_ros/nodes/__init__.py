"""ROS 2 nodes: parameters, topics and services around the plain Python of the other packages."""

from am_ros.environment import enter_ros_environment

enter_ros_environment()  # before rclpy loads: however a node is started, it finds its interfaces and DDS profile

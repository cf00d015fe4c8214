"""What the nodes share of ROS: messages, the frame of a node, who commands the arm, the arm's side, a client."""

from am_ros.cell.environment import enter_ros_environment

enter_ros_environment()  # before rclpy loads: however a program is started, it finds its interfaces and DDS profile

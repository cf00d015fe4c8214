"""Kinematics, motion limits and trajectories. No ROS."""

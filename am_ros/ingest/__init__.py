"""Bags of other cells, ROS 1 or ROS 2, to episodes of ours, by a mapping file."""

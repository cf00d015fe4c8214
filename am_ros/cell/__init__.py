"""A cell: how it is described, started, watched and secured. No ROS."""

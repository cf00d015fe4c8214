"""Actionable Models for a ROS 2 workcell: record bags, learn from them, reach goal images."""

__version__ = "0.1.0"

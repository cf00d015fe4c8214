"""The camera without ROS: sources through OpenCV, capture in a thread, calibration."""

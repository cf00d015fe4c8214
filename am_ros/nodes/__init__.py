"""ROS 2 nodes: parameters, topics and services around the plain Python of the other packages."""

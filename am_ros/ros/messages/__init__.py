"""Messages of ROS, to and from what the other packages work with."""

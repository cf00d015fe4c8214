"""The files of a foreign recording: MCAP, sqlite3 and ROS 1, packed or not, each read as far as it is whole."""

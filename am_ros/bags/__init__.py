"""Write, read, verify and salvage episodes as rosbag2 (MCAP) bags."""

"""The simulated workcell and its tasks. PyBullet; no ROS."""

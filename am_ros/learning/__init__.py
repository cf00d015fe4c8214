"""Networks, CEM, losses, trainer and checkpoints. Torch; no ROS."""

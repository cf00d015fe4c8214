"""The arm's side: backends, gripper, and what the controller reports."""

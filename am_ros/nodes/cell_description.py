"""A real cell whose driver describes it not: robot_description for RViz and Foxglove, and where the camera stands."""

import sys

from rclpy.node import Node

from am_ros.ros.arm.description import Description, DescriptionConfig
from am_ros.ros.node.common import declare, run


class CellDescription(Node):
    """The simulator does without: it describes its own arm, as a driver does."""

    def __init__(self):
        super().__init__("cell_description")
        self._description = Description(self, declare(self, DescriptionConfig))
        self.get_logger().info(f"ready: {self.resolve_topic_name('robot_description')}")

    def close(self) -> None:
        """End what was started."""
        if hasattr(self, "_description"):
            self._description.close()


def main(args=None) -> int:
    """Entry point of the executable."""
    return run(CellDescription, "cell_description", args)


if __name__ == "__main__":
    sys.exit(main())

"""The operator's page: the cell in a browser, and what is asked of it there. docs/page.md shows the views."""

import sys

from rclpy.node import Node

from am_ros.errors import AmRosError
from am_ros.page.config import PageConfig
from am_ros.ros.node.clocks import steady_timer
from am_ros.ros.node.common import declare, run
from am_ros.ros.page.source import PageNodeConfig, RosSource
from am_ros.workers import come_second

# Behind the robot's nodes, but less than other work is: the heartbeats of the goals that are asked for on the page come
# from here. Without them the arm stops.
NICE = 5


class OperatorPage(Node):
    """Serves the page in threads of its own; the executor delivers what the nodes say."""

    def __init__(self):
        super().__init__("operator_page")
        config = declare(self, PageConfig)
        source = RosSource(self, declare(self, PageNodeConfig))
        try:
            from am_ros.page.server import Server
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("am_ros"):
                raise
            raise AmRosError(f"{error.name} is not installed: pip install 'am_ros[page]'") from None
        self._server = Server(source, config)
        self.get_logger().info(self._server.announce(self._server.start()))
        steady_timer(self, 1.0, self._look)

    def close(self) -> None:
        """End the page."""
        if hasattr(self, "_server"):
            self._server.close()

    def _look(self) -> None:
        if not self._server.running:
            raise AmRosError("the page's server has ended")


def main(args=None) -> int:
    """Entry point of the executable."""
    come_second(NICE)
    return run(OperatorPage, "operator_page", args)


if __name__ == "__main__":
    sys.exit(main())

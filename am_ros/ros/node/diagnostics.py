"""What a node says of itself on /diagnostics."""

from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from am_ros import topics

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


class Diagnostics:
    """Publishes statuses of one node; call it about once a second."""

    def __init__(self, node):
        self._node = node
        self._publisher = node.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, 10)

    def publish(self, what: str, level: bytes, message: str, values: Mapping[str, object], hardware: str = "") -> None:
        """One status, named after the node and `what`; `values` are shown as text."""
        name = f"{self._node.get_fully_qualified_name()}: {what}"
        status = DiagnosticStatus(level=level, name=name, message=message, hardware_id=hardware)
        status.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
        array = DiagnosticArray(status=[status])
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(array)

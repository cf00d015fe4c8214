"""Message classes by name: `sensor_msgs/msg/Image` -> sensor_msgs.msg.Image."""

import importlib

from am_ros.errors import AmRosError


def message_class(type_name: str):
    """The class of a message type; raises AmRosError if its package is not installed."""
    package, _, name = type_name.partition("/msg/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError):
        raise AmRosError(f"message type {type_name} is not installed") from None

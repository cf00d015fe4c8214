"""What rcl, DDS and rclpy refuse when a process enters ROS, as one sentence of ours."""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rclpy.exceptions import (
    InvalidNamespaceException,
    InvalidNodeNameException,
    InvalidServiceNameException,
    InvalidTopicNameException,
)
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.utilities import remove_ros_args

from am_ros.errors import AmRosError

# Where in rcl's sources an error was found: of no use to whoever reads the sentence.
_WHERE = re.compile(r",? at /\S+:\d+")
_INVALID = (
    InvalidNamespaceException,
    InvalidNodeNameException,
    InvalidServiceNameException,
    InvalidTopicNameException,
)


@contextmanager
def entering_ros() -> Iterator[None]:
    """Raises AmRosError in place of what rclpy raises for arguments, names and surroundings that it cannot take."""
    try:
        with warnings.catch_warnings():
            # rclpy warns of what it could not tidy up after an error; the error itself says it all.
            warnings.filterwarnings("ignore", "Failed to fini", RuntimeWarning)
            yield
    except _rclpy.UnknownROSArgsError as error:
        words = str(error).strip("[]'")
        raise AmRosError(f"--ros-args: {words}: unknown to ROS") from None
    except _INVALID as error:
        raise AmRosError(_sentence(error)) from None
    except (_rclpy.RCLError, _rclpy.RCLInvalidROSArgsError, _rclpy.RCUtilsError, _rclpy.RMWError) as error:
        raise AmRosError(f"ROS does not start: {_sentence(error)}") from None


def check_words(args: Sequence[str] | None) -> None:
    """Raise AmRosError naming a word of a node's command line that nobody would read: a node takes ROS's arguments."""
    words = remove_ros_args(args)
    words = words[1:] if args is None else words
    if words:
        raise AmRosError(f"argument {words[0]!r}: unknown; a node's parameters are given as --ros-args -p NAME:=VALUE")


def _sentence(error: Exception) -> str:
    text = _WHERE.sub("", str(error)).replace("failed to initialize rcl: ", "")
    return " ".join(text.split()).rstrip(" ,.^")

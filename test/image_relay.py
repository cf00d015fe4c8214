"""The camera that can be broken on purpose, for tests."""

from am_ros.faults.image_relay import IMAGE_IN, RelaySpec, set_relay

__all__ = ["IMAGE_IN", "RelaySpec", "set_relay"]

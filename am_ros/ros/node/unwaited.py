"""Topics with up to a thousand messages a second, of which a node needs few: read when it looks, not when they come.

To be woken by a message costs an rclpy node about three times as much as to read it, for it then gathers anew all that
it waits for. DDS keeps what comes meanwhile, as many of the newest messages as the quality of service says.
"""

from collections.abc import Iterable

from rclpy.callback_groups import CallbackGroup
from rclpy.subscription import Subscription


class Unwaited(CallbackGroup):
    """Of subscriptions for which the executor does not wait."""

    def can_execute(self, _entity) -> bool:
        return False

    def beginning_execution(self, _entity) -> bool:
        return False

    def ending_execution(self, _entity) -> None:
        pass


def take_all(subscriptions: Iterable[Subscription]) -> None:
    """Hand what has come to the callbacks, the oldest first; each subscription's in the order in which it came."""
    for subscription in subscriptions:
        for _ in range(subscription.qos_profile.depth):  # more may come meanwhile
            with subscription.handle:
                found = subscription.handle.take_message(subscription.msg_type, subscription.raw)
            if found is None:
                break
            subscription.callback(found[0])

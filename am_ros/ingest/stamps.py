"""The time of a message that counts: its own stamp or its reception, by the mapping."""

from am_ros.bags.types import stamp_ns
from am_ros.ingest.mapping import RECEIVE

READS_SUCH = f"(`stamp: {RECEIVE}` reads such)"
_SECOND_NS = 1_000_000_000


def counted(role, stamp, receive_ns: int) -> int:
    """A header's stamp, or the reception's if there is none or the mapping says so [ns], its offset added.

    Zero if nobody stamped the message, and less if the stamp is no time; an offset changes nothing about that.
    """
    if stamp is None or role.stamp == RECEIVE:
        return receive_ns + round(role.offset_s * 1e9)
    own = stamp_ns(stamp)
    if own == 0:
        return 0
    if own < 0 or not 0 <= stamp.nanosec < _SECOND_NS:
        return -1
    return max(-1, own + round(role.offset_s * 1e9))


def stamp_of(role, message, receive_ns: int, header=None) -> int:
    """`counted` of a message with a header, or with a `timestamp` as Foxglove's have; of others the reception.

    `header`: the one to take where the message has several.
    """
    header = getattr(message, "header", None) if header is None else header
    stamp = header.stamp if header is not None else getattr(message, "timestamp", None)
    return counted(role, stamp if hasattr(stamp, "nanosec") else None, receive_ns)


def fault(stamp: int) -> str:
    """What is wrong with a stamp that is not more than zero."""
    return "stamp is zero" if stamp == 0 else "stamp is no time"

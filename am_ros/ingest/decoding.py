"""Messages of foreign types out of their bytes, by the definitions that lie in the bag."""

from collections.abc import Callable
from functools import lru_cache

import zstandard
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

from am_ros.errors import AmRosError
from am_ros.ingest.storage.file import CDR, ROS1, Channel
from am_ros.ingest.storage.opening import ZSTD_MAGIC

_IDL_RULE = "=" * 80 + "\n"
_LARGEST, _PIECE = 1 << 28, 1 << 20  # of an unpacked message, and of its parts [bytes]


class Decoders:
    """Deserialises the messages of a bag's channels; of each definition the code is made once."""

    def __init__(self):
        self._made: dict[Channel, Callable] = {}

    @staticmethod
    def knows(encoding: str) -> bool:
        """Whether messages in that serialisation are read."""
        return encoding in (CDR, ROS1)

    def decode(self, channel: Channel, raw: bytes):
        """The message in `raw`; ValueError that says what is wrong if it is none.

        Raises AmRosError if nobody says what the type of the channel is.
        """
        make = self._made.get(channel)
        if make is None:
            make = self._made[channel] = _decoder(channel)
        if not raw:
            raise ValueError("a message of 0 bytes")
        if raw[:4] == ZSTD_MAGIC:
            raw = _unpacked(raw)
        if channel.encoding == CDR and (len(raw) < 4 or raw[0] != 0 or raw[1] > 1):
            raise ValueError(f"{len(raw)} bytes that do not begin as a message in CDR")
        try:
            return make(raw, channel.type_name)
        except Exception as error:  # whatever damaged input raises in generated code
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(f"{len(raw)} bytes are no {channel.type_name} ({reason})") from None


def _decoder(channel: Channel) -> Callable:
    made = _made_of(channel.encoding, channel.type_name, channel.definition_format, channel.definition)
    if isinstance(made, str):
        raise AmRosError(f"topic {channel.topic}: {made}")
    return made


@lru_cache(256)  # thousands of bags have the same few definitions
def _made_of(encoding: str, type_name: str, definition_format: str, definition: str) -> Callable | str:
    """The function that decodes, or why there is none."""
    usual = get_typestore(Stores.ROS1_NOETIC if encoding == ROS1 else Stores.ROS2_JAZZY)
    store = get_typestore(Stores.EMPTY)
    try:
        found = _definitions(type_name, definition_format, definition)
        store.register(found)
        if not _is_complete(store, type_name):
            store = get_typestore(Stores.EMPTY)
            store.register({**usual.fielddefs, **found})
    except Exception as error:  # the parser's own kinds
        if type_name not in usual.fielddefs:
            return f"the definition of {type_name} in the bag is none: {' '.join(str(error).split())}"
        store = usual
    if type_name not in store.fielddefs:
        return (
            f"the bag does not say what a {type_name} is; `ros2 bag convert` on a machine with that package adds it"
        )
    return store.deserialize_ros1 if encoding == ROS1 else store.deserialize_cdr


def _is_complete(store, type_name: str) -> bool:
    """Whether a store has a type with all that it is made of."""
    try:
        store.get_msgdef(type_name)
    except KeyError:
        return False
    return True


def _definitions(type_name: str, definition_format: str, definition: str) -> dict:
    if definition_format in ("ros2msg", "ros1msg"):
        return get_types_from_msg(definition, type_name)
    if definition_format in ("ros2idl", "omgidl"):
        return _types_of_idl(definition)
    return {}


def _types_of_idl(text: str) -> dict:
    """Definitions of an IDL text, or of several behind each other as rosbag2 writes them."""
    if not text.startswith(_IDL_RULE):
        return get_types_from_idl(text)
    found = {}
    for part in text.split(_IDL_RULE)[1:]:
        found.update(get_types_from_idl(part.partition("\n")[2]))
    return found


def _unpacked(raw: bytes) -> bytes:
    """A message that the recorder compressed by itself."""
    pieces, size = [], 0
    try:
        reader = zstandard.ZstdDecompressor().stream_reader(raw)
        while piece := reader.read(_PIECE):
            pieces.append(piece)
            size += len(piece)
            if size > _LARGEST:
                raise ValueError(f"{len(raw)} bytes of zstd that unpack to more than {_LARGEST}")
        return b"".join(pieces)
    except zstandard.ZstdError as error:
        raise ValueError(f"{len(raw)} bytes of zstd that cannot be unpacked ({error})") from None

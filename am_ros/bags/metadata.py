"""metadata.yaml of a bag of ours, as text.

It is written by hand, for a YAML library would take longer than the bag. So a reader that knows what the file holds
knows what its metadata.yaml has to say, letter by letter, and need not parse it either.
"""

import json
import re
from functools import lru_cache

from am_ros.bags.labels import LABEL

# Not printable in YAML, or a line break there.
_UNSAFE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
_CUSTOM, _AFTER_CUSTOM = "  custom_data:\n", "  ros_distro: jazzy\n"
_LABEL = re.compile(f'^    "{LABEL}": "([a-z]+)"\n', re.MULTILINE)
_OTHER_LABEL = re.compile(f"^ +'?{LABEL}'?:", re.MULTILINE)  # as a YAML library writes it


def metadata_text(
    file_name: str, topics: dict[str, tuple[str, str, int]], first_ns: int, last_ns: int, custom: dict[str, str]
) -> str:
    """rosbag2's metadata, version 9 (Jazzy), of a bag with one file.

    `topics`: type, REP 2016 hash and number of messages of each, in the order of their first messages.
    """
    duration, total = max(0, last_ns - first_ns), sum(count for _, _, count in topics.values())
    listed = "".join(
        f"  - topic_metadata:\n      name: {_quote(topic)}\n      type: {_quote(type_name)}\n"
        f"      serialization_format: cdr\n      offered_qos_profiles: []\n"
        f"      type_description_hash: {_quote(type_hash)}\n    message_count: {count}\n"
        for topic, (type_name, type_hash, count) in topics.items()
    )
    quoted = "".join(f"  {_quote(k)}: {_quote(v)}\n" for k, v in custom.items())
    return (
        f"version: 9\nstorage_identifier: mcap\nduration:\n  nanoseconds: {duration}\n"
        f"starting_time:\n  nanoseconds_since_epoch: {first_ns}\nmessage_count: {total}\n"
        f"topics_with_message_count:{chr(10) + listed if listed else ' []' + chr(10)}"
        f'compression_format: ""\ncompression_mode: ""\nrelative_file_paths:\n  - {file_name}\n'
        f"files:\n  - path: {file_name}\n    starting_time:\n      nanoseconds_since_epoch: {first_ns}\n"
        f"    duration:\n      nanoseconds: {duration}\n    message_count: {total}\n"
        f"custom_data:\n{quoted}ros_distro: jazzy\n"
    )


def in_file(text: str) -> str:
    """What metadata.yaml holds, of the text that the MCAP file holds too."""
    return "rosbag2_bagfile_information:\n" + "".join(f"  {line}\n" for line in text.splitlines())


def label_in_text(text: str) -> str | None:
    """The label in a metadata.yaml that this project wrote; None: it has none, or was not written here."""
    custom = text.rpartition(_CUSTOM)[2] if text.endswith(_AFTER_CUSTOM) else ""
    found = _LABEL.search(custom)
    return found and found[1]


def with_label(text: str, label: str) -> str | None:
    """A metadata.yaml that this project wrote with another label; None: it was not written here."""
    if not text.endswith(_AFTER_CUSTOM) or text.count(_CUSTOM) != 1:
        return None
    head, _, custom = text.rpartition(_CUSTOM)
    if _OTHER_LABEL.search(custom):
        return None
    line = f'    "{LABEL}": {_quote(label)}\n'
    changed, replaced = _LABEL.subn(lambda _: line, custom)
    return head + _CUSTOM + (changed if replaced else custom.removesuffix(_AFTER_CUSTOM) + line + _AFTER_CUSTOM)


@lru_cache(1024)  # topics, types and keys are the same in every bag
def _quote(text: str) -> str:
    """A YAML double-quoted scalar: JSON's, with what only YAML forbids escaped too."""
    return _UNSAFE.sub(lambda m: f"\\u{ord(m[0]):04x}", json.dumps(text, ensure_ascii=False))

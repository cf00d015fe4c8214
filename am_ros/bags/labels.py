"""What an operator says an episode is worth: good, bad, or nothing; a word in the metadata of its bag.

A logger that knows the label when it closes the bag writes it into the MCAP file and metadata.yaml alike. Later it is
changed in metadata.yaml alone, whose word counts: the MCAP file stays as it was recorded, checksums and all.
"""

from collections.abc import Collection, Mapping

from am_ros.errors import AmRosError

LABEL = "label"  # key in the metadata
GOOD, BAD, NONE = "good", "bad", "none"
LABELS = (GOOD, BAD, NONE)
DISCARDED = "discarded"  # asked for in place of a label: the bag is deleted


def check_label(label: str) -> str:
    """Return `label` if it is one; raise AmRosError otherwise."""
    if label not in LABELS:
        raise AmRosError(f"label {label!r}: is not one of {', '.join(LABELS)}")
    return label


def check_labels(labels: Collection[str]) -> frozenset[str]:
    """Labels to learn from, as a set; raises AmRosError if one is none, or if there are none."""
    if not labels:
        raise AmRosError(f"labels: name at least one of {', '.join(LABELS)}")
    return frozenset(map(check_label, labels))


def label_in(metadata: Mapping[str, str]) -> str:
    """The label in the metadata of an episode; raises AmRosError if it is none of LABELS."""
    return check_label(metadata.get(LABEL, NONE))


def without_label(metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata that is fixed when the bag is closed."""
    return {key: value for key, value in metadata.items() if key != LABEL}

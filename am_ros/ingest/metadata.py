"""metadata.yaml of a foreign bag: what it says is compared with the files, and never believed more than they are."""

from pathlib import Path

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SAID = 3  # topics whose counts differ; the others are counted


def compared(path: Path, there: list[Path], counts: dict[str, int], whole: bool) -> tuple[list[str], list[str]]:
    """What differs, as notes and as losses: a file that is named, and missed, is a loss.

    `there`: storage files in the folder. `counts`: messages by topic in them. `whole`: whether all of them was read,
    for else the counts have to differ.
    """
    try:
        content = yaml.load(path.read_bytes(), _LOADER)["rosbag2_bagfile_information"]
        named = [Path(str(name)).name for name in content.get("relative_file_paths") or []]
        listed = {str(t["topic_metadata"]["name"]): int(t["message_count"]) for t in _topics(content)}
    except (OSError, yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, AttributeError, ValueError):
        return [f"{path.name} is damaged: only the files themselves were read"], []
    names = {file.name for file in there} | {file.stem for file in there if file.suffix == ".zstd"}
    notes, lost = [], []
    missing = [name for name in named if name not in names]
    beside = [file.name for file in there if file.name not in named and file.stem not in named]
    if missing:
        sentence = f"{path.name} names {', '.join(missing)}, not there"
        if sum(listed.values()) > sum(counts.values()):
            lost.append(sentence)
        else:  # renamed, for nothing is missing
            notes.append(f"{sentence}; read instead: {', '.join(beside) or 'what is there'}")
    elif beside:
        notes.append(f"{path.name} does not name {', '.join(beside)}: read too, for the recorder died")
    elif whole:
        differ = [t for t in sorted(listed.keys() | counts.keys()) if listed.get(t, 0) != counts.get(t, 0)]
        notes += [
            f"{path.name} says {listed.get(t, 0)} messages on {t}, the files hold {counts.get(t, 0)}"
            for t in differ[:_SAID]
        ]
        if len(differ) > _SAID:
            notes.append(f"{path.name} is wrong about {len(differ) - _SAID} more topics")
    return notes, lost


def _topics(content: dict) -> list:
    return content.get("topics_with_message_count") or []

"""Label or delete a bag that is finished already."""

import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from am_ros.bags.finder import METADATA
from am_ros.bags.labels import LABEL, NONE, check_label, label_in
from am_ros.bags.metadata import with_label
from am_ros.bags.reader import BagReader
from am_ros.bags.writer import UNFINISHED, info_to_text, sync_folder
from am_ros.errors import AmRosError
from am_ros.paths import Folder


def label_of(bag: Folder) -> str:
    """The label of a finished bag, from metadata.yaml alone, so in a fraction of a millisecond.

    A bag without metadata.yaml has none. Raises AmRosError that names the bag if its metadata cannot be read.
    """
    reader = BagReader(bag)
    custom = (reader.metadata or {}).get("custom_data")
    try:
        return label_in(custom) if isinstance(custom, dict) else NONE
    except AmRosError as error:
        raise reader.error(str(error)) from None


def set_label(bag: Folder, label: str) -> None:
    """Change the label of a finished bag, durably: before this returns it is on the disk, and never half of it.

    Raises AmRosError that names the bag if it is not one of ours, or cannot be written.
    """
    check_label(label)
    reader = BagReader(bag)
    if reader.metadata is None:
        raise reader.error("has no metadata.yaml to label: `am-ros bags salvage` rebuilds it")
    path = reader.path / METADATA
    text = with_label(path.read_text(encoding="utf-8"), label)
    if text is None:
        text = _changed(reader, reader.metadata, label)
    temporary = path.with_name(".metadata.yaml.tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
        sync_folder(reader.path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise reader.error(f"cannot be labelled: {error.strerror}") from None


def _changed(reader: BagReader, metadata: dict[str, Any], label: str) -> str:
    """A metadata.yaml that others have written, `ros2 bag reindex` for instance, with the label."""
    custom = metadata.get("custom_data")
    if not isinstance(custom, dict):
        for _ in reader.messages():  # on the way to what the MCAP file says
            pass
        custom = info_to_text(reader.info())
    content = {**metadata, "custom_data": {**custom, LABEL: label}}
    return str(yaml.safe_dump({"rosbag2_bagfile_information": content}, sort_keys=False, allow_unicode=True))


def delete_bag(bag: Path) -> None:
    """Delete a finished bag. Killed meanwhile, it leaves an unfinished one, never half a bag of that name."""
    try:
        BagReader(bag)
        doomed = bag.with_name(bag.name + UNFINISHED)
        os.rename(bag, doomed)
        shutil.rmtree(doomed)
    except OSError as error:
        raise AmRosError(f"bag {bag}: cannot be deleted: {error.strerror}") from None

"""Recordings of known truth as files of every kind: MCAP and sqlite3, split, with metadata.yaml and options."""

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import yaml
from mcap.writer import CompressionType, Writer
from recordings import STORE


def raw(kind: str, message) -> bytes:
    """The message as CDR; bytes stay what they are."""
    return message if isinstance(message, bytes) else bytes(STORE.serialize_cdr(message, kind))


def write_mcap(path: Path, messages: list, profile: str = "ros2", encodings: dict | None = None, **options) -> Path:
    """An MCAP file of messages (topic, type, time of reception [s], message or bytes) in the order given.

    `encodings`: of the topics that are not CDR; their schema is none of ROS.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    schemas, channels, encodings = {}, {}, encodings or {}
    with open(path, "wb") as file:
        writer = Writer(file, **{"compression": CompressionType.ZSTD, **options})
        writer.start(profile, "foreign_files.py")
        for topic, kind, at, message in messages:
            told = encodings.get(topic, "cdr")
            if kind not in schemas:
                text = STORE.generate_msgdef(kind, ros_version=2)[0].encode() if told == "cdr" else b"{}"
                schemas[kind] = writer.register_schema(kind, "ros2msg" if told == "cdr" else "jsonschema", text)
            if (topic, kind) not in channels:
                channels[topic, kind] = writer.register_channel(topic, told, schemas[kind])
            writer.add_message(channels[topic, kind], round(at * 1e9), raw(kind, message), round(at * 1e9))
        writer.finish()
    return path


def write_db3(path: Path, messages: list, wal_after: int | None = None) -> Path:
    """A file of rosbag2's sqlite3; what comes after `wal_after` messages lies in the write-ahead file alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as database:
        if wal_after is not None:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA wal_autocheckpoint=0")
        database.executescript(
            "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,"
            " serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL);"
            "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER NOT NULL,"
            " data BLOB NOT NULL);"
        )
        topics = {}
        for number, (topic, kind, at, message) in enumerate(messages):
            if number == wal_after:
                database.commit()
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            if topic not in topics:
                topics[topic] = len(topics) + 1
                database.execute("INSERT INTO topics VALUES (?, ?, ?, ?, ?)", (topics[topic], topic, kind, "cdr", ""))
            row = topics[topic], round(at * 1e9), raw(kind, message)
            database.execute("INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, ?)", row)
        database.commit()
        if wal_after is not None:  # as a recorder that is killed leaves both files
            left = {end: Path(f"{path}{end}").read_bytes() for end in ("", "-wal")}
    if wal_after is not None:
        for end, content in left.items():
            Path(f"{path}{end}").write_bytes(content)
    return path


def write_metadata(folder: Path, files: list[Path], messages: list, **changes) -> Path:
    """metadata.yaml as rosbag2 writes it, with changes."""
    counts = Counter((topic, kind) for topic, kind, _, _ in messages)
    times = [round(at * 1e9) for _, _, at, _ in messages]
    begin, length = min(times), max(times) - min(times)
    span = {"starting_time": {"nanoseconds_since_epoch": begin}, "duration": {"nanoseconds": length}}
    content = {
        "version": 5, "storage_identifier": "sqlite3" if files[0].suffix == ".db3" else "mcap", **span,
        "message_count": len(messages),
        "topics_with_message_count": [
            {"topic_metadata": {"name": t, "type": k, "serialization_format": "cdr", "offered_qos_profiles": ""},
             "message_count": n} for (t, k), n in counts.items()
        ],
        "compression_format": "", "compression_mode": "", "relative_file_paths": [f.name for f in files],
        "files": [{"path": f.name, **span, "message_count": len(messages)} for f in files],
        **changes,
    }  # fmt: skip
    path = folder / "metadata.yaml"
    path.write_text(yaml.safe_dump({"rosbag2_bagfile_information": content}, sort_keys=False))
    return path


def write_bag(folder: Path, messages: list, suffix: str = ".mcap", splits: int = 1, metadata: bool = True) -> Path:
    """A folder with files of the messages, in the order of their reception."""
    messages = sorted(messages, key=lambda m: m[2])
    files, size = [], -(-len(messages) // splits)
    for number in range(splits):
        write = write_mcap if suffix == ".mcap" else write_db3
        part = messages[number * size : (number + 1) * size]
        files.append(write(folder / f"{folder.name}_{number}{suffix}", part))
    if metadata:
        write_metadata(folder, files, messages)
    return folder

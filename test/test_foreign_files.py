"""Files of foreign bags: each is read as far as it is whole, once, whatever lies beside it; what is not is named."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
import zstandard
from foreign_files import raw, write_bag, write_db3, write_mcap, write_metadata
from mcap.writer import CompressionType, IndexType
from recordings import (
    COMPRESSED,
    IMAGE,
    POSE,
    T0,
    camera,
    compressed,
    image,
    ingested,
    jpeg,
    make,
    picture,
    pose,
    poses,
    rules,
)

from am_ros import cli
from am_ros.action import ActionSpace
from am_ros.bags.episodes import read_episode
from am_ros.bags.salvage import salvage
from am_ros.errors import AmRosError
from am_ros.ingest.foreign import ForeignBag

LONG = "pick_red_cube_of_operator_anna_in_session_2024_05_01"
FOREIGN = Path(__file__).resolve().parents[2] / "shared" / "bags" / "rosbag2"


def demo(seconds: float = 6.0) -> list:
    return sorted(camera(seconds) + poses(seconds), key=lambda m: m[2])


def later(messages: list, seconds: float) -> list:
    """Messages of another recording: begun so much later."""
    moved = []
    for topic, kind, at, message in messages:
        stamp = message.header.stamp
        stamp = make("builtin_interfaces/msg/Time", sec=stamp.sec + int(seconds), nanosec=stamp.nanosec)
        head = make("std_msgs/msg/Header", stamp=stamp, frame_id=message.header.frame_id)
        fields = {k: getattr(message, k) for k in message.__dataclass_fields__ if not k.startswith("__")}
        moved.append((topic, kind, at + seconds, make(kind, **{**fields, "header": head})))
    return moved


def counts(bag) -> dict[str, int]:
    """Messages by topic as they are read, not as they are counted."""
    with ForeignBag(bag) as opened:
        found = dict.fromkeys(opened.topics, 0)
        for received in opened.messages(set(opened.topics)):
            found[received.topic] += 1
        assert {t.name: t.messages for t in opened.topics.values()} == found or opened.dropped or opened.lost
        return found


def notes(bag) -> str:
    with ForeignBag(bag) as opened:
        return "; ".join(opened.notes + opened.lost)


def made(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.is_dir())


def run(tmp_path, *paths, out="out", more=()) -> int:
    mapping = rules(tmp_path)
    arguments = [*map(str, paths), "--mapping", mapping.path, "--out", str(tmp_path / out), *more]
    return cli.main(["bags", "ingest", *arguments])


def test_files_that_metadata_does_not_name_are_read_and_named(tmp_path):
    """A recorder with splits died: metadata.yaml names the first file only (rosbag2 issue 1619)."""
    bag = write_bag(tmp_path / "rec", demo(9), splits=3)
    write_metadata(bag, [bag / "rec_0.mcap"], demo(3))
    assert counts(bag) == {"/cam": 90, "/pose": 450}
    assert "does not name rec_1.mcap, rec_2.mcap: read too" in notes(bag)
    (bag / "rec_1.mcap").unlink()
    write_metadata(bag, [bag / f"rec_{k}.mcap" for k in range(3)], demo(9))
    assert "names rec_1.mcap, not there" in notes(bag)


def test_each_bag_is_read_from_its_own_path(tmp_path, capsys):
    """SQLite takes `%20` in a URI for a space."""
    names = ["a b", "a%20b", "50%", "run#3", "what?", "set[1]", "Müller_Größe", "-dash"]
    for number, name in enumerate(names):
        write_db3(tmp_path / "in" / name / "bag_0.db3", demo(3 + number))
        assert counts(tmp_path / "in" / name)["/cam"] == 10 * (3 + number)
    assert run(tmp_path, tmp_path / "in") == 0
    assert len(made(tmp_path / "out")) == len(names)


def test_what_lies_in_the_write_ahead_file_of_a_killed_recorder_is_read_and_nothing_is_written_beside(tmp_path):
    for name, wal_after in (("some", 200), ("all", 0)):
        file = write_db3(tmp_path / name / "bag_0.db3", demo(6), wal_after=wal_after)
        before = {p.name: p.read_bytes() for p in file.parent.iterdir()}
        assert set(before) == {"bag_0.db3", "bag_0.db3-wal"} and len(before["bag_0.db3-wal"]) > 100_000
        assert counts(file.parent) == {"/cam": 60, "/pose": 300}
        assert {p.name: p.read_bytes() for p in file.parent.iterdir()} == before


def test_a_loose_file_hides_no_folder_and_links_are_followed(tmp_path, capsys):
    write_mcap(tmp_path / "mixed" / "extra.mcap", demo())
    for number, name in enumerate(("bag_a", "bag_b")):
        write_bag(tmp_path / "mixed" / name, later(demo(), 100 * (number + 1)))
    write_bag(tmp_path / "disk" / "linked", later(demo(), 500))
    (tmp_path / "mixed" / "bag_c").symlink_to(tmp_path / "disk" / "linked")
    (tmp_path / "mixed" / "notes.zip").write_bytes(b"PK")
    assert run(tmp_path, tmp_path / "mixed") == 0
    assert made(tmp_path / "out") == ["bag_a_0000", "bag_b_0000", "bag_c_0000", "mixed_0000"]
    assert "notes.zip: is an archive: unpack it" in capsys.readouterr().out
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    assert run(tmp_path, tmp_path / "link", out="out2") == 0


def test_one_of_five_loose_files_that_is_cut_off_costs_no_more_than_itself(tmp_path, capsys):
    for number in range(5):
        write_mcap(tmp_path / "loose" / f"demo_{number}.mcap", later(demo(), 100 * number), chunk_size=50_000)
    file = tmp_path / "loose" / "demo_2.mcap"
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    assert run(tmp_path, tmp_path / "loose") == 1
    printed = capsys.readouterr().out
    assert "LOST: demo_2.mcap: breaks off at byte" in printed and "`am-ros bags salvage`" in printed
    assert "0 bags refused, 1 read in part" in printed
    episodes = [read_episode(tmp_path / "out" / name, ActionSpace()) for name in made(tmp_path / "out")]
    assert [len(e) for e in episodes[:2] + episodes[-2:]] == [13] * 4
    file.write_bytes(b"")
    with ForeignBag(tmp_path / "loose") as bag:
        assert "demo_2.mcap: is empty" in bag.lost and bag.topics["/cam"].messages == 240


def test_files_of_one_folder_that_ran_at_the_same_time_are_one_stream(tmp_path):
    """A recorder per topic; and a copy that somebody made of one of them."""
    write_mcap(tmp_path / "both" / "arm.mcap", poses(6))
    write_mcap(tmp_path / "both" / "camera.mcap", camera(6))
    shutil.copy(tmp_path / "both" / "arm.mcap", tmp_path / "both" / "arm (copy).mcap")
    with ForeignBag(tmp_path / "both") as bag:
        times = [r.receive_ns for r in bag.messages({"/cam", "/pose"})]
        assert times == sorted(times) and len(times) == 360
        assert any("is a copy of" in note for note in bag.notes)
    assert len(ingested(tmp_path / "both", rules(tmp_path))[0]) == 1


def test_a_recording_is_ingested_once_wherever_it_lies_and_whatever_it_is_called(tmp_path, capsys):
    for number, session in enumerate(("monday", "tuesday")):
        write_bag(tmp_path / session / "rosbag2_0", later(demo(), 1000 * number))
    assert run(tmp_path, tmp_path / "monday") == 0 and made(tmp_path / "out") == ["rosbag2_0_0000"]
    assert run(tmp_path, tmp_path / "monday", tmp_path / "tuesday", more=["--workers", "2"]) == 0
    both = made(tmp_path / "out")
    assert len(both) == 2 and both[0] == "rosbag2_0_0000"
    for session in ("tuesday", "monday"):
        assert run(tmp_path, tmp_path / session, out="other") == 0
    assert len(made(tmp_path / "other")) == 2  # the same name from two sessions
    (tmp_path / "moved").mkdir()
    shutil.move(tmp_path / "monday", tmp_path / "moved")
    shutil.copytree(tmp_path / "tuesday", tmp_path / "moved" / "backup")
    capsys.readouterr()
    assert run(tmp_path, tmp_path / "moved", tmp_path / "tuesday") == 0 and made(tmp_path / "out") == both
    assert "is a copy of" in capsys.readouterr().out


def test_a_repaired_recording_adds_what_was_missing_and_nothing_twice(tmp_path):
    file = write_mcap(tmp_path / "in" / "rec" / "rec_0.mcap", demo() + later(demo(), 100), chunk_size=20_000)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) * 7 // 10])
    assert run(tmp_path, tmp_path / "in") == 1
    before = made(tmp_path / "out")
    file.write_bytes(whole)
    assert run(tmp_path, tmp_path / "in") == 0
    episodes = [read_episode(tmp_path / "out" / name, ActionSpace()) for name in made(tmp_path / "out")]
    assert before == ["rec_0000", "rec_0001"] and len(episodes) == 3  # the second one was short, and is whole now
    assert sorted({int(e.stamps_ns[0] // 10**9 - T0) for e in episodes}) == [0, 100]


def test_a_stopped_run_goes_on_and_another_mapping_is_refused(tmp_path, capsys):
    for number in range(3):
        write_bag(tmp_path / "in" / f"r{number}", later(demo(), 100 * number))
    assert run(tmp_path, tmp_path / "in") == 0
    ledger = tmp_path / "out" / "ingested.jsonl"
    lines = ledger.read_text().splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["r0", "r1", "r2"]
    ledger.write_text(lines[0] + "\n" + lines[1][:30])  # killed while it wrote
    shutil.rmtree(tmp_path / "out" / "r2_0000")
    capsys.readouterr()
    assert run(tmp_path, tmp_path / "in", more=["--workers", "2"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("was read by an earlier run") == 1 and "3 episodes" in printed
    assert made(tmp_path / "out") == ["r0_0000", "r1_0000", "r2_0000"]
    (tmp_path / "other").mkdir()
    mapping = rules(tmp_path / "other", steps={"time_s": 1.0})
    arguments = ["bags", "ingest", str(tmp_path / "in"), "--mapping", mapping.path, "--out", str(tmp_path / "out")]
    assert cli.main(arguments) == 1 and "is another episode, of another mapping" in capsys.readouterr().out
    assert cli.main([*arguments, "--prefix", "slow"]) == 0 and "slow_r0_0000" in made(tmp_path / "out")
    assert cli.main([*arguments, "--prefix", "a/b"]) == 2


@pytest.mark.parametrize("first, second", [
    (f"{LONG}-10_00", f"{LONG}-11_30"), ("demo 1", "demo_1"), ("赤い箱", "青い箱"),
])  # fmt: skip
def test_names_that_differ_in_what_an_episode_cannot_have_do_not_collide(tmp_path, first, second):
    for number, name in enumerate((first, second)):
        write_bag(tmp_path / "in" / name, later(demo(), 100 * number))
    assert run(tmp_path, tmp_path / "in") == 0 and len(made(tmp_path / "out")) == 2


def _change_qos(content):
    for topic in content["topics_with_message_count"]:
        topic["topic_metadata"]["offered_qos_profiles"] = "- durability: 1\n  nonsense: [1"


def _change_counts(content):
    for topic in content["topics_with_message_count"]:
        topic["message_count"] += 1


@pytest.mark.parametrize("change, told", [
    (lambda c: c.update(storage_identifier=""), ""),  # after a reindex: rosbag2 issue 2175
    (_change_qos, ""), (lambda c: c.update(version=10), ""), (lambda c: c.update(compression_mode="message"), ""),
    (_change_counts, "metadata.yaml says 61 messages on /cam, the files hold 60"),
    (lambda c: c.update(topics_with_message_count=[], message_count=0), "metadata.yaml says 0 messages on /cam"),
    (lambda c: c.update(relative_file_paths=["old_0.mcap"]), "names old_0.mcap, not there; read instead: bag_0.mcap"),
    (lambda c: c.update(relative_file_paths=None), "does not name bag_0.mcap"),
    (lambda c: c.update(topics_with_message_count=7), "metadata.yaml is damaged"),
])  # fmt: skip
def test_metadata_yaml_is_compared_and_not_believed(tmp_path, change, told):
    bag = write_bag(tmp_path / "bag", demo())
    content = yaml.safe_load((bag / "metadata.yaml").read_text())
    change(content["rosbag2_bagfile_information"])
    (bag / "metadata.yaml").write_text(yaml.safe_dump(content))
    assert counts(bag) == {"/cam": 60, "/pose": 300}
    assert (told in notes(bag)) if told else not notes(bag)
    (bag / "metadata.yaml").write_text("rosbag2_bagfile_information: [")
    assert counts(bag)["/cam"] == 60 and "is damaged" in notes(bag)


@pytest.mark.parametrize("options", [
    {"profile": ""}, {"index_types": IndexType.NONE}, {"use_chunking": False}, {"use_statistics": False},
    {"repeat_channels": False, "repeat_schemas": False}, {"use_summary_offsets": False},
    {"compression": CompressionType.NONE}, {"compression": CompressionType.LZ4}, {"enable_crcs": False},
    {"chunk_size": 2_000},
])  # fmt: skip
def test_an_mcap_file_is_read_whatever_of_its_index_the_writer_left_out(tmp_path, options):
    write_mcap(tmp_path / "bag" / "bag_0.mcap", demo(), **options)
    assert counts(tmp_path / "bag") == {"/cam": 60, "/pose": 300}
    assert len(ingested(tmp_path / "bag", rules(tmp_path))[0]) == 1


def test_messages_that_are_none_cost_themselves_and_are_counted_with_topic_and_reason(tmp_path):
    whole = raw(IMAGE, image(T0 + 3.05, picture(0.5)))
    odd = [("/pose", POSE, T0 + 3.005, b""), ("/cam", IMAGE, T0 + 3.06, whole[:5000]), ("/notes", "note", T0, b"{}")]
    messages = sorted(demo() + odd, key=lambda m: m[2])
    write_mcap(tmp_path / "bag" / "bag_0.mcap", messages, encodings={"/notes": "json"})
    episodes, report = ingested(tmp_path / "bag", rules(tmp_path))
    assert [len(e) for e in episodes] == [13]
    of_poses, of_images = (f"messages on {topic} that cannot be read" for topic in ("/pose", "/cam"))
    assert report.dropped[of_poses] == report.dropped[of_images] == 1
    assert report.dropped.first[of_poses] == "/pose 1750000003.005 s, in bag_0.mcap: a message of 0 bytes"
    assert "5000 bytes are no sensor_msgs/msg/Image" in report.dropped.first[of_images]
    with pytest.raises(AmRosError, match="topic /notes is serialised as 'json': only cdr and ros1 are read"):
        ingested(tmp_path / "bag", rules(tmp_path, image={"topic": "/notes"}))


def test_what_the_recorder_compressed_is_read_with_and_without_metadata(tmp_path):
    pack = zstandard.ZstdCompressor().compress
    packed = [(topic, kind, at, pack(raw(kind, message))) for topic, kind, at, message in demo()]
    write_mcap(tmp_path / "messages" / "m_0.mcap", packed)
    assert counts(tmp_path / "messages") == {"/cam": 60, "/pose": 300}
    for write, suffix in ((write_mcap, ".mcap"), (write_db3, ".db3")):
        file = write(tmp_path / f"file{suffix}" / f"f_0{suffix}", demo())
        Path(f"{file}.zstd").write_bytes(pack(file.read_bytes()))
        assert counts(file.parent) == {"/cam": 60, "/pose": 300}  # unpacked and packed: once
        file.unlink()
        assert counts(file.parent) == {"/cam": 60, "/pose": 300}


def test_log_times_of_zero_spoil_neither_order_nor_what_topics_prints(tmp_path, capsys):
    some = [(t, k, 0.0 if at < T0 + 1 else at, m) for t, k, at, m in demo()]
    write_mcap(tmp_path / "some" / "s_0.mcap", some)
    write_mcap(tmp_path / "all" / "a_0.mcap", [(t, k, 0.0, m) for t, k, _, m in demo()])
    write_db3(tmp_path / "db" / "d_0.db3", some)
    for name, seconds in (("some", "5.0 s"), ("all", "0.0 s"), ("db", "5.0 s")):
        assert cli.main(["bags", "topics", str(tmp_path / name)]) == 0
        printed = capsys.readouterr().out
        assert seconds in printed and "messages have a time of reception of zero" in printed
        assert [len(e) for e in ingested(tmp_path / name, rules(tmp_path))[0]] == [13]


@pytest.mark.parametrize("pad", [1, 4000])
def test_a_jpeg_padded_with_zeros_and_an_image_with_a_step_of_zero_are_read(tmp_path, pad):
    def padded(t, rgb):
        return compressed(t, jpeg(rgb[..., ::-1]) + bytes(pad), "rgb8; jpeg compressed bgr8")

    bag = write_bag(tmp_path / "jpeg", camera(6, draw=padded, kind=COMPRESSED) + poses(6))
    assert [len(e) for e in ingested(bag, rules(tmp_path))[0]] == [13]

    def stepless(t, rgb):
        message = image(t, rgb)
        message.step = 0
        return message

    bag = write_bag(tmp_path / "step", camera(6, draw=stepless) + poses(6))
    assert [len(e) for e in ingested(bag, rules(tmp_path))[0]] == [13]


def test_what_cannot_be_decoded_is_told_with_topic_and_stamp(tmp_path):
    def cut(t, rgb):
        data = jpeg(rgb[..., ::-1])
        return compressed(t, data if t > T0 + 3 else data[:-40], "rgb8; jpeg compressed bgr8")

    bag = write_bag(tmp_path / "bag", camera(6, draw=cut, kind=COMPRESSED) + poses(6))
    episodes, report = ingested(bag, rules(tmp_path))
    (reason,) = (r for r in report.dropped if r.startswith("images:"))
    sentence = report.dropped.first[reason]
    assert "is cut short at " in sentence and "/cam" in sentence and "1750000000.0" in sentence
    assert len(episodes) == 1 and episodes[0].stamps_ns[0] > (T0 + 3) * 1e9
    turned = [(t, k, at, pose(at, (0.5, 0, 0.2), (0, 0, 0, 0))) for t, k, at, _ in poses(6)]
    _, report = ingested(write_bag(tmp_path / "turned", camera(6) + turned), rules(tmp_path))
    assert "quaternion is zero" in report.hint + " ".join(report.dropped.first.values())


def test_empty_folders_and_files_are_refused_by_name(tmp_path, capsys):
    (tmp_path / "e1").mkdir()
    for name in ("e2/a.mcap", "e3/a.db3", "e4/metadata.yaml", "e5/a.bag", "e6/a.mcap.zstd"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"")
    assert cli.main(["bags", "topics", str(tmp_path / "e1")]) == 2 and "holds no bag" in capsys.readouterr().err
    reasons = {"e2": "a.mcap: is empty", "e3": "a.db3: is empty", "e4": "only metadata.yaml", "e5": "is empty"}
    reasons["e6"] = "is empty"
    for name, told in reasons.items():
        assert cli.main(["bags", "topics", str(tmp_path / name)]) == 1
        assert told in capsys.readouterr().out
        assert run(tmp_path, tmp_path / name) == 1 and told in capsys.readouterr().out


def test_salvage_makes_a_proper_bag_of_a_foreign_one(tmp_path):
    messages = [*demo(), ("/notes", "note", T0 + 9, b"{}")]
    file = tmp_path / "a recording" / "rec_0.mcap"
    write_mcap(file, messages, encodings={"/notes": "json"}, chunk_size=20_000)
    data = file.read_bytes()
    file.write_bytes(data[: len(data) * 2 // 3])
    result = salvage(tmp_path / "a recording", tmp_path / "out")
    assert result.path.name == "a_recording" and result.messages > 150 and result.damage
    assert not notes(result.path) and len(ingested(result.path, rules(tmp_path))[0]) == 1


@pytest.mark.skipif(not FOREIGN.is_dir(), reason="bags of other projects are not here")
def test_bags_of_rosbag2s_own_tests_are_listed(capsys):
    assert cli.main(["bags", "topics", str(FOREIGN)]) == 0
    printed = capsys.readouterr().out
    for told in ("wbag: rosbag2 mcap", "6074 messages", "3177 messages", "serialised as wrong_format", "/msg/Arrays"):
        assert told in printed

"""Shards of a replay store: bounded, whole in themselves, checked; what is damaged is named and the others are used."""

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from learning_data import random_episodes

from am_ros import images
from am_ros.errors import AmRosError
from am_ros.replay import shard_set
from am_ros.replay.arrays import Rows
from am_ros.replay.columns import Column
from am_ros.replay.memory import memory_bytes
from am_ros.replay.sampling import GoalConfig, Sampler
from am_ros.replay.spans import Spans
from am_ros.replay.store import ReplayStore

EPISODE_MB = 7 * 16 * 16 * 3 / 1e6


def _store(folder, episodes=12, per_shard=4, **options):
    store = ReplayStore.create(folder, (16, 16), shard_mb=per_shard * EPISODE_MB * 1.3, **options)
    store.append(random_episodes(episodes, steps=6, size=16))
    return store


def _shards(store):
    return sorted(p.name for p in store.folder.glob("shard_*"))


def _batch(store, step=0, **goals):
    return Sampler(store, GoalConfig(**goals), 32, seed=1).batch(step)


def test_shards_are_bounded_and_hold_together_what_one_would(tmp_path):
    one, many = _store(tmp_path / "one", per_shard=100), _store(tmp_path / "many")
    assert len(_shards(one)) == 1 and len(_shards(many)) >= 3
    assert all(sum(f.stat().st_size for f in s.iterdir()) < 60_000 for s in many.folder.glob("shard_*"))
    assert [e["id"] for e in one.episodes] == [e["id"] for e in many.episodes]
    assert one.data_hash == many.data_hash and many.summary() == one.summary()
    for step in range(3):  # the same draws, however the rows are spread
        for name, value in vars(_batch(one, step, held_out_share=0.2)).items():
            np.testing.assert_array_equal(value, getattr(_batch(many, step, held_out_share=0.2), name))


def test_only_some_shards_are_opened_where_each_process_learns_from_its_own(tmp_path):
    store = _store(tmp_path / "s")
    parts = [ReplayStore.open(store.folder, shards=slice(rank, None, 2)) for rank in range(2)]
    assert sorted(e["id"] for part in parts for e in part.episodes) == sorted(e["id"] for e in store.episodes)
    assert len(ReplayStore.open(store.folder, shards=range(0, 99, 50)).episodes) == len(
        ReplayStore.open(store.folder, shards=[0]).episodes
    )
    own = {image.tobytes() for image in parts[0].observations}
    assert {image.tobytes() for image in _batch(parts[0], random_shift_px=0).goal_image} <= own
    with pytest.raises(AmRosError, match="only some of its shards are open"):
        parts[0].append(random_episodes(20, steps=6, size=16))


@pytest.mark.parametrize("column", ["rows", "observations", "steps", "names"])
def test_a_flipped_bit_is_named_and_the_other_shards_are_used(tmp_path, column, caplog):
    store = _store(tmp_path / "s")
    store.close_shard()
    path = store.folder / "shard_000001" / f"{column}.npy"
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)
    damaged = ReplayStore.open(store.folder)
    bad = {image.tobytes() for image in ReplayStore.open(store.folder, shards=[0, 2]).observations}
    for step in range(4):
        batch = _batch(damaged, step, random_shift_px=0, held_out_share=0.1)
        assert {image.tobytes() for image in batch.image} <= bad
    assert f"shard_000001/{column}.npy: is damaged at byte 0" in caplog.text
    assert "is left out, the other shards are used" in caplog.text
    assert ReplayStore.open(store.folder).check()[0].endswith(f"{column}.npy: is damaged at byte 0")


def test_whatever_bit_of_a_store_is_flipped_it_is_named_or_changes_no_picture(tmp_path, caplog):
    store = _store(tmp_path / "s")
    store.close_shard()
    whole = {image.tobytes() for image in store.observations}
    rng = np.random.default_rng(0)
    for path in (p for p in sorted(store.folder.rglob("*")) if p.is_file()):
        content = path.read_bytes()
        # NumPy parses the header of a .npy file as Python, which fails in many ways.
        places = range(len(content)) if path.name == "store.json" else rng.integers(0, min(len(content), 200), 25)
        for at in places:
            path.write_bytes(content[:at] + bytes([content[at] ^ 1 << int(rng.integers(8))]) + content[at + 1 :])
            caplog.clear()
            try:
                found = ReplayStore.open(store.folder)
                drawn = {image.tobytes() for image in _batch(found, random_shift_px=0).image}
                named = found.check() + caplog.messages
                assert drawn <= whole and (named or path.name in ("store.json", "shard.json")), (path, at)
            except AmRosError as error:
                assert "store.json" in str(error) or str(store.folder) in str(error)
        path.write_bytes(content)


def test_a_shard_that_is_gone_or_of_another_store_costs_itself_alone(tmp_path, caplog):
    store = _store(tmp_path / "s")
    store.close_shard()
    (store.folder / "shard_000000" / "steps.npy").write_bytes(b"")
    about = store.folder / "shard_000001" / "shard.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"action_dim": 3}))
    left = ReplayStore.open(store.folder)
    assert 0 < len(left.episodes) < 12 and len(_batch(left)) == 32
    assert "steps.npy: has another length" in caplog.text and "is a shard of another store" in caplog.text


def test_images_are_kept_as_the_files_of_the_bag_and_give_the_same_pixels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    files = [images.encode_jpeg(image) for image in pixels]
    decoded = np.stack([images.decode(file) for file in files])
    info = random_episodes(1, steps=2, size=16)[0].info
    rows = Rows(info, decoded, np.zeros((3, 6), np.float32), np.zeros((2, 7), np.float32), [files[0], files[1], None])
    store = ReplayStore.create(tmp_path / "s", (16, 16), images="png")
    store.append_rows([rows])
    np.testing.assert_array_equal(ReplayStore.open(store.folder).observations, decoded)
    held = (store.folder / "shard_000000" / "frames.npy").read_bytes()
    assert files[0] + files[1] in held and files[2] not in held and b"PNG" in held


WRITER = """
import sys
sys.path.insert(0, "test")
from learning_data import random_episodes
from am_ros.replay.store import ReplayStore
store = ReplayStore.open(sys.argv[1])
episodes = random_episodes(4000, steps=6, size=16)
print("ready", flush=True)
for start in range(0, 4000, 3):
    store.append(episodes[start:start + 3])
"""


def test_a_writer_that_is_killed_at_any_moment_leaves_whole_episodes_and_the_next_goes_on(tmp_path):
    store = ReplayStore.create(tmp_path / "s", (16, 16), shard_mb=10 * EPISODE_MB)
    expected = {e.info.episode_id: e for e in random_episodes(4000, steps=6, size=16)}
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(store.folder)], stdout=subprocess.PIPE)
    assert writer.stdout.readline() == b"ready\n"
    time.sleep(0.05 + np.random.default_rng().random() * 0.1)  # wherever that is
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    again = ReplayStore.open(store.folder)
    count = len(again.episodes)
    for entry in again.episodes[-8:]:
        rows = slice(entry["first"], entry["first"] + 7)
        np.testing.assert_array_equal(again.observations[rows], expected[entry["id"]].images)
    again.append(list(expected.values())[: count + 2])
    assert len(ReplayStore.open(store.folder).episodes) == count + 2 and not again.check()


def _old_store(folder, episodes):
    """A store of format 2, as version 0.1 wrote it."""
    folder.mkdir()
    (folder / "store.json").write_text(json.dumps({"format": 1, "image_size": [16, 16]}))
    lines, row = [], 0
    one = ReplayStore.create(folder.parent / "hashes", (16, 16))
    one.append(episodes)
    for name, part in (("images.u8", "images"), ("states.f32", "states")):
        (folder / name).write_bytes(b"".join(getattr(e, part).tobytes() for e in episodes) + b"half a row")
    actions = [np.concatenate([e.actions, np.zeros((1, 7), np.float32)]).tobytes() for e in episodes]
    (folder / "actions.f32").write_bytes(b"".join(actions))
    for episode, entry in zip(episodes, one.episodes):
        lines.append(json.dumps({**entry, "first": row, "bag": "1-ab"}))
        row += len(episode) + 1
    (folder / "episodes.jsonl").write_text("\n".join(lines) + '\n{"id": "half a li')
    return one


def test_a_store_of_an_older_version_opens_and_says_so(tmp_path, caplog):
    expected = _old_store(tmp_path / "s", random_episodes(5, steps=6, size=16))
    (tmp_path / "s" / "shard_000000").mkdir()  # of a conversion that was killed
    store = ReplayStore.open(tmp_path / "s")
    assert "is a replay store of format 1: its 5 episodes are made anew" in caplog.text
    assert store.data_hash == expected.data_hash and store.entry(store.episodes[0]["id"])["bag"] == "1-ab"
    np.testing.assert_array_equal(store.observations, expected.observations)
    np.testing.assert_array_equal(store.actions, expected.actions)
    assert not (tmp_path / "s" / "images.u8").exists() and len(ReplayStore.open(tmp_path / "s").episodes) == 5


def test_an_old_store_whose_rows_are_not_those_that_went_in_is_refused(tmp_path):
    _old_store(tmp_path / "s", random_episodes(5, steps=6, size=16))
    path = tmp_path / "s" / "images.u8"
    path.write_bytes(b"x" + path.read_bytes()[1:])
    with pytest.raises(AmRosError, match="its rows are not those that went in"):
        ReplayStore.open(tmp_path / "s")


def test_numbers_find_their_rows_whatever_the_lengths():
    rng = np.random.default_rng(0)
    for longest in (1, 2, 40, 3000):
        lengths = rng.integers(0, longest + 1, 200)
        lengths[7] = longest
        first = np.cumsum(lengths + 3) - lengths
        expected = np.concatenate([np.arange(f, f + n) for f, n in zip(first, lengths)])
        spans = Spans(first, lengths)
        np.testing.assert_array_equal(spans.all(), expected)
        rows, begins, ends = spans.within(np.arange(len(spans)))
        np.testing.assert_array_equal(rows, expected)
        np.testing.assert_array_equal(begins, np.repeat(first, lengths))
        np.testing.assert_array_equal(ends, np.repeat(first + lengths, lengths))
    assert len(Spans(np.zeros(0, int), np.zeros(0, int))) == 0


@pytest.mark.parametrize("images", ["raw", "png"])
def test_a_store_larger_than_the_memory_gives_the_same_batches_and_asks_for_all_rows(tmp_path, monkeypatch, images):
    store = _store(tmp_path / "s", images=images)
    store.close_shard()
    fits = ReplayStore.open(store.folder)
    monkeypatch.setattr(shard_set, "memory_bytes", lambda: 1000)
    large, asked = ReplayStore.open(store.folder), []
    real = Column.will_need_bytes

    def ask(column, begin, end):
        asked.append(len(begin))
        real(column, begin, end)

    monkeypatch.setattr(Column, "will_need_bytes", ask)
    for step in range(3):
        for name, value in vars(_batch(large, step)).items():
            np.testing.assert_array_equal(value, getattr(_batch(fits, step), name))
    assert sum(asked) >= 3 * 3 * 32, "observation, next one and goal of each item"
    asked.clear()
    _batch(fits)
    assert not asked


def test_rows_that_lie_near_are_one_request_to_the_disk(tmp_path):
    """A request costs more than some rows read along: the observations of an episode are one."""
    column = Column(tmp_path / "pictures.npy", np.uint8, (64, 64, 3))
    column.create()
    column.commit(column.write([np.zeros((60, 64, 64, 3), np.uint8)]))
    column.scatter(True)
    column.take(np.arange(1))  # maps it
    requests = []
    column._mapped = SimpleNamespace(madvise=lambda advice, first, length: requests.append((first, first + length)))
    rows = np.array([50, 4, 0, 2, 51])
    column.will_need(rows)
    assert len(requests) == 2
    begin, end = column.place(rows), column.place(rows + 1)
    asked = [any(first <= a and b <= last for first, last in requests) for a, b in zip(begin, end, strict=True)]
    assert all(asked) and sum(last - first for first, last in requests) < 8.5 * column.row_bytes


def test_the_memory_is_that_of_the_smallest_group_of_the_process(tmp_path):
    machine = memory_bytes(tmp_path / "none", tmp_path)
    assert machine > 1e8
    groups, limits = tmp_path / "cgroup", tmp_path / "sys"
    for place, text in (("a/memory.max", "max"), ("a/b/memory.max", "5000"), ("a/b/c/memory.max", "7000")):
        (limits / place).parent.mkdir(parents=True, exist_ok=True)
        (limits / place).write_text(text + "\n")
    groups.write_text("0::/a/b/c\n")
    assert memory_bytes(groups, limits) == 5000
    groups.write_text("0::/a\n")
    assert memory_bytes(groups, limits) == machine
    (limits / "memory" / "job").mkdir(parents=True)
    (limits / "memory" / "job" / "memory.limit_in_bytes").write_text("9000\n")
    groups.write_text("4:memory:/job\n3:cpu,cpuacct:/other\n0::/\n")
    assert memory_bytes(groups, limits) == 9000

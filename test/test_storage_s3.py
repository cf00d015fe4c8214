"""Bags and replay stores on S3: against a real server on this host, also where requests fail."""

import json

import numpy as np
import pytest
from bag_data import make_episode
from learning_data import random_episodes

from am_ros import cli
from am_ros.action import ActionSpace
from am_ros.bags.episodes import write_episode
from am_ros.errors import AmRosError
from am_ros.replay import elsewhere
from am_ros.replay.from_bags import ingest
from am_ros.replay.store import ReplayStore
from am_ros.storage import remote
from am_ros.storage.cache import Cache
from am_ros.storage.remote import Remote

pytest.importorskip("s3fs", reason="extra `cloud`")
pytest.importorskip("moto", reason="extra `test`")
SPACE = ActionSpace()
BAGS = 6


@pytest.fixture(scope="module")
def server():
    from am_ros.faults.object_store import S3Server

    server = S3Server()
    yield server
    server.close()


@pytest.fixture
def s3(server, monkeypatch, tmp_path, request):
    """The URL of an empty bucket; waits are short, and this test has a cache of its own."""
    import fsspec

    for name, value in (("ENDPOINT_URL", server.url), ("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b"),
                        ("DEFAULT_REGION", "us-east-1")):  # fmt: skip
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AM_ROS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "_TRIES", 3)
    retries = {"mode": "standard", "total_max_attempts": 8}
    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": {"retries": retries}})
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda self, context: 0.01)
    bucket = f"b-{abs(hash(request.node.name))}"
    fsspec.filesystem("s3", skip_instance_cache=True).mkdir(bucket)
    yield f"s3://{bucket}"
    fsspec.core.url_to_fs("s3://x")[0].clear_instance_cache()


@pytest.fixture(scope="module")
def bags(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bags")
    for number in range(BAGS):
        write_episode(make_episode(f"e{number}", steps=2, seed=number), folder / f"part_{number % 2}", SPACE)
    return folder


def _upload(bags, url):
    names = sorted(str(p.relative_to(bags)) for p in bags.rglob("*") if p.is_file())
    Remote(url).put(bags, names)


def test_bags_are_read_once_each_while_a_fifth_of_all_requests_fails(s3, server, bags, tmp_path):
    _upload(bags, f"{s3}/bags")
    expected = ReplayStore.create(tmp_path / "expected", (64, 64))
    ingest(bags, expected, SPACE)
    store = ReplayStore.create(tmp_path / "store", (64, 64))
    with server.fail(0.2, "500"):
        report = ingest(f"{s3}/bags", store, SPACE)
        assert server.failed
        again = ingest(f"{s3}/bags", ReplayStore.open(tmp_path / "store"), SPACE)
    assert (report.added, report.refused, again.added, again.known) == (BAGS, {}, 0, BAGS)
    assert store.data_hash == expected.data_hash
    assert [e["id"] for e in store.episodes] == [e["id"] for e in expected.episodes]


def test_a_body_that_breaks_off_is_fetched_again_and_named_if_it_always_does(s3, server, bags, tmp_path):
    _upload(bags, f"{s3}/bags")
    store = ReplayStore.create(tmp_path / "store", (64, 64))
    with server.fail(1.0, "cut", only="e3_0.mcap"):
        report = ingest(f"{s3}/bags", store, SPACE)
    assert report.added == BAGS - 1 and len(report.refused) == 1
    (place, sentence), = report.refused.items()
    assert place == f"{s3}/bags/part_1/e3" and f"{s3}/bags/part_1/e3/e3_0.mcap: " in sentence
    assert ingest(f"{s3}/bags", store, SPACE).added == 1


@pytest.mark.parametrize("how,expected", [
    ("expired", "the credentials have expired"), ("500", "Internal"), ("slow", "does not answer in time"),
])  # fmt: skip
def test_what_fails_for_good_is_one_sentence_that_names_the_url(s3, server, bags, how, expected, monkeypatch, capsys):
    import fsspec

    short = {"read_timeout": 0.2, "retries": {"mode": "standard", "total_max_attempts": 2}}
    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": short})
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    with server.fail(1.0, how):
        assert cli.main(["store", "check", f"{s3}/replay"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"am-ros: {s3}/replay: ") and expected in error and error.count("\n") == 1


def _pushed(s3, tmp_path):
    store = ReplayStore.create(tmp_path / "store", (16, 16), shard_mb=0.03)
    store.append(random_episodes(12, steps=6, size=16))
    store.close_shard()
    return store, elsewhere.push(store.folder, f"{s3}/replay")


def test_a_store_is_pushed_once_and_learned_from_where_it_lies(s3, server, tmp_path, capsys):
    with server.fail(0.2, "500"):
        store, count = _pushed(s3, tmp_path)
        assert count > 2 and elsewhere.push(store.folder, f"{s3}/replay") == 0
        there = ReplayStore.open(f"{s3}/replay")
    assert there.data_hash == store.data_hash
    np.testing.assert_array_equal(there.observations, store.observations)
    with pytest.raises(AmRosError, match="only some of its shards are open"):
        there.append(random_episodes(13, steps=6, size=16))
    part = ReplayStore.open(f"{s3}/replay", shards=slice(1, None, 2))
    assert 0 < len(part.episodes) < 12
    assert cli.main(["store", "check", f"{s3}/replay"]) == 0
    assert "12 of 12 episodes are whole" in capsys.readouterr().out


def test_a_store_larger_than_the_cache_is_refused_before_anything_is_fetched(s3, tmp_path, monkeypatch):
    _pushed(s3, tmp_path)
    monkeypatch.setenv("AM_ROS_CACHE_GB", "0.00004")
    with pytest.raises(AmRosError, match=f"{s3}/replay: .* do not fit a cache of 4e-05 GB .*AM_ROS_CACHE_GB"):
        ReplayStore.open(f"{s3}/replay")
    assert not list((tmp_path / "cache").rglob("*.npy"))


def test_the_cache_stays_below_its_size_and_a_full_disk_is_named(s3, bags, tmp_path, monkeypatch):
    _upload(bags, f"{s3}/bags")
    size = sum(f.stat().st_size for f in (bags / "part_0" / "e0").iterdir())
    monkeypatch.setenv("AM_ROS_CACHE_GB", str(2.5 * size / 1e9))
    report = ingest(f"{s3}/bags", ReplayStore.create(tmp_path / "store", (64, 64)), SPACE)
    assert report.added == BAGS and Cache().limit < BAGS * size
    assert sum(f.stat().st_size for f in (tmp_path / "cache").rglob("*") if f.is_file()) <= 2.6 * size
    monkeypatch.setenv("AM_ROS_CACHE", str(tmp_path / "other"))
    monkeypatch.setattr("os.statvfs", lambda path: type("Full", (), {"f_bavail": 0, "f_frsize": 4096})())
    report = ingest(f"{s3}/bags", ReplayStore.create(tmp_path / "full", (64, 64)), SPACE)
    assert report.added == 0
    assert all(f"{s3}/bags/" in s and "is full: No space left" in s for s in report.refused.values())


def test_without_the_packages_a_url_is_one_sentence(monkeypatch, tmp_path):
    import fsspec

    def missing(url, **options):
        raise ImportError("Install s3fs")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(AmRosError, match=r"s3://bucket/bags: needs .*pip install 'am_ros\[cloud\]'"):
        Remote("s3://bucket/bags").files()


def test_any_url_that_fsspec_opens_will_do(tmp_path, bags, monkeypatch):
    monkeypatch.setenv("AM_ROS_CACHE", str(tmp_path / "cache"))
    store = ReplayStore.create(tmp_path / "store", (64, 64))
    assert ingest(f"file://{bags}", store, SPACE).added == BAGS
    with pytest.raises(AmRosError, match="gone: is not there, or empty"):
        ingest(f"file://{bags}/gone", store, SPACE)


@pytest.mark.slow
def test_a_collection_goes_to_a_url_and_goes_on_from_another_machine(s3, server, tmp_path, monkeypatch):
    command = ["collect", "--task", "reach", "--seed", "3"]
    assert cli.main([*command, "--episodes", "4", "--out", str(tmp_path / "here")]) == 0
    with server.fail(0.1, "500"):
        assert cli.main([*command, "--episodes", "2", "--out", f"{s3}/data"]) == 0
    assert not list((tmp_path / "cache").rglob("*.mcap"))  # here stays only what tells of them
    monkeypatch.setenv("AM_ROS_CACHE", str(tmp_path / "another"))
    assert cli.main([*command, "--episodes", "4", "--out", f"{s3}/data"]) == 0
    card = json.loads(Remote(f"{s3}/data").read("card.json"))
    assert card["hash"] == json.loads((tmp_path / "here" / "card.json").read_text())["hash"]
    stores = [ReplayStore.create(tmp_path / name, (64, 64)) for name in "ab"]
    for place, store in zip((tmp_path / "here", f"{s3}/data"), stores):
        assert ingest(place, store, SPACE).added == 4
    assert stores[0].data_hash == stores[1].data_hash

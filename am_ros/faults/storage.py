"""Data that lie elsewhere: an object store that fails, a cache whose disk is full, a shard with a flipped bit."""

import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from am_ros.action import ActionSpace
from am_ros.bags.episodes import write_episode
from am_ros.errors import AmRosError
from am_ros.faults.bench import Bench
from am_ros.faults.disk import mount_small
from am_ros.faults.suite import Result
from am_ros.faults.synthetic import flip_bit, make_episode
from am_ros.replay.sampling import GoalConfig, Sampler
from am_ros.replay.store import ReplayStore

FAILING = 0.2
CACHE_MB = 1  # less than the bags of the full version need together
_PUT = """import sys, fsspec
fs = fsspec.filesystem("s3")
fs.mkdir(sys.argv[2])
fs.put(sys.argv[1], sys.argv[2], recursive=True)"""
_BUILT = re.compile(r": (\d+) episodes, (\d+) transitions, (\d+) bags refused")


class _ObjectStore:
    """A bucket with the episodes e0 ... of `count` bags, and the command that reads them."""

    def __init__(self, bench: Bench, bucket: str, count: int):
        from am_ros.faults.object_store import S3Server

        self.server = S3Server()
        bench.at_end(self.server.close)
        self.env = {
            **os.environ, "AWS_ENDPOINT_URL": self.server.url, "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1",
            "AM_ROS_CACHE": str(bench.folder / "cache"),
        }  # fmt: skip
        self.url, self.bags = f"s3://{bucket}", bench.folder / "bags"
        for seed in range(count):
            write_episode(make_episode(f"e{seed}", steps=3, seed=seed), self.bags, ActionSpace())
        self._run("-c", _PUT, f"{self.bags}/", self.url)

    def _run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess:
        done = subprocess.run(
            [sys.executable, *arguments], env=self.env | env, capture_output=True, text=True, timeout=900
        )
        if done.returncode not in (0, 1):
            raise AmRosError(f"{arguments[-1]}: exit code {done.returncode}: {done.stderr.strip()[-300:]}")
        return done

    def build(self, out: Path, bags: Path | None = None, **env: str) -> tuple[int, int, str]:
        """`am-ros store build`: episodes in the store, bags refused, and what it said of these."""
        done = self._run("-m", "am_ros.cli", "store", "build", str(bags or self.url), "--out", str(out), **env)
        found = _BUILT.search(done.stdout)
        if found is None:
            raise AmRosError(f"store build: {done.stdout.strip()} {done.stderr.strip()[-300:]}")
        return int(found[1]), int(found[3]), done.stderr


def object_store(bench: Bench) -> Iterator[Result]:
    """0 episodes lost, 0 read twice"""
    count = bench.pick(200, 12)
    there = _ObjectStore(bench, "object-store", count)
    there.build(bench.folder / "here", there.bags)
    out, expected = bench.folder / "store", ReplayStore.open(bench.folder / "here").data_hash
    with there.server.fail(FAILING, "500"):
        episodes, refused, _ = there.build(out)
        asked, failed = there.server.asked, there.server.failed
        again, _, _ = there.build(out)
    same = ReplayStore.open(out).data_hash == expected
    yield Result(
        f"object store: {FAILING:.0%} of all requests fail, {count} bags",
        "0 episodes lost, 0 read twice",
        f"{failed} of {asked} requests failed; {episodes} episodes read, {refused} refused, "
        f"{again - episodes} more when read again, {'the same data' if same else 'OTHER DATA'} as from the folder",
        bool(failed) and (episodes, refused, again) == (count, 0, count) and same,
    )


def cache_full(bench: Bench) -> Iterator[Result]:
    """Named, and read to the end once there is room"""
    count = bench.pick(60, 8)
    there, disk = _ObjectStore(bench, "cache-full", count), mount_small(bench, CACHE_MB)
    if disk is None:
        yield Result("cache: its disk is full", "named, and read on later", "mounting is not allowed here", False)
        return
    out, filler, cache = bench.folder / "store", disk / "filler", str(disk / "cache")
    filler.write_bytes(bytes(shutil.disk_usage(disk).free - 8192))
    before, refused, said = there.build(out, AM_ROS_CACHE=cache)
    named = said.count("is full: No space left")
    filler.unlink()
    episodes, left, _ = there.build(out, AM_ROS_CACHE=cache)
    ids = sorted(episode["id"] for episode in ReplayStore.open(out).episodes)
    whole = ids == sorted(f"e{seed}" for seed in range(count))
    yield Result(
        f"cache: its disk of {CACHE_MB} MB is full, {count} bags",
        "named with URL and folder; all read, each once, when there is room",
        f"{refused} of {count - before} refused, {named} by name; then {episodes} of {count} read, {left} refused",
        refused == named == count - before > 0 and whole and not left,
    )


def shard_damage(bench: Bench) -> Iterator[Result]:
    """Named, the others used"""
    store = ReplayStore.create(bench.folder / "store", (64, 64), shard_mb=0.3)
    store.append([make_episode(f"e{seed}", steps=6, seed=seed) for seed in range(16)])
    store.close_shard()
    shards = sorted(folder.name for folder in store.folder.glob("shard_*"))
    all_rows = {image.tobytes() for image in store.observations}
    count, named, used, wrong = bench.pick(200, 15), 0, 0, 0
    for _ in bench.rounds(count, "flipped bits"):
        damaged = bench.folder / "damaged"
        shutil.rmtree(damaged, ignore_errors=True)
        shutil.copytree(store.folder, damaged)
        shard = shards[int(bench.random.integers(len(shards)))]
        files = sorted((damaged / shard).glob("*.npy"))
        file = files[int(bench.random.integers(len(files)))]
        file.write_bytes(flip_bit(file.read_bytes(), bench.random))
        found, drawn = _learn_from(damaged)
        named += any(shard in sentence for sentence in found)
        used += len(drawn) > 0
        wrong += not drawn <= all_rows
    yield Result(
        f"replay store: a flipped bit in one of {len(shards)} shards, {count} times",
        "named, no damaged picture learned from, the others used",
        f"{named} named, {wrong} with a damaged picture in a batch, the others used after {used}",
        named == used == count and not wrong,
    )


def _learn_from(folder: Path) -> tuple[list[str], set[bytes]]:
    """What is said when batches are drawn from a store, which is checked to its end then, and their pictures."""
    handler, logger = _Keeper(), logging.getLogger("am_ros")
    logger.addHandler(handler)
    try:
        store = ReplayStore.open(folder)
        sampler = Sampler(store, GoalConfig(random_shift_px=0), 32, seed=0)
        pictures = {image.tobytes() for step in range(4) for image in sampler.batch(step).image}
        said = store.check()
    finally:
        logger.removeHandler(handler)
    return [*said, *handler.lines], pictures


class _Keeper(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        self.lines.append(record.getMessage())

"""The episode logger: killed while it writes, and misled by a topic of another type."""

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from std_msgs.msg import String

from am_ros.action import ActionSpace
from am_ros.bags.episodes import read_episode
from am_ros.bags.finder import find_bags
from am_ros.bags.reader import BagReader
from am_ros.bags.verify import verify
from am_ros.bags.writer import UNFINISHED
from am_ros.errors import AmRosError
from am_ros.faults.bench import Bench, wait_until
from am_ros.faults.stream import EpisodeStream, newest_message_ns
from am_ros.faults.suite import Result
from am_ros.ros.node.common import RELIABLE_QOS

SPACE = ActionSpace()
MOST_LOST_S = 1.0
PAUSE_S = 0.01  # between messages; an episode of n steps has 2 n + 3 of them


def logger_killed(bench: Bench) -> Iterator[Result]:
    """All closed episodes readable, at most 1 s lost of the open one"""
    bags, stream = bench.folder / "bags", None
    count, lost_s, closed, unreadable, salvageable, deaf = bench.pick(50, 1), [], set(), [], 0, 0
    for round_ in bench.rounds(count, "kills"):
        logger, stream, deaf_now = _start_logger(bench, bags, stream)
        deaf += deaf_now
        lengths = [int(n) for n in bench.random.integers(5, 120, 5)]
        episodes = [stream.messages(f"k{round_}_{i}", n, 10 * round_ + i) for i, n in enumerate(lengths)]
        messages = [message for episode in episodes for message in episode]
        stop = threading.Event()
        sent_ns: list[int] = []

        def publish(stream=stream, messages=messages, stop=stop, sent_ns=sent_ns):
            for message in messages:
                if stop.is_set():
                    return
                stream.publish([message], 0.0)
                sent_ns.append(time.time_ns())
                time.sleep(PAUSE_S)

        thread = threading.Thread(target=publish, daemon=True)
        thread.start()
        time.sleep(bench.random.uniform(0.3, bench.pick(4.0, 2.0)))
        logger.signal(signal.SIGKILL)
        killed_ns = time.time_ns()
        stop.set()
        thread.join()
        logger.wait(10.0)
        closed |= {bag.name for bag in find_bags(bags)}
        for bag in find_bags(bags):
            if bag.name.startswith(f"k{round_}_"):
                unreadable += [f"{bag.name}: {problem}" for problem in verify(bag, SPACE).problems]
        for bag in bags.glob(f"k{round_}_*{UNFINISHED}"):
            last = max(newest_message_ns(bag), _first_sent(sent_ns, lengths, bag))
            lost_s.append(max(0.0, (min(killed_ns, sent_ns[-1]) - last) / 1e9))
            salvageable += newest_message_ns(bag) > 0
    gone = closed - {bag.name for bag in find_bags(bags)}
    for bag in find_bags(bags):  # once more, after all kills and restarts
        read_episode(bag, SPACE)
    worst = max(lost_s, default=0.0)
    yield Result(
        f"logger: kill -9 {count} times",
        f"all closed episodes readable, at most {MOST_LOST_S:.0f} s lost of the open one",
        f"{len(closed) - len(unreadable)} of {len(closed)} closed episodes readable; of {len(lost_s)} open ones "
        f"at most {worst:.2f} s lost, {salvageable} held something to salvage"
        + (f"; {deaf} restarts had to be repeated, for Fast DDS did not get its port back" if deaf else ""),
        not unreadable and not gone and worst <= MOST_LOST_S and len(lost_s) + len(closed) > 0,
    )


def _start_logger(bench: Bench, bags: Path, stream: EpisodeStream | None):
    """A logger that hears, the stream to it, and how many loggers before it did not.

    A process that takes the place of one just killed can find the dead one's shared-memory port locked and then hears
    nothing until it is started again: once in 42 kills on a machine with ten times as much to do as it could.
    """
    for deaf in range(3):
        logger = bench.start("episode_logger", ready="ready", folder=str(bags), free_disk_mb=0)
        stream = stream or EpisodeStream(bench)
        try:
            stream.wait_until_heard()
            return logger, stream, deaf
        except AmRosError:
            logger.stop()
    raise AmRosError("episode_logger: three in a row heard nothing")


def _first_sent(sent_ns: list[int], lengths: list[int], bag: Path) -> int:
    """When the first message of an episode was sent: nothing older can be lost of it."""
    number = int(bag.name.removesuffix(UNFINISHED).split("_")[1])
    return sent_ns[min(sum(2 * n + 3 for n in lengths[:number]), len(sent_ns) - 1)]


def type_change(bench: Bench) -> Iterator[Result]:
    """Named, the episode marked, nothing else lost"""
    bags = bench.folder / "bags"
    logger = bench.start("episode_logger", ready="ready", folder=str(bags), free_disk_mb=0)
    stream = EpisodeStream(bench)
    stream.wait_until_heard()
    messages = stream.messages("changed", 40, 1)
    half = len(messages) // 2
    stream.publish(messages[:half], PAUSE_S)
    intruder = bench.client.node.create_publisher(String, "joint_states", RELIABLE_QOS)

    def intrude():
        for _ in range(60):
            intruder.publish(String(data="x"))
            time.sleep(0.02)

    thread = threading.Thread(target=intrude)
    thread.start()
    named_s = wait_until(lambda: "type_changed" in logger.output, 10, "logger: a sentence about the type")
    stream.publish(messages[half:], PAUSE_S)
    thread.join()
    bench.client.node.destroy_publisher(intruder)
    wait_until(lambda: (bags / "changed").is_dir(), 10, "the bag")
    episode, report = read_episode(bags / "changed", SPACE), verify(bags / "changed", SPACE)
    marks = [p for p in report.problems if p.startswith("type_changed /joint_states: std_msgs/msg/String")]
    recorded = {(m.topic, m.raw) for m in BagReader(bags / "changed").messages()}
    kept = sum((f"/{topic}", raw + bytes(-len(raw) % 4)) in recorded for topic, raw in messages)  # DDS pads
    yield Result(
        "a topic whose type changes mid-way", "named, the episode marked, nothing else lost",
        f"named after {named_s:.1f} s, {'marked' if marks else 'NOT marked'}, {kept} of {len(messages)} messages and "
        f"{len(episode)} of 40 steps kept",
        bool(marks) and report.problems == marks and kept == len(messages) and len(episode) == 40,
    )  # fmt: skip

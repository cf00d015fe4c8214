"""What is in a collected data set: the facts of each bag, their totals, and the card that tells them to people."""

import hashlib
import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from am_ros import __version__, topics
from am_ros.bags.reader import BagReader
from am_ros.bags.writer import info_from_text, info_to_text
from am_ros.episode import EpisodeInfo, Outcome
from am_ros.errors import AmRosError

CARD, README = "card.json", "README.md"
FACTS = "facts.json"  # of one bag whose recording lies elsewhere
NOISE_BINS = 10


@dataclass(frozen=True)
class BagFacts:
    """One bag, as its metadata says; `digest` is the SHA-256 of name and content as a number."""

    info: EpisodeInfo
    steps: int
    bytes: int
    digest: int


def read_facts(path: Path) -> BagFacts:
    """Facts of the bag at `path`, without decoding a message. Raises AmRosError, naming the bag, if it is damaged."""
    if (path / FACTS).exists() and not any(path.glob("*.mcap")):
        return _kept_facts(path / FACTS)
    reader = BagReader(path)
    try:
        info = info_from_text(reader.told())
        metadata = reader.metadata or {}
        listed = {t["topic_metadata"]["name"]: t["message_count"] for t in metadata["topics_with_message_count"]}
        steps = listed["/" + topics.STEP]
        content = b"".join(file.read_bytes() for file in reader.files)
    except (KeyError, TypeError, AmRosError, OSError):
        raise reader.error("is damaged; delete it and collect again to have it made anew") from None
    digest = hashlib.sha256(path.name.encode() + b"\0" + content).hexdigest()
    return BagFacts(info, steps, len(content), int(digest, 16))


def facts_text(facts: BagFacts) -> dict:
    """Facts as JSON takes them."""
    kept = {"steps": facts.steps, "bytes": facts.bytes, "digest": f"{facts.digest:064x}"}
    return {"info": info_to_text(facts.info), **kept}


def _kept_facts(path: Path) -> BagFacts:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return BagFacts(info_from_text(kept["info"]), kept["steps"], kept["bytes"], int(kept["digest"], 16))
    except (OSError, ValueError, KeyError, TypeError, AmRosError):
        raise AmRosError(f"{path}: is damaged; delete its folder to have the bag made anew") from None


@dataclass
class Totals:
    """What bags of one task add up to. An episode is one trial of the demonstrator, split into parts or not."""

    episodes: int = 0
    new_episodes: int = 0  # made by this call; the others were there before
    new_steps: int = 0
    bags: int = 0
    steps: int = 0
    bytes: int = 0
    successes: int = 0
    parts: Counter = field(default_factory=Counter)
    ends: Counter = field(default_factory=Counter)
    flaws: Counter = field(default_factory=Counter)
    noise: dict[str, list[int]] = field(default_factory=dict)  # from -> [episodes, successes]
    digest: int = 0  # sum over the bags, so it depends neither on their order nor on who wrote them

    def add(self, bags: list[BagFacts], new: bool) -> None:
        """Count one episode."""
        steps = sum(bag.steps for bag in bags)
        success = any(bag.info.outcome == Outcome.SUCCESS for bag in bags)
        self.episodes += 1
        self.bags += len(bags)
        self.steps += steps
        self.successes += success
        self.bytes += sum(bag.bytes for bag in bags)
        self.digest = (self.digest + sum(bag.digest for bag in bags)) % 2**256
        if new:
            self.new_episodes += 1
            self.new_steps += steps
        for info in (bag.info for bag in bags):
            self.ends[info.reason] += 1
            if "part" in info.extra:
                self.parts[info.extra["part"]] += 1
            if "noise" in info.extra:
                start = f"{min(int(float(info.extra['noise']) * NOISE_BINS), NOISE_BINS) / NOISE_BINS:.1f}"
                counts = self.noise.setdefault(start, [0, 0])
                counts[0] += 1
                counts[1] += success
                self.flaws[info.extra["flaw"]] += 1

    @property
    def success_rate(self) -> float | None:
        """Share of all episodes that reached the goal; None without any."""
        return self.successes / self.episodes if self.episodes else None

    def figures(self) -> dict:
        """For the card, in an order that does not depend on who was quicker."""
        return {
            "episodes": self.episodes,
            "bags": self.bags,
            "steps": self.steps,
            "successes": self.successes,
            "success_rate": self.success_rate,
            "bytes": self.bytes,
            "parts": dict(sorted(self.parts.items())),
            "ends": dict(sorted(self.ends.items())),
            "flaws": dict(sorted(self.flaws.items())),
            "noise": {k: {"episodes": e, "successes": s} for k, (e, s) in sorted(self.noise.items())},
        }


def data_hash(totals: dict[str, Totals]) -> str:
    """Hash of all bags: the same names with the same bytes give the same, in any order."""
    return f"{sum(t.digest for t in totals.values()) % 2**256:064x}"


def write_card(folder: Path, totals: dict[str, Totals], facts: dict) -> None:
    """Write card.json and README.md, each replaced at once. `facts`: how the data came about, see collect.py."""
    card = {
        "am_ros": __version__,
        **facts,
        **{name: sum(getattr(t, name) for t in totals.values()) for name in ("episodes", "bags", "steps", "bytes")},
        "hash": data_hash(totals),
        "tasks": {task: t.figures() for task, t in totals.items()},
    }
    write_atomically(folder / CARD, json.dumps(card, indent=2) + "\n")
    write_atomically(folder / README, _readme(card))


def _readme(card: dict) -> str:
    size, mixture = card["image_size"], ", ".join(f"{name} {value:g}" for name, value in card["mixture"].items())
    rows = [
        f"| `{task}` | {row['episodes']} | {row['bags']} | {row['steps']} | {_percent(row['success_rate'])} |\n"
        for task, row in card["tasks"].items()
    ]
    bullets = [
        f"Command: `{card['command']}`" if card["command"] else "Collected by a program.",
        f"Demonstrators: {mixture}; seed {card['seed']}, training scenes from {card['first_scene']} on.",
        f"am_ros {card['am_ros']}; hash of all bags `{card['hash'][:16]}`.",
    ]
    if card["split"]:
        bullets.append(f"Cut into {' and '.join(card['split'])}; nothing says which parts belong together.")
    if not card["complete"]:
        bullets.append("**Not complete**: the collection was interrupted; the same command goes on with it.")
    return (
        "# Simulated episodes of am_ros\n\n"
        f"{card['episodes']} episodes in {card['bags']} bags, {card['steps']} steps, {card['bytes'] / 1e6:.1f} MB, "
        f"images of {size}x{size} px.\n\n"
        "| task | episodes | bags | steps | reached the goal |\n|---|---|---|---|---|\n"
        f"{''.join(rows)}\n{''.join(f'- {bullet}{chr(10)}' for bullet in bullets)}\n"
        f"`{CARD}` has all figures: how episodes ended, success against noise, which flaws the policies had.\n"
    )


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.0%}"


def write_atomically(path: Path, text: str) -> None:
    """Replace a file; a reader sees the old one or the new one, whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)

"""The list of faults, and the run that tries them one after the other and keeps what was measured."""

import importlib
import json
import os
import platform
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

# Name, module in am_ros/faults/, and about how long the full and the short version take [s] on two cores. Only the
# modules that are run are imported.
FAULTS = (
    ("logger_killed", "logger", 330, 6),
    ("type_change", "logger", 8, 6),
    ("disk_full", "disk", 8, 6),
    ("folder_unwritable", "disk", 12, 8),
    ("bag_damage", "bags", 30, 3),
    ("trainer_killed", "checkpoints", 150, 12),
    ("checkpoint_damage", "checkpoints", 30, 6),
    ("node_killed", "training", 400, 60),
    ("object_store", "storage", 60, 12),
    ("cache_full", "storage", 25, 12),
    ("shard_damage", "storage", 20, 4),
    ("process_killed", "robot", 110, 30),
    ("controller_suspended", "robot", 30, 14),
    ("two_commanders", "robot", 12, 12),
    ("messages_dropped", "robot", 100, 12),
    ("clock_jump", "robot", 20, 20),
    ("camera_broken", "vision", 35, 14),
    ("malformed_input", "inputs", 480, 14),
    ("network_outputs", "inputs", 20, 20),
    ("unsafe_poses", "inputs", 200, 25),
    ("driver_follows", "driver", 90, 20),
    ("driver_brakes", "driver", 60, 20),
    ("driver_stops", "driver", 60, 40),
    ("driver_states", "driver", 90, 30),
    ("driver_foreign", "driver", 30, 20),
    ("driver_cancels", "driver", 60, 12),
    ("driver_clock", "wishes", 60, 40),
    ("driver_clients", "wishes", 60, 50),
    ("driver_second_cell", "wishes", 40, 40),
    ("soak", "soak", 1240, 40),
)


@dataclass(frozen=True)
class Result:
    """What was asked, what came, and whether that is enough; `measured` is text for a reader."""

    fault: str
    required: str
    measured: str
    ok: bool


def names() -> tuple[str, ...]:
    """All faults, in the order in which they are tried."""
    return tuple(name for name, *_ in FAULTS)


def run_fault(name: str, short: bool, folder: Path, say=lambda text, left_s=0.0: None) -> list[Result]:
    """Try one fault on a bench of its own in `folder`; nothing that was started is left."""
    from am_ros.faults.bench import Bench

    with Bench(folder, short, say) as bench:
        return run_on(bench, name)


def run_on(bench, name: str) -> list[Result]:
    """Try one fault on a bench; an error in it is a result that is not ok."""
    module = next(module for known, module, *_ in FAULTS if known == name)
    function = getattr(importlib.import_module(f"am_ros.faults.{module}"), name)
    results: list[Result] = []
    try:
        results.extend(function(bench))
    except Exception as error:  # the other faults are tried all the same
        required = (function.__doc__ or name).splitlines()[0]
        results.append(Result(name, required, f"{type(error).__name__}: {error}".splitlines()[0], False))
    return results


def run_suite(wanted: Iterable[str], short: bool, out: Path) -> list[Result]:
    """Try the faults, say how far it is, and write `out/summary.json` and `out/machine.json` after each."""
    wanted, results, began = list(wanted), [], time.monotonic()
    expected = {name: brief if short else full for name, _, full, brief in FAULTS}
    out.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(wanted):
        left = sum(expected[n] for n in wanted[number + 1 :])

        def say(text: str, own_left_s: float = 0.0, name=name, left=left) -> None:
            elapsed = time.monotonic() - began
            print(f"[{elapsed:6.0f} s] {name}: {text}; about {own_left_s + left:.0f} s left", flush=True)

        say("begins", expected[name])
        results += run_fault(name, short, out / name, say)
        write(out / "summary.json", [asdict(result) for result in results])
        write(out / "machine.json", machine() | {"short": short, "seconds": round(time.monotonic() - began, 1)})
    return results


def table(results: Iterable[Result]) -> str:
    """The results as a Markdown table."""
    lines = ["| fault | required | measured | ok |", "|---|---|---|---|"]
    lines += [f"| {r.fault} | {r.required} | {r.measured} | {'yes' if r.ok else '**no**'} |" for r in results]
    return "\n".join(lines)


def machine() -> dict:
    """What the figures were measured on."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    kilobytes = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return {
        "processor": model, "cores": os.cpu_count(), "memory_gb": round(kilobytes / 1e6, 1),
        "load_average": [round(load, 2) for load in os.getloadavg()], "system": platform.platform(),
        "python": platform.python_version(), "time": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }  # fmt: skip


def write(path: Path, content) -> None:
    """JSON beside its place and renamed, so that a reader never sees half of it."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []

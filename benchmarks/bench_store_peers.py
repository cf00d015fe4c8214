"""Random access as a batch needs it, by Lance and Zarr beside the replay store: CPU milliseconds and open time.

pip install pylance zarr; python benchmarks/bench_store_peers.py [--json docs/data/store_peers.json]

A batch of 128: observation, state and action of 3 x 128 random rows (s, s', g), and actions of 2048 others. Vectors of
one number, a million rows; and images of 64 px, 20 000 rows.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from output import output_file

from am_ros.replay.store import ReplayStore

ROWS, IMAGES, STEPS, BATCH, OTHERS = 1_000_000, 20_000, 13, 128, 2048


def arrays(rows: int, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise: observations [rows, ...], and states and actions together [rows, 13]."""
    rng = np.random.default_rng(0)
    shape = (pixels, pixels, 3) if pixels else (1,)
    seen = rng.integers(0, 256, (rows, *shape), np.uint8) if pixels else rng.random((rows, 1), np.float32)
    return seen, rng.random((rows, 13), np.float32)


class Ours:
    def __init__(self, folder: Path, seen: np.ndarray, numbers: np.ndarray):
        ends = np.arange(len(seen)) % STEPS == STEPS - 1
        ends[-1], ends[-2] = True, False
        ReplayStore.from_arrays(folder / "s", seen, numbers[:, 6:10], ends, states=numbers[:, :6]).close_shard()
        self.folder = folder / "s"

    def open(self) -> None:
        self.store = ReplayStore.open(self.folder)

    def batch(self, rows: np.ndarray, others: np.ndarray) -> None:
        self.store.observations[rows]
        self.store.records(rows)
        self.store.records(others)["action"].copy()


class Lance:
    def __init__(self, folder: Path, seen: np.ndarray, numbers: np.ndarray):
        import lance
        import pyarrow as pa

        def fixed(array: np.ndarray) -> pa.Array:
            flat = np.ascontiguousarray(array.reshape(len(array), -1))
            return pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), flat.shape[1])

        table = pa.table({"seen": fixed(seen), "state": fixed(numbers[:, :6]), "action": fixed(numbers[:, 6:])})
        lance.write_dataset(table, str(folder / "l"))
        self.folder = folder / "l"

    def open(self) -> None:
        import lance

        self.data = lance.dataset(str(self.folder))

    def batch(self, rows: np.ndarray, others: np.ndarray) -> None:
        for wanted, columns in ((rows, ["seen", "state", "action"]), (others, ["action"])):
            table = self.data.take(wanted, columns=columns)
            for name in columns:
                np.array(table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False))


class Zarr:
    def __init__(self, folder: Path, seen: np.ndarray, numbers: np.ndarray):
        import zarr

        group = zarr.open_group(folder / "z", mode="w")
        for name, array in (("seen", seen), ("numbers", numbers)):
            chunk = max(1, 65_536 // array[0].nbytes)
            kept = group.create_array(
                name, shape=array.shape, dtype=array.dtype, chunks=(chunk, *array.shape[1:]),
                shards=(chunk * 256, *array.shape[1:]), compressors=None,
            )  # fmt: skip
            kept[:] = array
        self.folder = folder / "z"

    def open(self) -> None:
        import zarr

        self.data = zarr.open_group(self.folder, mode="r")

    def batch(self, rows: np.ndarray, others: np.ndarray) -> None:
        self.data["seen"].oindex[np.sort(rows)]
        self.data["numbers"].oindex[np.sort(rows)]
        self.data["numbers"].oindex[np.sort(others)]


def measure(kind: type, seen: np.ndarray, numbers: np.ndarray, rounds: int) -> dict[str, float]:
    Path("runs").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir="runs") as folder:
        subject, rng = kind(Path(folder), seen, numbers), np.random.default_rng(1)
        began = time.process_time()
        subject.open()
        opened, spent = time.process_time() - began, []
        for _ in range(rounds):
            rows, others = np.unique(rng.integers(len(seen), size=3 * BATCH)), rng.integers(len(seen), size=OTHERS)
            began = time.process_time()
            subject.batch(rows, np.unique(others))
            spent.append(time.process_time() - began)
        return {"open_cpu_ms": round(1e3 * opened, 2), "batch_cpu_ms": round(1e3 * float(np.median(spent[1:])), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=output_file)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    figures: dict[str, dict] = {}
    for what, rows, pixels in (("vectors, 1 M rows", ROWS, 0), ("64 px, 20 000 rows", IMAGES, 64)):
        data = arrays(rows, pixels)
        for kind in (Ours, Lance, Zarr):
            try:
                found = measure(kind, *data, arguments.rounds)
            except ImportError as error:
                found = {"missing": str(error)}
            figures.setdefault(kind.__name__, {})[what] = found
            print(kind.__name__, what, found, flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()

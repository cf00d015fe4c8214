"""Columns on disk: .npy files that grow at their end, are mapped to be read, and checked block by block.

Any program reads one with `np.load(path, mmap_mode="r")`. A column's header says how many rows count: it is written
after the rows, so what a killed writer left behind them is nobody's, and the next append overwrites it.
"""

import io
import mmap
import os
import tokenize
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from am_ros.errors import AmRosError

# What is checked at once when one row of it is read: 0.05 ms for zlib's CRC-32, and four bytes in 65 536 to keep.
BLOCK = 65_536
_PAGE = mmap.PAGESIZE
_GAP = 1 << 17  # bytes that are sooner read along than asked around


# What NumPy raises when the header of a .npy file is not what it wrote.
UNREADABLE = (OSError, ValueError, TypeError, IndexError, SyntaxError, tokenize.TokenError)


class Damaged(AmRosError):
    """A file does not hold what was written into it."""


class Column:
    """One column: rows of `dtype` and `shape` in the file `path`; `rows` of them count."""

    def __init__(self, path: Path, dtype: DTypeLike, shape: tuple[int, ...] = (), rows: int = 0):
        self.path, self.dtype, self.shape, self.rows = path, np.dtype(dtype), shape, rows
        self.row_bytes = self.dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        self._head = len(self._header(0))
        # Whether the store is larger than the memory. Linux reads up to megabytes around a byte that is asked for: good
        # for a store that fits, a thousand times too much for single rows of one that does not.
        self.scattered = False
        self._mapped: mmap.mmap | None = None
        self._raw: np.ndarray | None = None  # uint8, the whole file
        self._items: np.ndarray | None = None  # void [rows]
        self._checks: np.ndarray | None = None  # uint32, CRC-32 of each block
        self._unseen: np.ndarray | None = None  # bool, of each block: not checked yet

    @property
    def size_bytes(self) -> int:
        """Length of the file as far as it counts."""
        return self._head + self.rows * self.row_bytes

    def _header(self, rows: int) -> bytes:
        """As long for any number of rows: NumPy leaves room for it to grow."""
        text = io.BytesIO()
        described = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False}
        np.lib.format.write_array_header_1_0(text, described | {"shape": (rows, *self.shape)})
        return text.getvalue()

    # --- writing

    def create(self) -> None:
        """Make the file, without rows."""
        self.path.write_bytes(self._header(0))

    def find_rows(self) -> None:
        """Take the number of rows from the header."""
        try:
            with self.path.open("rb") as file:
                np.lib.format.read_magic(file)
                shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            self.rows = int(shape[0])
        except UNREADABLE as error:
            raise Damaged(f"{self.path}: cannot be read ({error})") from None
        if (dtype, shape[1:]) != (self.dtype, self.shape):
            raise Damaged(f"{self.path}: is damaged in its header")

    def write(self, arrays: Iterable[np.ndarray]) -> int:
        """Put rows behind those that count; `commit` makes them count. Returns how many."""
        written = 0
        with self.path.open("r+b") as file:
            file.truncate(self.size_bytes)
            file.seek(self.size_bytes)
            for array in arrays:
                rows = np.ascontiguousarray(array, self.dtype)
                file.write(rows.data.cast("B") if rows.size else b"")
                written += len(rows)
        return written

    def commit(self, rows: int) -> None:
        """From now on so many rows count."""
        with self.path.open("r+b") as file:
            file.write(self._header(rows))
        self.rows, self._raw, self._items = rows, None, None

    # --- reading

    def expect(self, checks: np.ndarray) -> None:
        """From now on, blocks are compared with their CRC-32 when they are read first."""
        self._checks, self._unseen = checks, np.ones(len(checks), bool)

    def _map(self) -> np.ndarray:
        if self._raw is None:
            try:
                length = os.path.getsize(self.path)
            except OSError as error:
                raise Damaged(f"{self.path}: cannot be read ({error.strerror})") from None
            if length < self.size_bytes:
                raise Damaged(f"{self.path}: is shorter than its shard says; rebuild the store from the bags")
            with self.path.open("rb") as file:
                self._mapped = mmap.mmap(file.fileno(), self.size_bytes, access=mmap.ACCESS_READ)
            if self.scattered:
                self._mapped.madvise(mmap.MADV_RANDOM)
            self._raw = np.frombuffer(self._mapped, np.uint8)
            kind = f"V{self.row_bytes}"
            self._items = self._raw[self._head :].view(kind) if self.rows else np.zeros(0, kind)
        return self._raw

    def scatter(self, scattered: bool) -> None:
        """Say whether its store is larger than the memory; it may have been read before, when it was smaller."""
        if scattered != self.scattered and self._mapped is not None:
            self._mapped.madvise(mmap.MADV_RANDOM if scattered else mmap.MADV_NORMAL)
        self.scattered = scattered

    def place(self, rows: np.ndarray) -> np.ndarray:
        """Where in the file rows int64 [n] begin."""
        return rows * self.row_bytes + self._head

    def will_need(self, rows: np.ndarray) -> None:
        """Have the system begin to read rows int64 [n], all at once, if the store does not fit into the memory."""
        if self.scattered and self.row_bytes:
            self.will_need_bytes(self.place(rows), self.place(rows + 1))

    def will_need_bytes(self, begin: np.ndarray, end: np.ndarray) -> None:
        """The same of bytes begin ... end - 1 [n] of the file; with the whole blocks of those not checked yet."""
        self._map()
        assert self._mapped is not None
        unit = _PAGE if self._unseen is None else BLOCK
        begin, end = begin // unit * unit, np.minimum(-(-end // unit) * unit, self.size_bytes)
        order = np.argsort(begin)
        begin, end = begin[order], np.maximum.accumulate(end[order])
        apart = np.append(True, begin[1:] > end[:-1] + _GAP)  # one request: the observations of an episode, say
        for first, last in zip(begin[apart].tolist(), end[np.append(apart[1:], True)].tolist(), strict=True):
            self._mapped.madvise(mmap.MADV_WILLNEED, first, last - first)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Rows int64 [n] as an array [n, *shape] of its own; raises Damaged if a block of them is not what it was."""
        self._map()
        assert self._items is not None
        if self._unseen is not None:
            self._check(self.place(rows), self.place(rows + 1))
        return self._items.take(rows).view(self.dtype).reshape(len(rows), *self.shape)

    def lend(self, rows: np.ndarray) -> list[np.ndarray]:
        """Rows int64 [n] as they lie in memory, one by one; checked in the same way."""
        raw = self._map()
        if self._unseen is not None:
            self._check(self.place(rows), self.place(rows + 1))
        typed = raw[self._head :].view(self.dtype).reshape(self.rows, *self.shape)
        return [typed[row] for row in rows.tolist()]

    def part(self, first: int, last: int) -> np.ndarray:
        """Rows first ... last - 1, a view of the file; checked in the same way."""
        raw = self._map()
        begin, end = self._head + first * self.row_bytes, self._head + last * self.row_bytes
        if self._unseen is not None and last > first:
            self._check(np.array([begin]), np.array([end]))
        return raw[begin:end].view(self.dtype).reshape(last - first, *self.shape)

    def all(self) -> np.ndarray:
        """All rows, a view of the file."""
        return self.part(0, self.rows)

    def _check(self, begin: np.ndarray, end: np.ndarray) -> None:
        """Check the blocks that bytes begin ... end - 1 lie in, of each pair, unless they have been."""
        unseen = self._unseen
        if unseen is None:  # another thread has seen the last one
            return
        assert self._checks is not None and self._raw is not None
        first, last = begin // BLOCK, (end - 1) // BLOCK
        most = int((last - first).max(initial=0))
        blocks = first if not most else np.minimum(first[:, None] + np.arange(most + 1), last[:, None]).ravel()
        new = blocks[unseen[blocks]]
        if not len(new):
            return
        for block in np.unique(new).tolist():
            if zlib.crc32(self._raw[block * BLOCK : (block + 1) * BLOCK].data) != self._checks[block]:
                raise Damaged(f"{self.path}: is damaged at byte {block * BLOCK}")
            unseen[block] = False
        if not unseen.any():
            self._unseen = None

    def checks(self) -> np.ndarray:
        """CRC-32 of each block as the file is now, uint32."""
        raw = self._map()
        found = [zlib.crc32(raw[start : start + BLOCK].data) for start in range(0, len(raw), BLOCK)]
        return np.array(found, np.uint32)

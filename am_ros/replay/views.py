"""What a store shows: columns that look like arrays, episodes that look like a list. Nothing is read before use."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import DTypeLike

from am_ros.replay.shard import Entry


class RowView(NDArrayOperatorsMixin):
    """One value, or array, per row of a store; indexed like a NumPy array, by rows first.

    `take(rows)` reads rows int64 [n]; `lend(rows)`, if given, gives them one by one, where possible as they lie in
    memory. What NumPy makes of the whole of it, `np.asarray(view)`, lies in memory.
    """

    def __init__(
        self,
        take: Callable[[np.ndarray], np.ndarray],
        rows: int,
        shape: tuple[int, ...],
        dtype: DTypeLike,
        lend: Callable[[np.ndarray], Iterable[np.ndarray]] | None = None,
    ):
        self.take, self.shape, self.dtype = take, (rows, *shape), np.dtype(dtype)
        self.lend = lend or take

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, tuple):
            first, *others = key
            return self[first][(..., *others)] if first is Ellipsis else self[first][self._after(first, others)]
        if isinstance(key, (int, np.integer)):
            row = range(len(self))[int(key)]
            return self.take(np.array([row]))[0]
        if isinstance(key, slice):
            return self.take(np.arange(*key.indices(len(self))))
        rows = np.asarray(key)
        if rows.dtype == bool:
            rows = np.flatnonzero(rows)
        rows = rows.astype(np.int64, copy=False)
        if rows.size and (rows.min() < -len(self) or rows.max() >= len(self)):
            raise IndexError(f"row {rows.max()} of {len(self)}")
        taken = self.take(np.where(rows < 0, rows + len(self), rows).ravel())
        return taken.reshape(*rows.shape, *self.shape[1:])

    @staticmethod
    def _after(first: Any, others: list[Any]) -> tuple[Any, ...]:
        return tuple(others) if isinstance(first, (int, np.integer)) else (slice(None), *others)

    def __iter__(self) -> Iterator[Any]:
        return (self[row] for row in range(len(self)))

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        whole = (np.asarray(item) if isinstance(item, RowView) else item for item in inputs)
        return getattr(ufunc, method)(*whole, **options)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        whole = self.take(np.arange(len(self)))
        return whole if dtype is None else whole.astype(dtype, copy=False)


class Episodes(Sequence[Entry]):
    """The episodes of a store in their order: id, task, first row, steps, outcome, seed, sha256, the bag it is of."""

    def __init__(self, entry: Callable[[int], Entry], count: int):
        self._entry, self._count = entry, count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, key: int) -> Entry: ...
    @overload
    def __getitem__(self, key: slice) -> list[Entry]: ...
    def __getitem__(self, key: int | slice) -> Entry | list[Entry]:
        if isinstance(key, slice):
            return [self._entry(number) for number in range(*key.indices(self._count))]
        return self._entry(range(self._count)[key])

    def __iter__(self) -> Iterator[Entry]:
        return map(self._entry, range(self._count))

"""Random numbers for the items of a batch, the same for every way of sharing the batch among processes."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Share:
    """A generator for the items number `rank`, `rank + size`, ... of a batch that `size` processes share.

    All draw the numbers of the whole batch and keep their own: together they get what one process would, and a few
    thousand random numbers are nothing beside one pass of a network. `items`: of the whole batch, where `size` does not
    divide it.
    """

    generator: torch.Generator
    rank: int = 0
    size: int = 1
    items: int = 0


def uniform(
    shape: tuple[int, ...], generator: "torch.Generator | Share | None" = None, device: torch.device | str | None = None
) -> Tensor:
    """Uniform on [0, 1). The first dimension counts the items of a batch; `generator` may be a Share of it."""
    return _draw(torch.rand, shape, generator, device)


def normal(
    shape: tuple[int, ...], generator: "torch.Generator | Share | None" = None, device: torch.device | str | None = None
) -> Tensor:
    """Standard normal; the rest as in `uniform`."""
    return _draw(torch.randn, shape, generator, device)


def integers(
    low: int,
    high: int,
    shape: tuple[int, ...],
    generator: "torch.Generator | Share | None" = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Integers from `low` to `high` - 1; the rest as in `uniform`."""
    return _draw(lambda size, **options: torch.randint(low, high, size, **options), shape, generator, device)


def categorical(probabilities: Tensor, count: int, generator: "torch.Generator | Share | None" = None) -> Tensor:
    """Draw `count` choices [B, count] with the probabilities [B, K], which sum to one; one of 0 is never drawn."""
    cumulative = probabilities.cumsum(dim=-1)
    level = uniform((len(probabilities), count), generator, probabilities.device) * cumulative[:, -1:]
    return (level.unsqueeze(-1) >= cumulative[:, None, :-1]).sum(dim=-1)


def _draw(
    draw: Callable[..., Tensor],
    shape: tuple[int, ...],
    generator: "torch.Generator | Share | None",
    device: torch.device | str | None,
) -> Tensor:
    if not isinstance(generator, Share):
        return draw(shape, generator=generator, device=device)
    items, rank, size = generator.items, generator.rank, generator.size
    whole = items if shape[0] == len(range(rank, items, size)) else shape[0] * size
    return draw((whole, *shape[1:]), generator=generator.generator, device=device)[rank::size]

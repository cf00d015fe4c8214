"""One dataclass per component: ROS parameters, command-line flags and saved JSON are all generated from it.

A field's metadata says `help` (with the unit), and where they apply `range=(low, high)` and `choices=(...)`:

    rate_hz: float = parameter(20.0, "images per second [Hz]", range=(0.1, 120.0))
"""

import dataclasses
import json
import typing
from argparse import ArgumentParser, Namespace
from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeVar

from am_ros.errors import AmRosError

T = TypeVar("T")
Config = TypeVar("Config")  # one of the dataclasses


def parameter(
    default: T, help: str, *, range: tuple[float, float] | None = None, choices: Collection[T] | None = None
) -> T:
    """A dataclass field with description, range and choices. `default` may be an immutable value only."""
    return dataclasses.field(default=default, metadata={"help": help, "range": range, "choices": choices})


def flat_fields(
    cls: type[Any], base: Any = None, skip: tuple[str, ...] = ()
) -> Iterator[tuple[dataclasses.Field[Any], Any]]:
    """Every field of `cls`, and of the dataclasses in it, with its value in `base` (default: the defaults of `cls`).

    The fields in `skip` are left out. This is the order and the set of a node's parameters.
    """
    hints = typing.get_type_hints(cls)
    base = cls() if base is None else base
    for f in dataclasses.fields(cls):
        if f.name in skip:
            continue
        if dataclasses.is_dataclass(hints[f.name]):
            yield from flat_fields(hints[f.name], getattr(base, f.name))
        else:
            yield f, getattr(base, f.name)


def check(config: Any) -> None:
    """Raise AmRosError, naming the parameter, if a value has the wrong type or is outside its range or choices."""
    hints = typing.get_type_hints(type(config))
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if dataclasses.is_dataclass(value):
            check(value)
            continue
        kind = typing.get_origin(hints[f.name]) or hints[f.name]
        fits = isinstance(value, kind) or (kind is float and isinstance(value, int))
        if not fits or (kind in (int, float) and isinstance(value, bool)):
            raise AmRosError(f"parameter {f.name}: {value!r} is not of type {kind.__name__}")
        bounds, choices = f.metadata.get("range"), f.metadata.get("choices")
        if bounds is not None:
            values = value if isinstance(value, (tuple, list)) else (value,)
            if not all(bounds[0] <= v <= bounds[1] for v in values):
                raise AmRosError(f"parameter {f.name}: {value!r} is outside {bounds[0]} ... {bounds[1]}")
        if choices is not None and value not in choices:
            raise AmRosError(f"parameter {f.name}: {value!r} is not one of {', '.join(map(str, choices))}")


def _coerce(kind: Any, value: Any) -> Any:
    origin = typing.get_origin(kind) or kind
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return value if isinstance(value, kind) else from_dict(kind, value)
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(value)
    if origin is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def from_dict(cls: type[Config], values: Mapping[str, Any]) -> Config:
    """Build and check a configuration; unknown names raise AmRosError."""
    hints = typing.get_type_hints(cls)
    unknown = set(values) - hints.keys()
    if unknown:
        raise AmRosError(f"{cls.__name__}: unknown parameter {', '.join(sorted(unknown))}")
    config = cls(**{name: _coerce(hints[name], value) for name, value in values.items()})
    check(config)
    return config


def to_json(config: Any) -> str:
    """The configuration as JSON text, field by field."""
    return json.dumps(dataclasses.asdict(config), indent=2)


def add_flags(
    parser: ArgumentParser, cls: type[Any], skip: tuple[str, ...] = (), show_defaults: bool = True
) -> None:
    """Add one `--flag` per field of `cls` to an argparse parser; its help shows the dataclass's defaults."""
    hints = typing.get_type_hints(cls)
    for f in dataclasses.fields(cls):
        if f.name in skip or dataclasses.is_dataclass(hints[f.name]):
            continue
        kind = typing.get_origin(hints[f.name]) or hints[f.name]
        shown = f" (default {f.default})" if show_defaults else ""
        options: dict[str, Any] = {"help": f.metadata.get("help", "") + shown, "default": None, "dest": f.name}
        if kind is bool:
            options["type"] = _bool
            options["metavar"] = "true|false"
        elif kind is tuple:
            options["type"] = typing.get_args(hints[f.name])[0]
            options["nargs"] = "+"
        else:
            options["type"] = kind
            options["metavar"] = kind.__name__.upper()
        if f.metadata.get("choices"):
            options["choices"] = f.metadata["choices"]
            options.pop("metavar", None)
        parser.add_argument("--" + f.name.replace("_", "-"), **options)


def given_flags(cls: type[Any], arguments: Namespace) -> dict[str, Any]:
    """The fields of `cls` that the parsed flags name, checked."""
    hints = typing.get_type_hints(cls)
    given = {n: _coerce(hints[n], v) for n, v in vars(arguments).items() if n in hints and v is not None}
    from_dict(cls, given)
    return given


def from_flags(cls: type[Config], arguments: Namespace, base: Any = None, **fixed: Any) -> Config:
    """Build a configuration from parsed flags: those left out are those of `base`, else the defaults."""
    usual = {f.name: getattr(base, f.name) for f in dataclasses.fields(base)} if base is not None else {}
    return from_dict(cls, {**usual, **given_flags(cls, arguments), **fixed})


def _bool(text: str) -> bool:
    if text.lower() in ("true", "1", "yes"):
        return True
    if text.lower() in ("false", "0", "no"):
        return False
    raise ValueError(text)

"""Values out of messages of any type, by a path such as `pose.pose`, `position[0]` or `position[finger_joint]`."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from am_ros.errors import AmRosError


class FieldMissing(AmRosError):
    """A message is not what the name of its type says: files hold the definitions of types, which may be damaged."""


@contextmanager
def fields_of_its_type() -> Iterator[None]:
    """Within: a message without a field that its type has raises FieldMissing, which names it."""
    try:
        yield
    except AttributeError as error:
        kind = type(error.obj).__name__
        if "__msg__" not in kind and "/msg/" not in kind:  # no message: a fault of ours
            raise
        raise FieldMissing(f"{kind.replace('__', '/')} has no field {error.name!r} as the file defines it") from None


_TOKEN = re.compile(r"([A-Za-z_]\w*)|\[([^\[\]]+)\]")


class FieldPath:
    """A path that is read in many messages of one type; an empty one is the message itself."""

    def __init__(self, path: str, what: str):
        """`what` names section and topic in sentences. Raises AmRosError if the text is not a path."""
        self.path, self._what = path, f"{what}: field {path!r}"
        self._steps: list[tuple[str, str]] = []
        for part in path.split(".") if path else []:
            names = [(match[1] or "", match[2] or "") for match in _TOKEN.finditer(part)]
            if not names or "".join(n or f"[{i}]" for n, i in names) != part or not names[0][0]:
                raise AmRosError(f"{self._what}: expected names separated by dots, with [index] or [joint name]")
            self._steps += names

    def read(self, message):
        """The value; None if a named joint, or an item of that index, is not in this message: another one may have it.

        Raises AmRosError if the message has no such field.
        """
        value, owner = message, message
        for name, index in self._steps:
            if name:
                owner, value = value, self._attribute(value, name)
                continue
            at = self._position(owner, index)
            if at is None:
                return None
            try:
                value = value[at]
            except IndexError:
                return None
            except (TypeError, KeyError):
                raise AmRosError(f"{self._what}: there is no [{index}]") from None
        return value

    def header(self, message):
        """The header that is nearest to the value: iiwa_stack's poses have theirs inside; None if there is none."""
        value, found = message, getattr(message, "header", None)
        owner = message
        for name, index in self._steps:
            if name:
                owner, value = value, getattr(value, name, None)
            else:
                at = self._position(owner, index)
                value = value[at] if at is not None and hasattr(value, "__len__") and at < len(value) else None
            found = getattr(value, "header", found)
        return found

    def _attribute(self, value, name: str):
        try:
            return getattr(value, name)
        except AttributeError:
            there = ", ".join(k for k in getattr(value, "__dataclass_fields__", {}) if not k.startswith("_"))
            raise AmRosError(f"{self._what}: there is no {name}; there is {there or 'nothing'}") from None

    def _position(self, owner, index: str) -> int | None:
        if index.isdigit():
            return int(index)
        names = list(getattr(owner, "name", ()))
        if names.count(index) > 1:  # two arms, or grippers, of one name
            raise AmRosError(f"{self._what}: {index} is named {names.count(index)} times in one message")
        return names.index(index) if index in names else None

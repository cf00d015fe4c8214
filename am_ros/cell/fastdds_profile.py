"""A Fast DDS profile file: what it says of shared memory, and whether Fast DDS would take it.

Of a file that it cannot read Fast DDS prints some lines, goes on with its defaults, and loses most images.
"""

import difflib
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from am_ros.errors import AmRosError

PROFILE = "FASTRTPS_DEFAULT_PROFILES_FILE"
ROOTS = ("dds", "profiles")
# It comes with Fast DDS, of the same version; without it only the XML itself is checked.
_SCHEMA = Path("share") / "fastRTPS_profiles.xsd"
_ELEMENT = re.compile(r'<xs:element name="(\w+)"(?: type="(\w+)")?')
_WHOLE = {"uint8", "uint16", "uint32", "uint64", "int16", "int32"}


@dataclass(frozen=True)
class Profile:
    """What a Fast DDS profile says of shared memory; zero: not said."""

    segment_bytes: int = 0
    message_bytes: int = 0
    shared_memory: bool = True  # whether it is used at all


def read_profile(path: Path, environ: Mapping[str, str] | None = None) -> Profile:
    """The shared-memory transport of a Fast DDS profile file; raises AmRosError if Fast DDS would not take the file."""
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AmRosError(f"{PROFILE}={path}: cannot be read ({reason})") from None
    if _tag(root) not in ROOTS:
        raise AmRosError(f"{PROFILE}={path}: is no Fast DDS profile: <{_tag(root)}> in place of <dds>")
    _check_elements(path, root, os.environ if environ is None else environ)
    builtin = [e.text for e in root.iter() if _tag(e) == "useBuiltinTransports"]
    found = Profile(shared_memory=(builtin[-1] or "").strip() != "false" if builtin else True)
    for transport in root.iter():
        if _tag(transport) != "transport_descriptor":
            continue
        values = {_tag(child): (child.text or "").strip() for child in transport}
        if values.get("type") == "SHM":
            try:
                return Profile(int(values.get("segment_size", 0)), int(values.get("maxMessageSize", 0)))
            except ValueError as error:
                raise AmRosError(f"{PROFILE}={path}: {error}") from None
    return found


def _check_elements(path: Path, root: ElementTree.Element, environ: Mapping[str, str]) -> None:
    """Raise AmRosError naming an element that Fast DDS does not know, or one that holds no number where it must."""
    types = _schema(environ)
    for element in root.iter() if types else ():
        tag, text = _tag(element), (element.text or "").strip()
        if tag not in types:
            near = difflib.get_close_matches(tag, types, n=1)
            hint = f"; is {near[0]} meant?" if near else ""
            raise AmRosError(f"{PROFILE}={path}: Fast DDS knows no element <{tag}>{hint}")
        if types[tag] <= _WHOLE and types[tag] and not re.fullmatch(r"[+-]?\d+", text):
            raise AmRosError(f"{PROFILE}={path}: <{tag}> is {text!r}, not a whole number")
        if types[tag] == {"boolean"} and text not in ("true", "false", "0", "1"):
            raise AmRosError(f"{PROFILE}={path}: <{tag}> is {text!r}, not true or false")


def _schema(environ: Mapping[str, str]) -> dict[str, set[str]]:
    """Element names of the schema and their types, several where a name is used twice; empty: no schema is there."""
    prefixes = [p for p in environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p] + [sys.prefix]
    file = next((f for f in (Path(prefix) / _SCHEMA for prefix in prefixes) if f.is_file()), None)
    types: dict[str, set[str]] = {}
    for name, kind in _ELEMENT.findall(file.read_text(encoding="utf-8")) if file else ():
        types.setdefault(name, set()).add(kind)
    return types


def _tag(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]

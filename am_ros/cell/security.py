"""DDS-Security (SROS2): whoever asks for it gets it or a refusal, and never nodes that run open without a word.

ROS reads ROS_SECURITY_ENABLE to the letter: `true` is yes, and `True`, `1` or `yes` are no. With the strategy that it
takes by default it goes on without security where there are no keys, whatever was asked for.
"""

import mmap
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from am_ros.errors import AmRosError

ENABLE, STRATEGY, KEYSTORE = "ROS_SECURITY_ENABLE", "ROS_SECURITY_STRATEGY", "ROS_SECURITY_KEYSTORE"
_NO = ("", "false", "0", "no", "off")
_LIBRARY = "librmw_fastrtps_shared_cpp.so"
# What the library says when it is asked for security and has none: the sentence is in it only then.
_WITHOUT = b"doesn't have the security libraries"


def check_security(environ: Mapping[str, str] | None = None) -> None:
    """Raise AmRosError if security is asked for, but a node started in `environ` (default: os.environ) would have none.

    To be called before any node is created.
    """
    environ = os.environ if environ is None else environ
    asked, strategy = environ.get(ENABLE), environ.get(STRATEGY, "")
    if asked is None and strategy == "Enforce":
        raise AmRosError(
            f"security_not_enabled: {STRATEGY} is Enforce, but {ENABLE} is not set, and without it ROS 2 runs open; "
            f"set {ENABLE}=true, or unset {STRATEGY}"
        )
    if (asked or "").strip().lower() in _NO:
        return
    if asked != "true":
        raise AmRosError(
            f"security_misspelt: {ENABLE} is {asked!r}, which ROS 2 takes for no without a word; write it as true, "
            "or unset it"
        )
    missing = why_unavailable(environ)
    if missing:
        raise AmRosError(f"security_unavailable: {ENABLE} is set, but {missing}")
    if strategy != "Enforce":
        raise AmRosError(
            f"security_permissive: {STRATEGY} is {strategy!r}: ROS 2 would run open where keys are missing; "
            "set it to Enforce"
        )
    keystore = environ.get(KEYSTORE, "")
    if not keystore or not (Path(keystore) / "enclaves").is_dir():
        raise AmRosError(
            f"security_keystore: {KEYSTORE} is {keystore!r}, which holds no enclaves; make it with "
            "`ros2 security create_keystore`"
        )


def why_unavailable(environ: Mapping[str, str] | None = None) -> str:
    """Why this installation of Fast DDS cannot do DDS-Security, or empty if it can.

    Other RMWs are not looked at: with strategy Enforce they fail by themselves.
    """
    environ = os.environ if environ is None else environ
    if "fastrtps" not in environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp"):
        return ""
    library = next((path for path in _libraries(environ) if path.is_file()), None)
    if library is None:
        return f"{_LIBRARY} is in no library folder of this ROS 2, so whether it can do DDS-Security is not known"
    with open(library, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(_WITHOUT) < 0:
            return ""
    return (
        f"this Fast DDS was built without DDS-Security ({library}); the wheels of ROS 2 are, an apt install is not; "
        f"unset {ENABLE} to run open, on this host only"
    )


def _libraries(environ: Mapping[str, str]) -> Iterator[Path]:
    """Where the loader would find the library, in its order, then where ROS is installed."""
    yield from (Path(p) / _LIBRARY for p in environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if p)
    prefixes = [p for p in environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    yield from (Path(prefix) / "lib" / _LIBRARY for prefix in (*prefixes, sys.prefix))


def security_environment(keystore: str) -> dict[str, str]:
    """What a node needs to run with the keys of an SROS2 keystore and not without them; empty: no security."""
    if not keystore:
        return {}
    path = Path(keystore).expanduser().absolute()
    return {ENABLE: "true", STRATEGY: "Enforce", KEYSTORE: str(path)}


def enclave(namespace: str, node: str) -> str:
    """The enclave of a node in the keystore: its own, named as the node is."""
    return "/" + "/".join(part for part in ("am_ros", namespace.strip("/"), node) if part)

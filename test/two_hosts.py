"""Two hosts on one machine: each with a network, a name, a /dev/shm and processes of its own, a cable between them.

Linux namespaces and a pair of virtual Ethernet interfaces (veth): what one host sends, the kernel hands to the other as
it would a real one's packets. Needs root. The disk is the same, as with NFS.
"""

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conftest import wait_until

from am_ros.cell.environment import child_environment

ADDRESSES = {"gpuhost": "10.77.0.1", "armhost": "10.77.0.2"}
TOOLS = ("unshare", "nsenter", "ip", "mount")
needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or any(shutil.which(tool) is None for tool in TOOLS),
    reason=f"two hosts are network namespaces: needs root, and {', '.join(TOOLS)}",
)
# A host is up when its own shared memory and names are there, and ends with this line's process.
BOOT = """
mount -t tmpfs tmpfs /dev/shm && mount --bind "$2" /etc/hosts && hostname "$1" && ip link set lo up && touch "$3" &&
exec sleep infinity
"""


@dataclass
class Host:
    """One of the two."""

    name: str
    process: subprocess.Popen
    started: list[subprocess.Popen] = field(default_factory=list)

    @property
    def address(self) -> str:
        return ADDRESSES[self.name]

    def command(self, *words) -> list[str]:
        """The command line that runs `words` on this host, in this folder."""
        inside = ["nsenter", "-t", str(self.process.pid), "-n", "-m", "-u", "sh", "-c", 'cd "$0" && exec "$@"']
        return [*inside, os.getcwd(), *map(str, words)]

    def run(self, *words, **options) -> str:
        """What a command says; raises if it fails."""
        done = subprocess.run(self.command(*words), check=True, capture_output=True, text=True, **options)
        return done.stdout

    def start(self, *words, stdin: int | None = subprocess.DEVNULL, **env) -> subprocess.Popen:
        """A program of ours on this host, its output (both streams) to be read; ends with the host."""
        process = subprocess.Popen(
            self.command(*words), env=child_environment(None, **env), text=True, stdin=stdin,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.started.append(process)
        return process

    def operates(self) -> bool:
        """Whether its end of the cable carries packets; a second may pass after it was plugged."""
        return "state UP" in self.run("ip", "link", "show", "eth0")

    def link(self, state: str) -> None:
        """Plug (`up`) or pull (`down`) the cable at this end."""
        self.run("ip", "link", "set", "eth0", state)


@contextmanager
def two_hosts():
    """The hosts by name, connected; whatever runs on them ends with the context."""
    hosts = {}
    with tempfile.TemporaryDirectory(prefix="two_hosts_") as folder:
        names = Path(folder) / "hosts"
        lines = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in ADDRESSES.items())]
        names.write_text("\n".join(lines) + "\n")
        try:
            for name in ADDRESSES:
                ready = Path(folder) / f"{name}_ready"
                boot = ["unshare", "--net", "--mount", "--uts", "sh", "-c", BOOT, "boot", name, str(names), str(ready)]
                hosts[name] = Host(name, subprocess.Popen(boot))
                wait_until(ready.exists, 60, f"host {name}")
            a, b = (str(host.process.pid) for host in hosts.values())
            cable = ["ip", "link", "add", "eth0", "netns", a, "type", "veth", "peer", "name", "eth0", "netns", b]
            subprocess.run(cable, check=True)
            for host in hosts.values():
                host.run("ip", "address", "add", f"{host.address}/24", "dev", "eth0")
                host.link("up")
            for host in hosts.values():  # a node takes the interfaces that carry packets when it starts, and no other
                wait_until(lambda host=host: host.operates(), 10, f"host {host.name}: its network")
            yield hosts
        finally:
            for host in hosts.values():
                _end_all(host)


def _end_all(host: Host) -> None:
    """Everything in the host's network, found by the kernel's own mark of it."""
    mark = os.readlink(f"/proc/{host.process.pid}/ns/net")
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "ns" / "net") == mark:
                os.kill(int(entry.name), 9)
        except OSError:  # it has ended meanwhile
            continue
    for process in (*host.started, host.process):
        process.wait()

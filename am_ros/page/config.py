"""Where the page is served, to whom, and how much of it."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from am_ros.configuration import parameter
from am_ros.errors import AmRosError

PORT = 8472  # of no registered service (IANA, 2025)


@dataclass(frozen=True)
class PageConfig:
    """The page's address and what it may do."""

    page_address: str = parameter(
        "127.0.0.1", "address the page listens on; any other than this host's own needs page_certificate"
    )
    page_port: int = parameter(PORT, "its TCP port; 0: a free one, which is printed", range=(0, 65_535))
    page_names: tuple[str, ...] = parameter(
        ("localhost",), "names of this host that a browser may call it by, as the certificate has them"
    )
    page_certificate: str = parameter("", "certificate chain (PEM) for TLS; empty: none, for this host only")
    page_key: str = parameter("", "private key (PEM) of the certificate; empty: in the same file")
    page_token_file: str = parameter(
        "~/.ros/am_ros/page_token", "where the token is kept that other hosts must give; made if it is not there"
    )
    page_read_only: bool = parameter(False, "show everything and change nothing, but for Stop")
    page_rate_hz: float = parameter(20.0, "live pictures per second at most, per browser [Hz]", range=(0.2, 60.0))

    def __post_init__(self):
        if not self.local and not self.page_certificate:
            raise AmRosError(
                f"parameter page_certificate: page_address {self.page_address} is not this host's alone: give a "
                "certificate and key for TLS, or keep 127.0.0.1"
            )
        for name in ("page_certificate", "page_key"):
            path = getattr(self, name)
            if path and not Path(path).expanduser().is_file():
                raise AmRosError(f"parameter {name}: {path} is not a file")
        if self.page_key and not self.page_certificate:
            raise AmRosError("parameter page_key: without page_certificate it is of no use")

    @property
    def local(self) -> bool:
        """Whether programs of this host alone can reach the address."""
        if self.page_address == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.page_address).is_loopback
        except ValueError:
            raise AmRosError(
                f"parameter page_address: {self.page_address!r} is neither an IP address nor localhost"
            ) from None

    @property
    def secure(self) -> bool:
        """Whether TLS is spoken."""
        return bool(self.page_certificate)

"""A fleet's broker with its authority, and devices that are enrolled there."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bus import Address, Tls
from bus.mosquitto import BrokerProcess, find_broker
from cloud.pki import Authority
from cloud.serve import start_broker
from edge.security.identity import install, make_request


@dataclass(frozen=True)
class FleetSide:
    """The fleet's authority, and its broker as the fleet's service reaches it."""

    authority: Authority
    address: Address

    def enroll(self, home: Path, node: str) -> Tls:
        """Give a device its identity; return what it proves itself with."""
        folder = home / "identity"
        request = make_request(folder, node)
        install(folder, self.authority.ca.read_bytes(), self.authority.sign_device(request.read_bytes(), node))
        return Tls(folder / "ca.pem", folder / "device.pem", folder / "device.key")


@contextmanager
def fleet_side(folder: Path) -> Iterator[FleetSide]:
    """Start the broker below a folder, and stop it at the end."""
    authority = Authority.load_or_create(folder / "pki")
    with BrokerProcess(find_broker(folder, allow_install=False)) as broker:
        yield FleetSide(authority, start_broker(broker, folder, authority, 0, "127.0.0.1"))

"""How a sink reaches a broker of the site: with credentials and files of its own, and never beyond the site.

Results and tags must not leave the site, so a broker at an address of the internet is refused, by whichever name.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bus import Address, Tls
from edge.settings import SiteServers
from schemas.errors import BusRefused

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
RESOLVED_S: Final = 5.0


async def site_address(server: str, settings: SiteServers, home: Path) -> Address:
    """Return the address of one of the servers (HOST:PORT); files are of the device folder.

    Raises:
        BusRefused: it is not on the site.
        OSError: the name is not known, or the password's file can't be read.
    """
    host, _, port = server.rpartition(":")
    host = host.strip("[]")
    async with asyncio.timeout(RESOLVED_S):
        found = await asyncio.get_running_loop().getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    own = [ipaddress.ip_network(network) for network in settings.networks]
    if public := next((str(at[0]) for *_, at in found if is_public(str(at[0]), own)), ""):
        raise BusRefused(
            f"{server} is at {public}, an address of the internet: results and tags must not leave the site; "
            "name a broker of the site, or the site's own addresses in `networks`"
        )
    password = (home / settings.password_file).read_text().strip() if settings.password_file else ""
    tls = None
    if settings.ca:
        certificate = home / settings.certificate if settings.certificate else None
        tls = Tls(home / settings.ca, certificate, home / settings.key if settings.key else None)
    return Address(host=host, port=int(port), username=settings.user, password=password, tls=tls)


def is_public(address: str, own: Sequence[Network] = ()) -> bool:
    """Whether an IP address is one of the internet's (by IANA's registries of special ones), and not our own."""
    at = ipaddress.ip_address(address.partition("%")[0])
    at = (at.ipv4_mapped if isinstance(at, ipaddress.IPv6Address) else None) or at
    return at.is_global and not any(at in network for network in own)

"""How a sink reaches a broker of the site: with credentials and files of its own, and never beyond the site.

Results and tags must not leave the site, so a broker at an address of the internet is refused, by whichever name.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from pathlib import Path
from typing import Final

from bus import Address, Tls
from edge.settings import SiteServers
from schemas.errors import BusRefused

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
    if public := next((str(at[0]) for *_, at in found if is_public(str(at[0]))), ""):
        raise BusRefused(
            f"{server} is at {public}, an address of the internet: results and tags must not leave the site; "
            "name a broker of the site"
        )
    password = (home / settings.password_file).read_text().strip() if settings.password_file else ""
    tls = None
    if settings.ca:
        certificate = home / settings.certificate if settings.certificate else None
        tls = Tls(home / settings.ca, certificate, home / settings.key if settings.key else None)
    return Address(host=host, port=int(port), username=settings.user, password=password, tls=tls)


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet's (IANA's registries of special addresses). Pure."""
    at = ipaddress.ip_address(address.partition("%")[0])
    mapped = at.ipv4_mapped if isinstance(at, ipaddress.IPv6Address) else None
    return (mapped or at).is_global

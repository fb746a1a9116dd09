"""How a sink reaches a broker of the site: with credentials and files of its own."""

from __future__ import annotations

from pathlib import Path

from bus import Address, Tls
from edge.settings import SiteServers


def site_address(server: str, settings: SiteServers, home: Path) -> Address:
    """Return the address of one of the servers (HOST:PORT); files are of the device folder.

    Raises:
        OSError: the password's file can't be read.
    """
    host, _, port = server.rpartition(":")
    password = (home / settings.password_file).read_text().strip() if settings.password_file else ""
    tls = None
    if settings.ca:
        certificate = home / settings.certificate if settings.certificate else None
        tls = Tls(home / settings.ca, certificate, home / settings.key if settings.key else None)
    return Address(host=host.strip("[]"), port=int(port), username=settings.user, password=password, tls=tls)

"""A broker of the site is on the site, by whichever name, and its password is in no message."""

from pathlib import Path

import pytest

from edge.security.site_address import is_public, site_address
from edge.settings import SiteBroker
from schemas.errors import BusRefused


@pytest.mark.parametrize("address", ["10.1.0.5", "192.168.7.1", "172.16.0.9", "127.0.0.1", "169.254.3.4", "100.64.1.1",
                                     "fd12::1", "fe80::1%eth0", "::1", "::ffff:10.0.0.1"])  # fmt: skip
def test_addresses_of_a_site(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_addresses_of_the_internet(address: str) -> None:
    assert is_public(address)


async def test_a_server_on_the_internet_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    settings = SiteBroker(servers=["8.8.8.8:8883", "[2606:4700::1111]:8883"], user="edge1")
    for server in settings.servers:
        with pytest.raises(BusRefused, match="must not leave the site"):
            await site_address(server, settings, tmp_path)


async def test_what_reaches_a_server_of_the_site_is_read_anew_each_time(tmp_path: Path) -> None:
    settings = SiteBroker(servers=["[::1]:8883"], user="edge1", password_file="pw", ca="ca.pem")
    for password in ("first", "second"):
        (tmp_path / "pw").write_text(password + "\n")
        found = await site_address(settings.servers[0], settings, tmp_path)
        assert (found.host, found.port, found.username, found.password) == ("::1", 8883, "edge1", password)
        assert found.tls is not None and found.tls.ca == tmp_path / "ca.pem" and found.tls.certificate is None
        assert password not in repr(found)

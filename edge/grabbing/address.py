"""The address of a camera, with and without who asks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from schemas.errors import ConnectorError

if TYPE_CHECKING:
    from pathlib import Path


def shown(address: str) -> str:
    """Return an address as logs, states and events may carry it: without user and password."""
    scheme, between, rest = address.partition("://")
    if not between:
        return address
    # The last @ before the path ends the credentials: a password may hold one that was not escaped.
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{re.sub(r'(?<==)[^&=]*', '*', path)}"


def with_credentials(address: str, user: str, password_file: str, home: Path) -> str:
    """Return the address with a user and the first line of a file of the home.

    Raises:
        ConnectorError: the file can't be read, or the address has a user already.
    """
    if not user and not password_file:
        return address
    if not (user and password_file) or "@" in address.partition("://")[2].partition("/")[0]:
        raise ConnectorError("camera options user and password_file: write both, and no user in the address")
    try:
        password = (home / password_file).read_text(encoding="utf-8").splitlines()[0]
    except (OSError, IndexError, UnicodeDecodeError) as error:
        raise ConnectorError(
            f"camera option password_file: {home / password_file} holds no password ({error})"
        ) from error
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{rest}"

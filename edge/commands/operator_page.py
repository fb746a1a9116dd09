"""`plantedge hmi`: the address of the operators' page, with a link that logs in once; the link of a wall panel."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path

from edge.line.report import operator_url
from edge.operator_page.links import make_link, revoke_panels
from edge.settings import Settings, load_settings
from schemas.errors import PlantEdgeError, StartError


def operator_page(home: Path, name: str = "", *, panel: bool = False, revoke: bool = False) -> int:
    """Print a link and nothing else: for a login as `name` (the person at the terminal), or for a panel."""
    try:
        settings = load_settings(home)
        if revoke:
            print(f"{revoke_panels(home)} links of wall panels are no longer good")
            return 0
        print(panel_link(home, settings) if panel else login_link(home, settings, name))
    except PlantEdgeError as error:
        print(f"plantedge hmi: {error}", file=sys.stderr)
        return 1
    return 0


def login_link(home: Path, settings: Settings, name: str = "") -> str:
    """Return a link that logs in once, within a day.

    Raises:
        StartError: the device has no such page.
    """
    return f"{_url(home, settings)}/login?once={make_link(home, name[:64] or _person())}"


def panel_link(home: Path, settings: Settings) -> str:
    """Return a link that lets a wall panel look, until it is revoked.

    Raises:
        StartError: the device has no such page.
    """
    return f"{_url(home, settings)}/panel?token={make_link(home)}"


def _person() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user without a name, as in some containers
        return "operator"


def _url(home: Path, settings: Settings) -> str:
    if settings.hmi is None:
        raise StartError(f"{home}/device.toml has no [hmi]; write that table to have the operators' page")
    return operator_url(settings.hmi)

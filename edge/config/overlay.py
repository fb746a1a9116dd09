"""`overlay.toml`: what `plantedge up` chose for this machine, over what a person wrote in `device.toml`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from edge.config.files import OVERLAY_FILE
from edge.config.tree import is_tree

_FIRST = "# Written by `plantedge up` at each start; do not edit. Settings of your own belong in device.toml."


def write_overlay(home: Path, values: Mapping[str, object]) -> None:
    """Replace a device's overlay."""
    fresh = home / f"{OVERLAY_FILE}.new"
    fresh.write_text(_FIRST + "\n" + to_toml(values), encoding="utf-8")
    fresh.replace(home / OVERLAY_FILE)


def to_toml(values: Mapping[str, object], path: str = "") -> str:
    """Return nested tables of strings, numbers and booleans as TOML."""
    plain = {key: value for key, value in values.items() if not is_tree(value)}
    text = f"\n[{path}]\n" if path and plain else ""
    text += "".join(f"{key} = {json.dumps(value)}\n" for key, value in plain.items())
    for key, value in values.items():
        if is_tree(value):
            text += to_toml(value, f"{path}.{key}" if path else key)
    return text

"""How a recipe is named: by a tag's value, as text. Pure, and light: others than the runtime ask too."""

from __future__ import annotations

from schemas.fields import Value


def key_of(value: Value) -> str:
    """Return a value as the settings name it: 7, 7.0 and "7" are "7", true is "true"."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)

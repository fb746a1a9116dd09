"""Settings before they are settings: nested tables of plain values, as TOML and JSON give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeGuard

Tree = dict[str, object]


def is_tree(value: object) -> TypeGuard[Tree]:
    """Return whether `value` is a table."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[object]]:
    """Return whether `value` is a list."""
    return isinstance(value, list)


def merged(below: Tree, above: Mapping[str, object]) -> Tree:
    """Return `below` with `above` over it: tables are merged key by key, all else is replaced."""
    whole = dict(below)
    for key, value in above.items():
        held = whole.get(key)
        whole[key] = merged(held, value) if is_tree(held) and is_tree(value) else value
    return whole


def subtree(tree: Tree, key: str) -> Tree:
    """Return the table at `key`, an empty one where there is none."""
    found = tree.get(key)
    return found if is_tree(found) else {}


def tables(tree: Tree, key: str) -> dict[str, Tree]:
    """Return the tables in the table at `key`, by their names."""
    return {str(name): entry for name, entry in subtree(tree, key).items() if is_tree(entry)}

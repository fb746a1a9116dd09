"""Writes the page's TypeScript types from what it is told: `python -m edge.operator_page.ui_types`; a test compares."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from edge.operator_page.views import PartDetail, ReplayView, SessionView, Snapshot
from schemas.typescript import declarations

TARGET: Final = Path(__file__).parent / "ui" / "src" / "api.ts"


def generate() -> str:
    """Return the text of the page's `api.ts`."""
    head = "// Generated from edge/operator_page/views.py by `python -m edge.operator_page.ui_types`; do not edit."
    return declarations(head, (SessionView, Snapshot, PartDetail, ReplayView))


if __name__ == "__main__":
    TARGET.write_text(generate())

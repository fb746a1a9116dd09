"""Writes the acceptance report: report.json, and report.md and report.html made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from edge.commissioning.record import Acceptance
from edge.commissioning.report_html import html_page
from edge.commissioning.report_md import markdown

JSON: Final = "report.json"


def write_report(folder: Path, found: Acceptance) -> None:
    """Write all three forms; `folder` is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / JSON).write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    (folder / "report.md").write_text(markdown(found), encoding="utf-8")
    (folder / "report.html").write_text(html_page(found), encoding="utf-8")


def read_report(folder: Path) -> Acceptance:
    """Return the report that was written to a folder."""
    return msgspec.json.decode((folder / JSON).read_bytes(), type=Acceptance)

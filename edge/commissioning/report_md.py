"""The acceptance report as Markdown, for a repository or a terminal. Every value is escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from edge.commissioning.progress import number, value_text
from edge.commissioning.record import Acceptance, Row
from edge.commissioning.wording import (
    DISCLAIMER,
    LATENCY_HEADS,
    PLC_HEADS,
    PROGRAM_HEADS,
    SCAN_HEADS,
    SIGNED_BY,
    about,
    headline,
    key_figure,
    latency_cells,
    plc_cells,
    program_cells,
    scan_cells,
    shown_verdict,
    steps_of,
)


def markdown(found: Acceptance) -> str:
    """Return the report."""
    blocks = [
        f"# Acceptance report: {found.verdict.value.upper()}", plain(headline(found)),
        *map(plain, found.subject.notes), DISCLAIMER, "## What was accepted", _table(("what", "found"), about(found)),
        "## Result", _table(("verdict", "what", "wanted", "found"), map(_row, found.rows)),
    ]  # fmt: skip
    if found.latencies or found.scans:
        blocks += ["## Trigger to acknowledged output", _table(LATENCY_HEADS, map(latency_cells, found.latencies))]
        blocks += ["## Scan time and jitter", _table(SCAN_HEADS, map(scan_cells, found.scans))]
    blocks += ["## Each step", *map(_step, steps_of(found))]
    blocks += ["## PLCs and their tag lists", _table(PLC_HEADS, map(plc_cells, found.subject.plcs))]
    blocks += ["## Programs for the PLC", _table(PROGRAM_HEADS, map(program_cells, found.programs)), "## Signatures"]
    blocks += [
        "\n".join(
            f"- {role}: ____________________  date: __________  signature: ____________________" for role in SIGNED_BY
        )
    ]
    return "\n\n".join(blocks) + "\n"


def plain(text: str) -> str:
    """Return text that Markdown shows as it is: in one line, no link, no emphasis, no HTML, no new cell of a table."""
    flat = " ".join(text.split())
    return re.sub(r"([\\`*_{}\[\]<>()#|~!])", r"\\\1", flat).replace("&", "&amp;")


def _row(row: Row) -> Sequence[str]:
    return (shown_verdict(row.verdict), row.title, row.wanted, key_figure(row))


def _step(row: Row) -> str:
    lines = [
        f"### {plain(row.title)}: {shown_verdict(row.verdict)}",
        f"Done: {plain(row.done)}. Wanted: {plain(row.wanted or '-')}.",
    ]
    lines += [plain(row.note)] if row.note else []
    if row.figures:
        cells = (
            (one.name, value_text(one), "" if one.limit is None else number(one.limit),
             shown_verdict(one.verdict) if one.verdict else "")
            for one in row.figures
        )  # fmt: skip
        lines.append(_table(("figure", "found", "at most", "verdict"), cells))
    lines += ["\n".join(f"- {plain(text)}" for text in row.events)] if row.events else []
    return "\n\n".join(lines)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head.rstrip("#=") for head in heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join([*lines, *("| " + " | ".join(map(plain, row)) + " |" for row in rows)])

"""The acceptance report as one HTML file: nothing is loaded, plots are inlined, A4 in print. Every value is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from edge.commissioning.drawing import distribution, timeline
from edge.commissioning.progress import number, value_text
from edge.commissioning.record import Acceptance, Figure, Latency, Row, Scans
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

_STYLE: Final = """
@page { size: A4; margin: 16mm 15mm 18mm; }
* { box-sizing: border-box; overflow-wrap: anywhere; }
body { font: 10.5pt/1.4 Helvetica, Arial, "Liberation Sans", sans-serif; color: #111; background: #fff;
  max-width: 186mm; margin: 10mm auto; padding: 0 3mm; }
h1 { font-size: 20pt; margin: 0 0 1mm; }
h2 { font-size: 13pt; margin: 8mm 0 2mm; border-bottom: 1.5pt solid #111; padding-bottom: .6mm; break-after: avoid; }
h3 { font-size: 11pt; margin: 0 0 1mm; }
p { margin: 0 0 2mm; }
.small { font-size: 8.5pt; color: #444; }
.head > :first-child { min-width: 0; }
.head { display: flex; justify-content: space-between; align-items: flex-start; gap: 8mm; }
.verdict { border: 2.5pt solid #111; padding: 2mm 5mm; font-size: 17pt; font-weight: 700; white-space: nowrap; }
.verdict.fail { background: #111; color: #fff; }
.verdict.incomplete { border-style: dashed; }
table { border-collapse: collapse; width: 100%; margin: 1mm 0 3mm; }
thead { display: table-header-group; }
th, td { text-align: left; vertical-align: top; padding: 1mm 2mm; border-bottom: .5pt solid #999; }
th { border-bottom: 1pt solid #111; font-size: 9pt; }
tr { break-inside: avoid; }
td.n, th.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
td.v { font-weight: 700; white-space: nowrap; }
tr.fail td.v { text-decoration: underline; }
tr.skipped td.v { font-weight: 400; }
td.hash { font: 7.5pt/1.3 "DejaVu Sans Mono", "Liberation Mono", monospace; word-break: break-all; }
.summary { table-layout: fixed; }
.summary th:nth-child(1) { width: 20mm; }
.summary th:nth-child(2) { width: 44mm; }
.summary th:nth-child(3) { width: 56mm; }
.summary td { padding: .8mm 2mm; font-size: 9.5pt; }
.facts td:first-child { width: 40mm; color: #444; }
.step { break-inside: avoid; border: .7pt solid #999; padding: 3mm 4mm; margin: 0 0 4mm; }
.step.fail { border: 2pt solid #111; }
.step .head { align-items: baseline; }
.step table td, .step table th { padding: .5mm 2mm; font-size: 9pt; }
.step td:first-child { width: 70mm; }
.step td.n { white-space: normal; }
.step ul { margin: 1mm 0 0; padding-left: 5mm; font-size: 8.5pt; }
.tag { font-weight: 700; border: 1pt solid #111; padding: 0 2mm; white-space: nowrap; }
.tag.fail { background: #111; color: #fff; }
.tag.skipped { border-style: dashed; font-weight: 400; }
svg { display: block; width: 100%; height: auto; margin: 1mm 0; }
.signatures { display: grid; grid-template-columns: 1fr 1fr 1fr; gap: 12mm 8mm; margin-top: 12mm; }
.signatures div { border-top: .8pt solid #111; padding-top: 1mm; font-size: 9pt; }
.keep { break-inside: avoid; }
@media print {
  body { margin: 0; padding: 0; max-width: none; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
}
"""


def html_page(found: Acceptance) -> str:
    """Return the report."""
    title = headline(found)
    body = [
        f'<div class="head"><div><h1>Acceptance report</h1><p>{escape(title)}</p></div>'
        f'<div class="verdict {found.verdict.value}">{escape(found.verdict.value.upper())}</div></div>',
        _paragraphs(found.subject.notes), f'<p class="small">{escape(DISCLAIMER)}</p>',
        "<h2>What was accepted</h2>", _facts(about(found)),
        "<h2>Result</h2>", _summary(found.rows),
        _signatures(),
        *_measurements(found.latencies, found.scans),
        *_steps(found),
        '<h2>PLCs and their tag lists</h2>', _table(PLC_HEADS, (plc_cells(one) for one in found.subject.plcs)),
        '<h2>Programs for the PLC</h2>', _table(PROGRAM_HEADS, map(program_cells, found.programs)),
    ]  # fmt: skip
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def _paragraphs(texts: Iterable[str]) -> str:
    return "".join(f"<p>{escape(text)}</p>" for text in texts)


def _facts(rows: Iterable[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in rows)
    return f'<table class="facts"><tbody>{cells}</tbody></table>'


def _summary(rows: Iterable[Row]) -> str:
    cells = "".join(
        f'<tr class="{row.verdict.value}"><td class="v">{escape(shown_verdict(row.verdict))}</td>'
        f"<td>{escape(row.title)}</td>"
        f"<td>{escape(row.wanted)}</td><td>{escape(key_figure(row))}</td></tr>"
        for row in rows
    )
    head = "<tr><th></th><th>what</th><th>wanted</th><th>found</th></tr>"
    return f'<table class="summary"><thead>{head}</thead><tbody>{cells}</tbody></table>'


def _measurements(latencies: Sequence[Latency], scans: Sequence[Scans]) -> list[str]:
    if not latencies and not scans:
        return []
    plots = "".join(f'<div class="keep">{distribution(one)}</div>' for one in latencies)
    return [
        '<h2>Trigger to acknowledged output</h2>',
        _table(LATENCY_HEADS, map(latency_cells, latencies)), plots,
        "<h2>Scan time and jitter</h2>", _table(SCAN_HEADS, map(scan_cells, scans)),
    ]  # fmt: skip


def _steps(found: Acceptance) -> list[str]:
    rows = steps_of(found)
    return ["<h2>Each step</h2>", *map(_step, rows)] if rows else []


def _step(row: Row) -> str:
    events = "".join(f"<li>{escape(text)}</li>" for text in row.events)
    return (
        f'<section class="step {row.verdict.value}"><div class="head"><h3>{escape(row.title)}</h3>'
        f'<span class="tag {row.verdict.value}">{escape(shown_verdict(row.verdict))}</span></div>'
        f"<p>Done: {escape(row.done)}. Wanted: {escape(row.wanted or '-')}.</p>"
        + (f"<p>{escape(row.note)}</p>" if row.note else "")
        + (timeline(row.trace, row.title) if row.trace else "")
        + (_figures(row.figures) if row.figures else "")
        + (f"<ul>{events}</ul>" if events else "")
        + "</section>"
    )


def _figures(figures: Iterable[Figure]) -> str:
    rows = "".join(
        f'<tr class="{one.verdict.value if one.verdict else ""}"><td>{escape(one.name)}</td>'
        f'<td class="n">{escape(value_text(one))}</td>'
        f'<td class="n">{"" if one.limit is None else escape(number(one.limit))}</td>'
        f'<td class="v">{escape(shown_verdict(one.verdict)) if one.verdict else ""}</td></tr>'
        for one in figures
    )
    head = '<tr><th></th><th class="n">found</th><th class="n">at most</th><th></th></tr>'
    return f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; a heading that ends in ``#`` is of numbers, one in ``=`` of digests."""
    kinds = [' class="n"' if head.endswith("#") else ' class="hash"' if head.endswith("=") else "" for head in heads]
    top = "".join(
        f"<th{kind if 'n' in kind and 'hash' not in kind else ''}>{escape(head.rstrip('#='))}</th>"
        for head, kind in zip(heads, kinds, strict=True)
    )
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{escape(cell)}</td>" for cell, kind in zip(row, kinds, strict=True)) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _signatures() -> str:
    lines = "".join(f"<div>{escape(text)}</div>" for role in SIGNED_BY for text in (role, "date", "signature"))
    return f'<section class="keep"><h2>Signatures</h2><div class="signatures">{lines}</div></section>'

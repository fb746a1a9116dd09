"""Draws the plots of a report as SVG: black on white, readable in print and without colours. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from edge.commissioning.record import Latency, Trace

WIDE: Final = 680
_LEFT, _RIGHT, _TOP = 150, 12, 30
_LANE, _GAP = 15, 7
_CDF_HIGH, _CDF_LEFT = 250, 52
_INK, _GREY, _PALE = "#111", "#666", "#ddd"
_LABEL_WIDE: Final = 62  # of a mark's label: nearer ones stand in two lines
_HALO: Final = ' paint-order="stroke" stroke="#fff" stroke-width="3" stroke-linejoin="round"'
_HATCH: Final = (
    '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    f'<rect width="6" height="6" fill="#fff"/><line x1="0" y1="0" x2="0" y2="6" stroke="{_INK}" stroke-width="2.4"/>'
    "</pattern></defs>"
)


def distribution(latency: Latency) -> str:
    """Return how many outputs were acknowledged by which time, with the deadline; "" of nothing."""
    if not latency.curve:
        return ""
    low, high = _decades(latency)
    right, bottom = WIDE - 2 * _RIGHT, _CDF_HIGH - 40

    def x(ms: float) -> float:
        share = (math.log10(max(ms, low)) - math.log10(low)) / (math.log10(high) - math.log10(low))
        return _CDF_LEFT + share * (right - _CDF_LEFT)

    def y(share: float) -> float:
        return bottom - share * (bottom - _TOP)

    parts = [_line(_CDF_LEFT, y(part / 4), right, y(part / 4), _PALE) for part in range(5)]
    parts += [_text(_CDF_LEFT - 6, y(part / 4) + 4, f"{part * 25} %", "end") for part in range(5)]
    for ms in _log_ticks(low, high):
        parts += [_line(x(ms), _TOP, x(ms), bottom, _PALE), _text(x(ms), bottom + 16, f"{ms:g}", "middle")]
    parts.append(_text((_CDF_LEFT + right) / 2, _CDF_HIGH - 6, "trigger to acknowledged output, ms", "middle"))
    steps = [(x(latency.curve[0][0]), y(0.0)), *((x(ms), y(share)) for ms, share in latency.curve)]
    parts.append(_path(steps))
    parts += _deadline(x(latency.deadline_ms), bottom, latency.deadline_ms)
    for share, known, name in ((0.5, latency.p50_ms, "p50"), (0.99, latency.p99_ms, "p99")):
        if known is not None:
            parts += _point(x(known), y(share), f"{name} {known:.3g} ms")
    return _svg(_CDF_HIGH, f"{latency.pipeline}: distribution of trigger to acknowledged output", parts)


def timeline(trace: Trace, title: str) -> str:
    """Return what the PLC showed around one fault."""
    rows = len(trace.lanes) + (trace.passed is not None)
    bottom = _TOP + rows * (_LANE + _GAP)
    span = max(trace.to_s - trace.from_s, 1e-3)

    def x(at_s: float) -> float:
        inside = min(max(at_s, trace.from_s), trace.to_s)
        return _LEFT + (inside - trace.from_s) / span * (WIDE - _RIGHT - _LEFT)

    parts = [_HATCH]
    for second in _ticks(trace.from_s, trace.to_s):
        parts += [
            _line(x(second), _TOP - 4, x(second), bottom, _PALE),
            _text(x(second), bottom + 14, f"{second:g} s", "middle"),
        ]
    for number, lane in enumerate(trace.lanes):
        top = _TOP + number * (_LANE + _GAP)
        parts.append(_text(_LEFT - 8, top + 12, lane.name, "end"))
        fill = "url(#hatch)" if number == 0 else _INK if number == len(trace.lanes) - 1 else "#999"
        parts += [_bar(x(begin), top, x(end) - x(begin), fill) for begin, end in lane.spans]
    if trace.passed is not None:
        top = _TOP + (rows - 1) * (_LANE + _GAP)
        parts.append(_text(_LEFT - 8, top + 12, "parts that passed", "end"))
        parts += [_line(x(at), top, x(at), top + _LANE, _INK) for at in trace.passed]
    parts += _marks([(x(mark.at_s), mark.text) for mark in trace.marks], bottom)
    return _svg(bottom + 22, title, parts)


def _marks(marks: Sequence[tuple[float, str]], bottom: float) -> list[str]:
    parts: list[str] = []
    last = -math.inf
    for at, text in sorted(marks):
        high = _TOP - 17 if at - last < _LABEL_WIDE else _TOP - 7
        parts += [_line(at, high + 3, at, bottom, _INK, dashed=True), _text(at, high, text, "middle")]
        last = at
    return parts


def _decades(latency: Latency) -> tuple[float, float]:
    """Return the powers of ten around all that is drawn."""
    values = [latency.deadline_ms, latency.curve[0][0], latency.curve[-1][0], latency.max_ms or 0.0]
    low = 10.0 ** math.floor(math.log10(max(min(value for value in values if value > 0), 1e-3)))
    return low, 10.0 ** max(math.ceil(math.log10(max(values))), round(math.log10(low)) + 1)


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(round(math.log10(low)), round(math.log10(high)))
    return [factor * 10.0**decade for decade in decades for factor in (1, 2, 5)] + [high]


def _ticks(low: float, high: float) -> list[float]:
    """Return round seconds between two moments, at most a dozen."""
    step = next((step for step in (0.5, 1.0, 2.0, 5.0, 10.0, 20.0) if (high - low) / step <= 12), 60.0)
    first = math.ceil(low / step)
    return [number * step for number in range(first, math.floor(high / step) + 1)]


def _deadline(x: float, bottom: float, ms: float) -> list[str]:
    side, anchor = (x - 5, "end") if x > WIDE / 2 else (x + 5, "start")
    return [_line(x, _TOP - 12, x, bottom, _INK, dashed=True), _text(side, _TOP - 6, f"deadline {ms:g} ms", anchor)]


def _point(x: float, y: float, text: str) -> list[str]:
    side, anchor = (x - 8, "end") if x > WIDE * 0.7 else (x + 8, "start")
    return [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" fill="{_INK}"/>', _text(side, y + 13, text, anchor)]


def _path(points: Iterable[tuple[float, float]]) -> str:
    """Return a line that rises in steps: nothing is known between two points."""
    commands = ""
    for x, y in points:
        commands += f"H{x:.1f}V{y:.1f}" if commands else f"M{x:.1f},{y:.1f}"
    return f'<path d="{commands}" fill="none" stroke="{_INK}" stroke-width="1.6"/>'


def _bar(x: float, top: float, wide: float, fill: str) -> str:
    size = f'x="{x:.1f}" y="{top}" width="{max(wide, 1.5):.1f}" height="{_LANE}"'
    return f'<rect {size} fill="{fill}" stroke="{_INK}" stroke-width="0.6"/>'


def _line(x1: float, y1: float, x2: float, y2: float, ink: str, *, dashed: bool = False) -> str:
    dash = ' stroke-dasharray="4 3"' if dashed else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{ink}" stroke-width="1"{dash}/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{_HALO}>{escape(text)}</text>'


def _svg(high: float, title: str, parts: Iterable[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {high:.0f}" role="img" font-size="11" '
        f'font-family="Helvetica, Arial, sans-serif" fill="{_INK}"><title>{escape(title)}</title>{"".join(parts)}</svg>'
    )

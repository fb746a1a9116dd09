"""The views of `edge.history.views` as pictures, drawn from the local store. Needs matplotlib, the extra `plot`."""

from __future__ import annotations

import importlib
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edge.history.curves import Curves, column
from edge.history.views import Form, How, Panel, View
from schemas.errors import StartError

if TYPE_CHECKING:
    from pathlib import Path

    from edge.history.curves import Drawn, Span
    from edge.history.query import History

MOST_CURVES: Final = 16  # in one panel; a legend of more hides it
MOST_ROWS: Final = 12
MOST_BARS: Final = 12
_CELLS: Final = 24
_WIDTH: Final = 15.0  # inches
_HEAD: Final = 0.75
_HEIGHTS: Final = {Form.FIGURE: 1.5, Form.CURVES: 2.9, Form.PARETO: 2.9, Form.ROWS: 4.0}
_SIDES: Final = {
    Form.FIGURE: (0.018, 0.01),
    Form.CURVES: (0.055, 0.125),
    Form.PARETO: (0.1, 0.04),
    Form.ROWS: (0.018, 0.018),
}
_INK, _FAINT, _GRID = "#1f2933", "#7b8794", "#e4e7eb"
_STYLE: Final = {
    "font.size": 9, "axes.titlesize": 10.5, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.edgecolor": _GRID, "axes.labelcolor": _INK, "text.color": _INK, "xtick.color": _FAINT, "ytick.color": _FAINT,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
    "grid.color": _GRID, "legend.frameon": False, "legend.fontsize": 7.5, "figure.facecolor": "white",
}  # fmt: skip
_COLOURS: Final = ("#2563eb", "#f59e0b", "#dc2626", "#059669", "#7c3aed", "#0891b2", "#db2777", "#65a30d", "#475569",
                   "#b45309")  # fmt: skip
_FIXED: Final = {"ok": "#059669", "nok": "#dc2626", "unknown": "#f59e0b"}
_MANNERS: Final = {
    "p95": ("-", 1.0, 0.6), "p99": ("-", 0.9, 0.35), "deadline": ("--", 1.1, 0.9),
    "low": ("-", 0.9, 0.35), "high": ("-", 1.0, 0.6),
}  # fmt: skip
_AGAIN: Final = "-."  # once the colours are used up
_STEPS_S: Final = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200, 14_400, 28_800, 43_200, 86_400,
                   172_800, 432_000, 864_000, 2_592_000, 8_640_000)  # fmt: skip
_TICKS: Final = 7
_ROOM: Final = {"text": 6.0, "result_id": 2.4, "pipeline": 1.3, "model": 1.3, "code": 1.3}  # of columns; else 1
_STEM: Final = "history-"


def plot(history: History, view: View, span: Span, folder: Path) -> Path:
    """Draw a view into `folder`; return its file.

    Raises:
        HistoryError: see `History`.
        StartError: matplotlib is not installed.
    """
    mpl, pyplot = _matplotlib()
    curves = Curves(history, span, [curve for panel in view.panels for curve in panel.curves])
    cells, height = _cells(view)
    with mpl.rc_context({**_STYLE, "axes.prop_cycle": mpl.cycler(color=_COLOURS)}):
        figure = pyplot.figure(figsize=(_WIDTH, height), dpi=100)
        figure.text(0.018, 1 - 0.42 / height, _title(view, span), fontsize=14, fontweight="bold", va="center")
        for panel, (left, bottom, width, tall) in cells:
            _panel(figure.add_axes((left, bottom / height, width, tall / height)), curves, panel, span)
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{_STEM}{view.name}.png"
        figure.savefig(file, metadata={"Software": None})
        pyplot.close(figure)
    return file


def _matplotlib() -> tuple[Any, Any]:
    try:
        mpl: Any = importlib.import_module("matplotlib")
        mpl.use("Agg")
        pyplot: Any = importlib.import_module("matplotlib.pyplot")
    except ImportError as error:
        raise StartError(
            f"to draw needs matplotlib ({error}); install plantedge[plot] (checkout: ./run setup dev)"
        ) from error
    return mpl, pyplot


def _cells(view: View) -> tuple[list[tuple[Panel, tuple[float, float, float, float]]], float]:
    """Return each panel with left, bottom, width, height of its axes, and the page's height; upwards in inches."""
    rows: list[list[Panel]] = [[]]
    for panel in view.panels:
        if sum(one.width for one in rows[-1]) + panel.width > _CELLS:
            rows.append([])
        rows[-1].append(panel)
    height = _HEAD + sum(max(_HEIGHTS[panel.form] for panel in row) for row in rows)
    found: list[tuple[Panel, tuple[float, float, float, float]]] = []
    top = height - _HEAD
    for row in rows:
        tall, at = max(_HEIGHTS[panel.form] for panel in row), 0
        for panel in row:
            left, right = _SIDES[panel.form]
            width = panel.width / _CELLS - left - right
            found.append((panel, (at / _CELLS + left, top - tall + 0.3, width, tall - 0.75)))
            at += panel.width
        top -= tall
    return found, height


def _title(view: View, span: Span) -> str:
    edges = [datetime.fromtimestamp(edge / 1e9, UTC).astimezone() for edge in (span.start_ns, span.end_ns)]
    return f"{view.title}   {edges[0]:%Y-%m-%d %H:%M} to {edges[1]:%Y-%m-%d %H:%M %Z}"


def _panel(axes: Any, curves: Curves, panel: Panel, span: Span) -> None:
    axes.set_title(_heading(panel, span))
    if panel.form is Form.ROWS:
        _table(axes, curves, panel)
    elif panel.form is Form.PARETO:
        _bars(axes, curves, panel)
    else:
        found = [one for curve in panel.curves for one in curves.drawn(curve)]
        _figure(axes, found, panel) if panel.form is Form.FIGURE else _curves(axes, found, panel, span)


def _heading(panel: Panel, span: Span) -> str:
    title = panel.title.replace("$tag", "/".join(span.tag))
    if any(curve.how is How.SUM for curve in panel.curves):  # how much it is depends on how long is looked at
        return f"{title}, in each {_shown(span.every_ns / 1e9, 's')}"
    return title


def _nothing(axes: Any) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.text(0.5, 0.5, "nothing in this time", ha="center", va="center", color=_FAINT, transform=axes.transAxes)


def _figure(axes: Any, found: list[Drawn], panel: Panel) -> None:
    axes.axis("off")
    mean = np.mean(np.concatenate([one.values for one in found])) if found else None
    axes.text(
        0.0, 0.62, "-" if mean is None else _shown(float(mean), panel.unit), fontsize=24, fontweight="bold", va="center"
    )
    axes.text(0.0, 0.12, panel.text, fontsize=8, color=_FAINT, va="center")


def _curves(axes: Any, found: list[Drawn], panel: Panel, span: Span) -> None:
    if not found:
        _nothing(axes)
        return
    most = sorted(found, key=lambda one: -float(np.max(one.values)))[:MOST_CURVES]
    groups = sorted({one.of or one.label for one in found})
    for one in [one for one in found if any(one is drawn for drawn in most)]:
        times = [datetime.fromtimestamp(time_s, UTC).astimezone() for time_s in one.times]
        number = groups.index(one.of or one.label)
        colour, again = _COLOURS[number % len(_COLOURS)], number >= len(_COLOURS)
        style, width, alpha = _MANNERS.get(one.label, (_AGAIN if again else "-", 1.4, 1.0))
        axes.plot(
            times, one.values, label=one.name, linestyle=style, linewidth=width, alpha=alpha,
            color=_FIXED.get(one.label, colour), marker="." if len(times) < 3 else None,
        )  # fmt: skip
    _axes(axes, found, panel, span)
    axes.legend(loc="upper left", bbox_to_anchor=(1.005, 1.0), borderaxespad=0.0, handlelength=1.4)


def _axes(axes: Any, found: list[Drawn], panel: Panel, span: Span) -> None:
    dates: Any = importlib.import_module("matplotlib.dates")
    ticker: Any = importlib.import_module("matplotlib.ticker")
    zone = datetime.now(UTC).astimezone().tzinfo
    locator = dates.AutoDateLocator(tz=zone, maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, tz=zone, show_offset=False))
    axes.set_xlim(*(datetime.fromtimestamp(edge / 1e9, UTC).astimezone() for edge in (span.start_ns, span.end_ns)))
    lows, highs = [float(np.min(one.values)) for one in found], [float(np.max(one.values)) for one in found]
    positive = [float(one.values[one.values > 0].min()) for one in found if (one.values > 0).any()]
    if panel.unit == "ms" and positive and max(highs) > 50 * min(positive):
        axes.set_yscale("log")
    elif panel.most is not None:
        axes.set_ylim(min(0.0, *lows) - 0.03 * panel.most, max(panel.most, *highs) * 1.05)
    elif min(lows) >= 0 and min(lows) <= 0.5 * max(highs):
        axes.set_ylim(0, max(highs) * 1.05 or 1)

    if panel.unit == "s":
        low, high = axes.get_ylim()
        axes.yaxis.set_major_locator(ticker.MultipleLocator(_step_s(high - low)))

    def in_unit(value: float, _: object) -> str:
        return _shown(value, panel.unit)

    axes.yaxis.set_major_formatter(ticker.FuncFormatter(in_unit))
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())


def _step_s(range_s: float) -> float:
    """Return how far apart ticks are that a clock would have."""
    return next((step for step in _STEPS_S if range_s / step <= _TICKS), range_s / _TICKS)


def _bars(axes: Any, curves: Curves, panel: Panel) -> None:
    if panel.rows is None:
        return
    counted = Counter(str(column(row, panel.rows.count)) for row in curves.newest(panel.rows))
    if not counted:
        _nothing(axes)
        return
    names, numbers = zip(*counted.most_common(MOST_BARS), strict=True)
    axes.barh(range(len(names)), numbers, color=_COLOURS[0], height=0.6)
    axes.set_yticks(range(len(names)), names, color=_INK)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    passed = 0
    for at, number in enumerate(numbers):
        passed += number
        axes.text(
            number, at, f"  {number}; {passed / counted.total():.0%} cumulative", va="center", fontsize=8, color=_FAINT
        )
    axes.margins(x=0.25)


def _table(axes: Any, curves: Curves, panel: Panel) -> None:
    axes.axis("off")
    rows = curves.newest(panel.rows)[:MOST_ROWS] if panel.rows else []
    if not rows or panel.rows is None:
        axes.text(0.5, 0.5, "nothing in this time", ha="center", va="center", color=_FAINT, transform=axes.transAxes)
        return
    names = ("time", *panel.rows.columns)
    room = [_ROOM.get(name, 1.0) for name in names]
    lines = [[_clock(row.time_ns), *(_cell(column(row, name), name) for name in names[1:])] for row in rows]
    share = (len(lines) + 1) / (MOST_ROWS + 1)
    table = axes.table(
        cellText=lines, colLabels=names, cellLoc="left", colLoc="left", edges="horizontal",
        colWidths=[one / sum(room) for one in room], bbox=(0.0, 1 - share, 1.0, share),
    )  # fmt: skip
    table.auto_set_font_size(False)
    table.set_fontsize(8)
    for (number, _), cell in table.get_celld().items():
        cell.set_edgecolor(_GRID)
        cell.PAD = 0.02
        cell.get_text().set_color(_FAINT if number == 0 else _INK)


def _clock(time_ns: int) -> str:
    return f"{datetime.fromtimestamp(time_ns / 1e9, UTC).astimezone():%H:%M:%S}"


def _cell(held: object, name: str) -> str:
    if held is None:
        return ""
    text = f"{held:.4g}" if isinstance(held, float) else str(held)
    most = 20 * _ROOM.get(name, 1.0)
    return text if len(text) <= most else text[: int(most) - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _shown(value: float, unit: str) -> str:
    if unit == "percentunit":
        return f"{value:.3g}" if value > 1.5 else f"{value:.1%}".replace(".0%", "%")
    if unit == "bytes":
        return f"{value / 1e6:,.4g} MB"
    if unit == "s":
        return _lasting(value)
    names = {"ms": " ms", "ops": "/s", "celsius": " °C"}
    return f"{value:,.4g}{names.get(unit, '')}"


def _lasting(seconds: float) -> str:
    for length, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * length or (seconds >= length and seconds % length == 0):
            return f"{seconds / length:,.3g} {name}"
    return f"{seconds:,.3g} s"

"""The views of `edge.history.views` as pictures, drawn from the local store. Needs matplotlib, the extra `plot`."""

from __future__ import annotations

import importlib
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edge.history.curves import column, drawn, newest
from edge.history.views import Form, Panel, View
from schemas.errors import StartError

if TYPE_CHECKING:
    from pathlib import Path

    from edge.history.curves import Drawn, Span
    from edge.history.query import History

MOST_CURVES: Final = 14  # in one panel; a legend of more hides it
MOST_ROWS: Final = 12
MOST_BARS: Final = 12
_CELLS: Final = 24
_WIDTH: Final = 15.0  # inches
_HEIGHTS: Final = {Form.FIGURE: 1.3, Form.CURVES: 2.9, Form.PARETO: 2.9, Form.ROWS: 3.4}
_INK, _FAINT, _GRID = "#1f2933", "#7b8794", "#e4e7eb"
_STYLE: Final = {
    "font.size": 9, "axes.titlesize": 10.5, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.edgecolor": _GRID, "axes.labelcolor": _INK, "text.color": _INK, "xtick.color": _FAINT, "ytick.color": _FAINT,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": _GRID, "axes.axisbelow": True,
    "legend.frameon": False, "legend.fontsize": 7.5, "figure.facecolor": "white",
}  # fmt: skip
_COLOURS: Final = ("#2563eb", "#f59e0b", "#dc2626", "#059669", "#7c3aed", "#0891b2", "#db2777", "#65a30d", "#475569",
                   "#b45309")  # fmt: skip
_FIXED: Final = {"ok": "#059669", "nok": "#dc2626", "unknown": "#f59e0b"}
_DASHED: Final = ("deadline",)
_LONG: Final = ("text", "result_id")  # columns that need room
_STEM: Final = "history-"


def plot(history: History, view: View, span: Span, folder: Path) -> Path:
    """Draw a view into `folder`; return its file.

    Raises:
        HistoryError: see `History`.
        StartError: matplotlib is not installed.
    """
    mpl, pyplot = _matplotlib()
    rows = _rows(view)
    with mpl.rc_context({**_STYLE, "axes.prop_cycle": mpl.cycler(color=_COLOURS)}):
        heights = [max(_HEIGHTS[panel.form] for panel in row) for row in rows]
        figure = pyplot.figure(figsize=(_WIDTH, sum(heights) + 0.8), dpi=110, layout="constrained")
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1, hspace=0.04)
        figure.suptitle(_title(view, span), fontsize=13, fontweight="bold", x=0.012, ha="left")
        grid = figure.add_gridspec(len(rows), _CELLS, height_ratios=heights)
        for number, row in enumerate(rows):
            at = 0
            for panel in row:
                axes = figure.add_subplot(grid[number, at : at + panel.width])
                _panel(axes, history, panel, span)
                at += panel.width
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
        raise StartError(f"to draw needs matplotlib ({error}); install plantedge[plot]") from error
    return mpl, pyplot


def _rows(view: View) -> list[list[Panel]]:
    rows: list[list[Panel]] = [[]]
    for panel in view.panels:
        if sum(one.width for one in rows[-1]) + panel.width > _CELLS:
            rows.append([])
        rows[-1].append(panel)
    return rows


def _title(view: View, span: Span) -> str:
    edges = [datetime.fromtimestamp(edge / 1e9, UTC).astimezone() for edge in (span.start_ns, span.end_ns)]
    return f"{view.title}   {edges[0]:%Y-%m-%d %H:%M} to {edges[1]:%Y-%m-%d %H:%M %Z}"


def _panel(axes: Any, history: History, panel: Panel, span: Span) -> None:
    axes.set_title(panel.title.replace("$tag", "/".join(span.tag)))
    if panel.form is Form.ROWS:
        _table(axes, history, panel, span)
    elif panel.form is Form.PARETO:
        _bars(axes, history, panel, span)
    else:
        found = [one for curve in panel.curves for one in drawn(history, curve, span)]
        _figure(axes, found, panel) if panel.form is Form.FIGURE else _curves(axes, found, panel, span)


def _nothing(axes: Any) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.text(0.5, 0.5, "nothing in this time", ha="center", va="center", color=_FAINT, transform=axes.transAxes)


def _figure(axes: Any, found: list[Drawn], panel: Panel) -> None:
    axes.axis("off")
    mean = np.mean(np.concatenate([one.values for one in found])) if found else None
    axes.text(0.0, 0.62, "-" if mean is None else _shown(float(mean), panel.unit), fontsize=24, fontweight="bold", va="center")
    axes.text(0.0, 0.12, panel.text, fontsize=8, color=_FAINT, va="center")


def _curves(axes: Any, found: list[Drawn], panel: Panel, span: Span) -> None:
    if not found:
        _nothing(axes)
        return
    most = sorted(found, key=lambda one: -float(np.max(one.values)))[:MOST_CURVES]
    for one in [one for one in found if one in most]:
        times = [datetime.fromtimestamp(time_s, UTC).astimezone() for time_s in one.times]
        dashed = one.label.endswith(_DASHED)
        axes.plot(
            times, one.values, label=one.label, linewidth=1.0 if dashed else 1.4, linestyle="--" if dashed else "-",
            color=_FIXED.get(one.label), marker="." if len(times) < 3 else None,
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
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: _shown(value, panel.unit)))
    lows, highs = [float(np.min(one.values)) for one in found], [float(np.max(one.values)) for one in found]
    positive = [float(one.values[one.values > 0].min()) for one in found if (one.values > 0).any()]
    if panel.unit == "ms" and positive and max(highs) > 50 * min(positive):
        axes.set_yscale("log")
    elif panel.most is not None:
        axes.set_ylim(min(0.0, *lows) - 0.03 * panel.most, max(panel.most, *highs) * 1.05)
    elif min(lows) >= 0 and min(lows) < 0.5 * max(highs):
        axes.set_ylim(bottom=0)


def _bars(axes: Any, history: History, panel: Panel, span: Span) -> None:
    if panel.rows is None:
        return
    counted = Counter(str(column(row, panel.rows.count)) for row in newest(history, panel.rows, span))
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
        axes.text(number, at, f"  {number}, {passed / counted.total():.0%} so far", va="center", fontsize=8, color=_FAINT)
    axes.margins(x=0.25)


def _table(axes: Any, history: History, panel: Panel, span: Span) -> None:
    axes.axis("off")
    rows = newest(history, panel.rows, span)[:MOST_ROWS] if panel.rows else []
    if not rows or panel.rows is None:
        axes.text(0.5, 0.5, "nothing in this time", ha="center", va="center", color=_FAINT, transform=axes.transAxes)
        return
    names = ("time", *panel.rows.columns)
    room = [3.2 if name in _LONG else 1.0 for name in names]
    lines = [[_clock(row.time_ns), *(_cell(column(row, name), name) for name in names[1:])] for row in rows]
    table = axes.table(
        cellText=lines, colLabels=names, cellLoc="left", colLoc="left", loc="upper left", edges="horizontal",
        colWidths=[one / sum(room) for one in room],
    )  # fmt: skip
    table.auto_set_font_size(False)
    table.set_fontsize(8)
    for (number, _), cell in table.get_celld().items():
        cell.set_edgecolor(_GRID)
        cell.set_height(1.0 / (MOST_ROWS + 1))
        cell.get_text().set_color(_FAINT if number == 0 else _INK)


def _clock(time_ns: int) -> str:
    return f"{datetime.fromtimestamp(time_ns / 1e9, UTC).astimezone():%H:%M:%S}"


def _cell(held: object, name: str) -> str:
    if held is None:
        return ""
    text = f"{held:.4g}" if isinstance(held, float) else str(held)
    most = 90 if name in _LONG else 26
    return text if len(text) <= most else text[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _shown(value: float, unit: str) -> str:
    if unit == "percentunit":
        return f"{value:.3g}" if value > 1.5 else f"{value:.1%}".replace(".0%", "%")
    if unit == "bytes":
        return f"{value / 1e6:,.4g} MB"
    if unit == "s":
        return f"{value / 60:,.3g} min" if value < 7_200 else f"{value / 3600:,.3g} h"
    names = {"ms": " ms", "ops": "/s", "celsius": " °C"}
    return f"{value:,.4g}{names.get(unit, '')}"

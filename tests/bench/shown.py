"""What a benchmark leaves behind: its table, its plots, its JSON line.

Plots go to `.plantedge/figures`, which git ignores; `--plots` writes them into `docs/explanation`.
"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape

from tests.bench.machine import described

ROOT = Path(__file__).resolve().parent.parent.parent
PLOTS, PUBLISHED = ROOT / ".plantedge" / "figures", ROOT / "docs" / "explanation"


def arguments(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser with what all benchmarks take."""
    parser = argparse.ArgumentParser(prog=f"./run bench {name}", description=description)
    parser.add_argument("--plots", action="store_true", help="write the plots into docs/explanation, not .plantedge")
    return parser


def coloured(text: str, good: bool) -> str:
    """Return a table's cell, green or red."""
    return f"[{'green' if good else 'red'}]{escape(text)}[/]"


class Targets:
    """Which targets were met; the missed ones are said at the end, and decide the exit status."""

    def __init__(self) -> None:
        """Start without any."""
        self.missed: list[str] = []

    def cell(self, what: str, text: str, good: bool) -> str:
        """Note one target and return its coloured cell."""
        if not good:
            self.missed.append(f"{what}: {text}")
        return coloured(text, good)

    def say(self, console: Console) -> None:
        """Print what was missed, and what it was measured on."""
        for miss in self.missed:
            console.print(f"[red]missed[/] {escape(miss)}")
        if not self.missed:
            console.print("[green]every target met[/]")
        console.print(described(), highlight=False)


def rounded(value: Any, digits: int = 4) -> Any:
    """Return `value` with its floats rounded to significant digits, and None for those that JSON can't say."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: rounded(held, digits) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(held, digits) for held in value]
    return value


def finish(figures: Any) -> None:
    """Print the last line."""
    print(json.dumps(rounded(figures)), flush=True)


# -- plots -------------------------------------------------------------------------------------------------------------


def axes_of(title: str, x: str, y: str) -> tuple[Any, Any]:
    """Return a figure and its axes."""
    import matplotlib as mpl  # only a benchmark that draws needs it

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), dpi=110)
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(visible=True, which="both", alpha=0.25)
    return figure, axes


def saved(figure: Any, name: str, published: bool, console: Console) -> None:
    """Write a figure as bench-NAME.png, and close it."""
    from matplotlib import pyplot

    folder = PUBLISHED if published else PLOTS
    folder.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(folder / f"bench-{name}.png", metadata={"Software": None})
    pyplot.close(figure)
    console.print(f"plot: {(folder / f'bench-{name}.png').relative_to(ROOT)}", highlight=False)


def plot_latencies(name: str, title: str, lines: Mapping[str, Any], published: bool, console: Console) -> None:
    """Draw the share of answers that took longer than a time: `lines` are latencies in microseconds by label."""
    figure, axes = axes_of(title, "latency, ms", "share that took longer (1 - CDF)")
    for label, us in lines.items():
        times = np.sort(np.asarray(us)) / 1e3
        axes.plot(times, 1 - np.arange(len(times)) / len(times), label=label)
    axes.set(xscale="log", yscale="log", ylim=(1e-4, 1.1))
    axes.legend(fontsize="small")
    saved(figure, name, published, console)


def plot_throughput(
    name: str, title: str, lines: Mapping[str, Sequence[tuple[float, float]]], published: bool, console: Console,
    x: str = "requests in flight", y: str = "answers per second",
) -> None:  # fmt: skip
    """Draw curves: label -> (x, y) points."""
    figure, axes = axes_of(title, x, y)
    for label, points in lines.items():
        axes.plot([at for at, _ in points], [value for _, value in points], marker="o", label=label)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize="small")
    saved(figure, name, published, console)


def plot_course(
    name: str, title: str, above: tuple[Any, Any, str], below: tuple[Any, Any, str], published: bool, console: Console
) -> None:
    """Draw two things over the seconds of one run: dots, and below a curve, each of whose points is a mark above."""
    figure, upper = axes_of(title, "", above[2])
    upper.remove()
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot(above[0], above[1], ",", alpha=0.6)
    upper.set(title=title, ylabel=above[2], yscale="log")
    marks = upper.get_xaxis_transform()  # seconds across, share of the height upwards
    upper.plot(below[0], [0.02] * len(below[0]), "|", color="tab:red", markersize=6, transform=marks)
    lower.plot(below[0], below[1], ".-", color="tab:red", linewidth=0.5, markersize=3)
    lower.set(xlabel="s", ylabel=below[2], ylim=(0, max(below[1], default=1) * 1.2))
    for axes in (upper, lower):
        axes.grid(visible=True, which="both", alpha=0.25)
    saved(figure, name, published, console)

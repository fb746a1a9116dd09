"""Tables and the plot of `bench drift`."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from edge.inference.drift.levels import Level
from tests.bench.shown import axes_of, saved

HARM, HARMLESS = 0.03, 0.01  # of accuracy
RAISED = {"inputs_changed", "model_degraded"}
NOT_INPUTS = ("entropy", "scores", "mix", "score")
UNSEEN = ("more defects", "other product", "none")


def show_cases(title: str, cases: Sequence[Any]) -> Table:
    """One row per change: what it costs, how many devices said what, after how many windows, and why."""
    table = Table(title=title)
    for column in ("change", "pp lost", "worst", "ok", "inputs", "model", "after", "most telling"):
        table.add_column(column)
    order = {(case.name, case.severity): at for at, case in reversed(list(enumerate(cases)))}
    of = sorted(cases, key=lambda case: order[case.name, case.severity])
    for (name, severity), found in groupby(of, key=lambda case: (case.name, case.severity)):
        row = list(found)
        losses = [100 * case.loss for case in row]
        levels = [case.level for case in row]
        waits = [min(case.windows[level] for level in case.windows if level in RAISED)
                 for case in row if RAISED & case.windows.keys()]  # fmt: skip
        telling = max(row[0].scores, key=lambda signal: np.median([case.scores.get(signal, 0.0) for case in row]))
        table.add_row(
            f"{name} {severity}".strip(), f"{np.median(losses):.1f}", f"{max(losses):.1f}",
            *(str(levels.count(level)) for level in (Level.OK, Level.INPUTS_CHANGED, Level.MODEL_DEGRADED)),
            f"{np.median(waits):.0f}" if waits else "-", telling,
        )  # fmt: skip
    return table


def area(scores: Any, harmful: Any) -> float:
    """Return the chance that a harmful case scores over a harmless one (the area under the ROC curve)."""
    high, low = np.asarray(scores)[harmful], np.asarray(scores)[~harmful]
    return float((high[:, None] > low).mean() + (high[:, None] == low).mean() / 2) if len(high) and len(low) else 0.5


def columns(cases: Sequence[Any]) -> dict[str, Any]:
    """Each signal's scores, those of all inputs together, and of both that level 2 looks at."""
    found = {name: np.array([case.scores.get(name, 0.0) for case in cases]) for name in ("entropy", "scores", "mix")}
    found["any input"] = np.array(
        [max((s for name, s in case.scores.items() if name not in NOT_INPUTS), default=0.0) for case in cases]
    )
    found["level 2"] = np.max([found[name] for name in ("entropy", "scores", "mix")], axis=0)
    return found


def clear(cases: Sequence[Any]) -> tuple[list[Any], Any]:
    """Those that clearly cost something or clearly nothing, and which do."""
    kept = [c for c in cases if c.name not in UNSEEN and (c.loss >= HARM or c.loss < HARMLESS)]
    return kept, np.array([case.loss >= HARM for case in kept])


def show_auc(console: Console, cases: Sequence[Any]) -> dict[str, float]:
    """Print and return how well each signal tells harm from no harm, and what the levels make of it."""
    kept, harmful = clear(cases)
    sighted = [case.name not in ("defocus", "motion_blur", "new defect") for case in kept]
    table = Table(title=f"{int(harmful.sum())} harmful (>= 3 pp) and {int((~harmful).sum())} harmless (< 1 pp) changes")
    for column in ("signal", "AUC", "without blur and new defects"):
        table.add_column(column)
    figures: dict[str, float] = {}
    for name, scores in columns(kept).items():
        figures[name] = area(scores, harmful)
        table.add_row(name, f"{figures[name]:.3f}", f"{area(scores[sighted], harmful[sighted]):.3f}")
    for level in (Level.INPUTS_CHANGED, Level.MODEL_DEGRADED):
        least = {Level.MODEL_DEGRADED} if level is Level.MODEL_DEGRADED else {level, Level.MODEL_DEGRADED}
        said = np.array([case.level in least for case in kept])
        figures[f"{level.value}_found"], figures[f"{level.value}_cried"] = said[harmful].mean(), said[~harmful].mean()
        table.add_row(f"{level.value} or graver", f"{said[harmful].mean():.0%} of the harmful",
                      f"{said[~harmful].mean():.0%} of the harmless")  # fmt: skip
    console.print(table)
    return {name: float(value) for name, value in figures.items()}


def draw(cases: Sequence[Any], published: bool, console: Console) -> None:
    """Draw what a change costs against the score of each level."""
    figure, upper = axes_of("What a change of the camera costs, and what the watch says", "", "")
    upper.remove()
    both = figure.subplots(1, 2, sharey=True)
    kept = [case for case in cases if case.name not in UNSEEN]
    found = columns(kept)
    names = sorted({case.name for case in kept})
    for axes, signal, title in zip(both, ("any input", "level 2"), ("inputs changed", "model degraded"), strict=True):
        for at, name in enumerate(names):
            rows = [i for i, case in enumerate(kept) if case.name == name]
            axes.plot(
                np.clip(found[signal][rows], 0.02, 100), [100 * kept[i].loss for i in rows], linestyle="", label=name,
                color=f"C{at % 10}", alpha=0.7, marker="ov^sD*Xp<>"[at % 10], markersize=4,
            )  # fmt: skip
        axes.axvline(1.0, color="black", linewidth=0.8)
        axes.axhline(100 * HARM, color="grey", linewidth=0.8, linestyle=":")
        axes.set(xscale="log", xlabel=f"{title}: score, the limit is 1")
        axes.grid(visible=True, alpha=0.25)
    both[0].set_ylabel("accuracy lost, percentage points")
    both[1].legend(fontsize="x-small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.suptitle("What a change of the camera costs, and what the watch says of it")
    saved(figure, "drift", published, console)

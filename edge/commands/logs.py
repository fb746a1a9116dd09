"""`plantedge logs`: the last lines of each process, and what comes after."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from edge.config.problems import nearest
from edge.supervision.run_state import log_file, work_folder
from edge.supervision.spawn import last_lines

POLL_S = 0.25


def logs(home: Path | None, process: str | None, *, follow: bool, lines: int) -> int:
    """Print the last lines of one log, or of all with their process in front."""
    folder = log_file(work_folder(home), "x").parent
    names = sorted(path.stem for path in folder.glob("*.log"))
    if process is not None and process.replace("@", "-") not in names:
        near = nearest(process, names)
        remedy = f"did you mean {near}?" if near else f"there are {', '.join(names) or 'none yet'}"
        print(f"plantedge logs: {folder} has no log of {process}; {remedy}", file=sys.stderr)
        return 1
    chosen = [process.replace("@", "-")] if process else names
    width = 0 if process else max(map(len, chosen), default=0) + 2
    ends: dict[str, int] = {}
    for name in chosen:
        path = log_file(folder.parent, name)
        ends[name] = path.stat().st_size
        for line in last_lines(path, lines):
            print(f"{name:<{width}}{line}" if width else line)
    while follow:
        _follow(folder.parent, ends, width)
        time.sleep(POLL_S)
    return 0


def _follow(work: Path, ends: dict[str, int], width: int) -> None:
    for name, end in ends.items():
        path = log_file(work, name)
        size = path.stat().st_size if path.exists() else 0
        if size < end:  # it was cut short, its older half is in NAME.log.1
            end = 0
        if size > end:
            with path.open("rb") as file:
                file.seek(end)
                for line in file.read(size - end).decode(errors="replace").splitlines():
                    print(f"{name:<{width}}{line}" if width else line, flush=True)
        ends[name] = size

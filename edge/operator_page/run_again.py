"""`python -m edge.operator_page.run_again HOME RESULT_ID`: replays one part's evidence and prints a `ReplayView`.

A process of its own: it loads models, which must neither stay in the page's memory nor hold it up. It is nice to all
others, since they may be the line.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import msgspec

from edge.operator_page.views import ReplayView

NICE: Final = 15


def run_again(home: Path, result_id: str) -> ReplayView:
    """Return what comes of a part's evidence now, or why it can't be run."""
    from edge.history.evidence import EvidenceReader
    from edge.inference.replay import replay
    from edge.settings import load_settings
    from schemas.errors import PlantEdgeError

    try:
        replayed = replay(EvidenceReader(home).find(result_id), home, load_settings(home).runtime)
    except (PlantEdgeError, OSError) as error:
        return ReplayView(problem=" ".join(str(error).split()))
    judged = replayed.judgement
    return ReplayView(
        same=replayed.same, verdict=judged.verdict, label=judged.label, score=judged.score,
        engine=replayed.engine_version, causes=[] if replayed.same else replayed.causes(),
    )  # fmt: skip


if __name__ == "__main__":
    os.nice(NICE)
    sys.stdout.buffer.write(msgspec.json.encode(run_again(Path(sys.argv[1]), sys.argv[2])))

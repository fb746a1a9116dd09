"""What a picture classifier got right, and how sure that is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge.sim.parts import LABELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge.engines import Session
    from edge.sim.training.dataset import Pictures


def _guess(session: Session, data: Pictures) -> NDArray[np.int64]:
    chunks = [
        session.run({"image": data.images[at : at + 200]})["probabilities"].argmax(1)
        for at in range(0, len(data.images), 200)
    ]
    return np.concatenate(chunks)


def score(session: Session, mixed: Pictures, fine: Pictures) -> dict[str, float]:
    """Accuracy and recall on mixed parts; the false reject rate on fine ones with its 95 % Wilson interval."""
    guesses = _guess(session, mixed)
    figures = {"accuracy": float((guesses == mixed.labels).mean())}
    for index, label in enumerate(LABELS):
        figures[f"recall_{label}"] = float((guesses[mixed.labels == index] == index).mean())
    bad = mixed.labels != LABELS.index("ok")
    figures["escape_rate"] = float((guesses[bad] == LABELS.index("ok")).mean())
    rejected, count = int((_guess(session, fine) != LABELS.index("ok")).sum()), len(fine.labels)
    low, high = wilson(rejected, count)
    return figures | {"false_reject_rate": rejected / count, "false_reject_low_95": low, "false_reject_high_95": high}


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of which `hits` of `count` were seen."""
    z = 1.96
    share = hits / count
    centre = share + z * z / (2 * count)
    half = z * float(np.sqrt(share * (1 - share) / count + z * z / (4 * count * count)))
    return (centre - half) / (1 + z * z / count), (centre + half) / (1 + z * z / count)

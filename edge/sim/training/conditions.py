"""What `gear_condition` makes of gearboxes and speeds that it never saw, and how often it alarms for nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from edge.sim.training.scores import wilson
from edge.sim.training.snapshots import EARLY, HEALTHY_MACHINES, PLAIN, TEST_MACHINES, healthy, unseen
from edge.sim.vibration import CONDITIONS, GEAR_FAULTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from edge.engines import Session
    from edge.sim.training.snapshots import Snapshots

ALARM_AT: Final = 0.98  # the demo's pipeline: the faults' probabilities together
_BATCH: Final = 32


def evaluate(
    session: Session, machines: range = TEST_MACHINES, sound_machines: range = HEALTHY_MACHINES
) -> dict[str, float]:
    """Return accuracy, recall per fault (plain and early), and the rate of false alarms with its 95 % interval."""
    answers, labels, severities = _answers(session, unseen(machines))
    guesses, alarmed = answers.argmax(1), answers[:, 1:].sum(1) >= ALARM_AT
    figures = {"accuracy": float((guesses == labels).mean())}
    for fault in GEAR_FAULTS:
        for name, (low, high) in (("plain", PLAIN), ("early", EARLY)):
            index = CONDITIONS.index(fault)
            chosen = (labels == index) & (severities >= low) & (severities < high)
            figures[f"{fault}_{name}_named"] = float((guesses[chosen] == index).mean())
            figures[f"{fault}_{name}_alarmed"] = float(alarmed[chosen].mean())
    sound, _, _ = _answers(session, healthy(sound_machines))
    alarms, count = int((sound[:, 1:].sum(1) >= ALARM_AT).sum()), len(sound)
    low95, high95 = wilson(alarms, count)
    return figures | {
        "healthy_snapshots": count, "false_alarm_rate": alarms / count, "false_alarm_low_95": low95,
        "false_alarm_high_95": high95,
    }  # fmt: skip


def _answers(
    session: Session, pieces: Iterator[Snapshots]
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float64]]:
    answers: list[NDArray[np.float32]] = []
    labels: list[NDArray[np.int64]] = []
    severities: list[NDArray[np.float64]] = []
    for piece in pieces:
        for at in range(0, len(piece.labels), _BATCH):
            answers.append(session.run({"window": piece.windows[at : at + _BATCH]})["probabilities"])
        labels.append(piece.labels)
        severities.append(piece.severities)
    return np.concatenate(answers), np.concatenate(labels), np.concatenate(severities)

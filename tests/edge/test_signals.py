"""The simulated line's signals: repeatable at any instant, plausible, and with faults that begin when they should."""

import numpy as np
import pytest

from edge.sim.signals import FAULTS, Fault, FaultKind, line_signals


def test_any_instant_can_be_asked_alone_and_in_any_order() -> None:
    t = np.arange(0.0, 3000.0, 7.0)
    whole = np.stack(line_signals(t, 4))
    alone = np.array([line_signals(float(instant), 4) for instant in t[::-1]]).T[:, ::-1]
    assert np.allclose(whole, alone, rtol=0, atol=1e-9)


def test_lines_of_different_seeds_differ() -> None:
    t = np.arange(100.0)
    assert not np.allclose(line_signals(t, 1).motor_c, line_signals(t, 2).motor_c, atol=0.1)


def test_a_clean_line_stays_in_its_ranges() -> None:
    line = line_signals(np.arange(0.0, 8 * 3600.0, 2.0), 11)
    assert 440 < line.speed_ppm.min() < line.speed_ppm.max() < 640
    assert 45 < line.motor_c.min() < line.motor_c.max() < 66
    assert 15.5 < line.fill_c.min() < line.fill_c.max() < 20


def test_the_motor_follows_the_load_with_a_lag() -> None:
    t = np.arange(0.0, 12 * 3600.0, 5.0)
    line = line_signals(t, 6)
    lags = [np.corrcoef(line.speed_ppm[: len(t) - lag], line.motor_c[lag:])[0, 1] for lag in (0, 18, 120)]
    assert lags[1] > 0.5
    assert lags[1] > lags[0]
    assert lags[1] > lags[2]


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_changes_nothing_before_it_begins(kind: FaultKind) -> None:
    t = np.arange(0.0, 600.0)
    assert np.array_equal(np.stack(line_signals(t, 3)), np.stack(line_signals(t, 3, Fault(kind, 600.0))))


def test_each_fault_moves_its_own_signal() -> None:
    clean = line_signals(1300.0, 3)
    overheat, jam, drift = (line_signals(1300.0, 3, Fault(kind, 1000.0)) for kind in ("overheat", "jam", "fill_drift"))
    assert overheat.motor_c > clean.motor_c + 20
    assert overheat.speed_ppm == clean.speed_ppm
    assert jam.speed_ppm < 0.2 * clean.speed_ppm
    assert drift.fill_c > clean.fill_c + 5
    assert drift.motor_c == clean.motor_c

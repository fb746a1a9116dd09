"""The simulated gearbox's vibration: repeatable, as physics has it, and with faults that show where they must."""

import numpy as np
import pytest

from edge.sim.vibration import (
    BPFI,
    BPFO,
    GEAR_FAULTS,
    RATE_HZ,
    SAMPLES,
    TEETH,
    TURN_HZ,
    GearFault,
    vibration,
)

HERTZ_PER_BIN = RATE_HZ / SAMPLES


def spectrum(signal: np.ndarray) -> np.ndarray:
    """Amplitude per bin."""
    return np.abs(np.fft.rfft((signal - signal.mean()) * np.hanning(len(signal)))) * 4 / len(signal)


def peak(spectra: np.ndarray, hertz: float) -> float:
    """The highest amplitude within 3 % of a frequency: the motor slips."""
    low, high = int(0.97 * hertz / HERTZ_PER_BIN), int(np.ceil(1.03 * hertz / HERTZ_PER_BIN))
    return float(spectra[low : high + 1].max())


def envelope(signal: np.ndarray) -> np.ndarray:
    """The spectrum of how loud the resonance band is."""
    bins = np.fft.fft(signal - signal.mean())
    hertz = np.fft.fftfreq(len(signal), 1 / RATE_HZ)
    bins[(hertz < 1500) | (hertz > 3100)] = 0
    return spectrum(np.abs(np.fft.ifft(2 * bins)))


def test_a_snapshot_is_made_again_byte_for_byte() -> None:
    first, again = vibration(3, 14, 560.0, "bearing", 0.5), vibration(3, 14, 560.0, "bearing", 0.5)
    assert first.dtype == np.float32
    assert first.shape == (SAMPLES, 2)
    assert first.tobytes() == again.tobytes()


def test_machines_and_moments_differ() -> None:
    found = {vibration(seed, number, 560.0).tobytes() for seed in range(5) for number in range(5)}
    assert len(found) == 25


@pytest.mark.parametrize("speed_ppm", [400.0, 600.0])
def test_the_turn_and_the_gear_mesh_follow_the_line(speed_ppm: float) -> None:
    radial = spectrum(vibration(1, 2, speed_ppm)[:, 0])
    turn_hz = TURN_HZ * speed_ppm / 600
    rest = np.median(radial)
    assert peak(radial, turn_hz * TEETH) > 20 * rest
    assert peak(radial, turn_hz) > 3 * rest
    assert peak(radial, turn_hz * TEETH * 0.8) < 10 * rest


def test_imbalance_stands_at_once_per_turn_and_grows_with_the_square_of_the_speed() -> None:
    slow, fast = (
        peak(spectrum(vibration(1, 2, ppm, "imbalance", 1.0)[:, 0]), TURN_HZ * ppm / 600) for ppm in (400, 800)
    )
    assert 3.0 < fast / slow < 5.0
    sound = peak(spectrum(vibration(1, 2, 400.0)[:, 0]), TURN_HZ * 400 / 600)
    assert slow > 3 * sound


@pytest.mark.parametrize("seed", range(8))
def test_a_pit_rings_at_the_rate_of_its_race(seed: int) -> None:
    turn_hz = TURN_HZ * 0.99
    strikes = {
        rate: peak(envelope(vibration(seed, 5, 600.0, "bearing", 1.0)[:, 0]), rate * turn_hz) for rate in (BPFO, BPFI)
    }
    clean = {rate: peak(envelope(vibration(seed, 5, 600.0)[:, 0]), rate * turn_hz) for rate in (BPFO, BPFI)}
    assert max(strikes.values()) > 4 * max(clean.values())


def test_both_races_occur() -> None:
    turn_hz = TURN_HZ * 0.99
    spectra = [envelope(vibration(seed, 5, 600.0, "bearing", 1.0)[:, 0]) for seed in range(12)]
    outer = [peak(one, BPFO * turn_hz) > peak(one, BPFI * turn_hz) for one in spectra]
    assert 0 < sum(outer) < len(outer)


def test_looseness_has_half_orders() -> None:
    loose, sound = (spectrum(vibration(1, 2, 600.0, fault, 1.0)[:, 0]) for fault in ("looseness", None))
    halves = [TURN_HZ * 0.99 * order for order in (1.5, 2.5, 3.5)]
    assert sum(peak(loose, hertz) for hertz in halves) > 4 * sum(peak(sound, hertz) for hertz in halves)


@pytest.mark.parametrize("fault", GEAR_FAULTS)
def test_a_fault_grows_with_its_severity(fault: GearFault) -> None:
    levels = [vibration(1, 2, 600.0, fault, severity).std() for severity in (0.0, 0.5, 1.0)]
    assert levels[0] < levels[1] < levels[2]


@pytest.mark.parametrize("fault", [None, *GEAR_FAULTS])
def test_a_gearbox_that_stands_still_is_quiet(fault: GearFault | None) -> None:
    still = vibration(1, 2, 0.0, fault, 1.0)
    assert np.isfinite(still).all()
    assert still.std() < 0.5 * vibration(1, 2, 600.0, fault, 1.0).std()

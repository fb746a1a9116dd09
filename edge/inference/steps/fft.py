"""Where in frequency a window swings: the amplitude spectrum of each column, or the energy in named bands.

One-sided, Hann-windowed, the mean taken out; a sine of amplitude A that fits a line gives A there (ISO 18431-2 calls it
the amplitude spectrum of a periodic signal).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import Field, model_validator

from edge.config.section import Section
from edge.inference.steps import Spec, Specs, Step, Value, only
from schemas.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class Options(Section):
    """`sample_hz`: of the window's rows. `bands`: [from, to] in Hz; then the RMS in each, else the whole spectrum."""

    sample_hz: float = Field(gt=0)
    bands: list[list[float]] = []

    @model_validator(mode="after")
    def _fit(self) -> Self:
        for band in self.bands:
            if len(band) != 2 or not 0 <= band[0] < band[1] <= self.sample_hz / 2:
                raise ValueError(f"a band is [from, to] in Hz, rising, within 0 to {self.sample_hz / 2:g}; not {band}")
        return self


def make(options: Options, taken: Sequence[Specs]) -> Step:
    """Take [N, length, columns]; give `fft` [N, columns * bands] or [N, columns * (length // 2 + 1)] float32."""
    length, columns = only("fft", taken, 2).shape
    if length < 4:
        raise ContractError([f"op fft takes windows of at least 4 rows, not {length}"])
    lines = np.fft.rfftfreq(length, 1 / options.sample_hz)
    masks = np.array([(lines >= low) & (lines < high) for low, high in options.bands], dtype=np.float64)
    if options.bands and not masks.any(axis=1).all():
        thin = options.bands[int(masks.any(axis=1).argmin())]
        width_hz = options.sample_hz / length
        raise ContractError(
            [f"op fft: no line of the spectrum lies in the band {thin}; they are {width_hz:g} Hz apart"]
        )
    hann = np.hanning(length + 1)[:-1]
    width = columns * (len(options.bands) or len(lines))
    return Spectrum(hann[:, None], masks, {"fft": Spec("float32", (width,))})


@dataclass(frozen=True)
class Spectrum:
    """See `make`. `masks`: [bands, lines], empty for the whole spectrum."""

    hann: NDArray[Any]
    masks: NDArray[Any]
    gives: Specs
    rowwise: bool = True
    most_rows: int = 0

    def run(self, *taken: Value) -> Value:
        """Compute in float64; column by column, each with its bands or lines."""
        (window,) = taken[0].values()
        values: Any = window.astype(np.float64)
        swing = (values - values.mean(axis=1, keepdims=True)) * self.hann
        amplitude = np.abs(np.fft.rfft(swing, axis=1)) * 2 / self.hann.sum()  # [N, lines, columns]
        if len(self.masks):
            noise_bandwidth = len(self.hann) * (self.hann**2).sum() / self.hann.sum() ** 2
            power = np.einsum("bl,nlc->ncb", self.masks, amplitude**2) / 2 / noise_bandwidth
            found = np.sqrt(power)
        else:
            found = amplitude.transpose(0, 2, 1)
        return {"fft": found.reshape(len(window), -1).astype(np.float32)}

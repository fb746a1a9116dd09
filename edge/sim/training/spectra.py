"""The fixed part of `gear_condition`, in torch for training and in ONNX for the device.

Per axis: the signal below 400 Hz, where turn and looseness show, and the envelope of the 1.7 to 2.9 kHz band, where
strikes ring; of both the power spectrum (Welch: the mean of three pieces that overlap by half), in bands that are
equally wide in log frequency. Beside them the level of the signal, the level of the envelope, and how spiky that is
(its kurtosis). All as logarithms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from onnx import NodeProto, TensorProto, helper
from torch import nn

from edge.sim.vibration import AXES, RATE_HZ, SAMPLES

if TYPE_CHECKING:
    from numpy.typing import NDArray

BANDS: Final = 96
LEVELS: Final = 3 * len(AXES)

_DECIMATED: Final = 8
_POINTS: Final = 256  # of a piece: a turn of a Fourier sum fits into uint8
_BINS: Final = _POINTS // 2
_PIECES: Final = np.arange(_POINTS) + np.arange(0, SAMPLES // _DECIMATED - _POINTS + 1, _POINTS // 2)[:, None]
_TURN: Final = np.float32(2.0 * np.pi / _POINTS)
_LOWEST_HZ: Final = 5.0
_FLOOR: Final = np.float32(1e-6)  # (m/s2)^2: what is quieter is as good as nothing
_LOW_TAPS: Final = 64
_LOW_PAD: Final = (_LOW_TAPS - _DECIMATED) // 2
_RING_TAPS: Final = 33
_RING_HZ: Final = 2300.0


@dataclass(frozen=True)
class Front:
    """Filters, the turns of the Fourier sums in 256ths, their taper, and the bands' weights."""

    low: NDArray[np.float32]
    ring: NDArray[np.float32]
    turns: NDArray[np.uint8]
    taper: NDArray[np.float32]
    bands: NDArray[np.float32]

    @classmethod
    def designed(cls) -> Front:
        """Return the filters for `RATE_HZ`."""
        place = np.arange(_LOW_TAPS) - (_LOW_TAPS - 1) / 2
        cut = 0.9 / (2 * _DECIMATED)
        low = np.sinc(2 * cut * place) * np.hamming(_LOW_TAPS)
        swing = 2 * np.pi * _RING_HZ / RATE_HZ * (np.arange(_RING_TAPS) - (_RING_TAPS - 1) / 2)
        shape = np.hanning(_RING_TAPS + 2)[1:-1]
        ring = np.stack([np.cos(swing), np.sin(swing)]) * shape / shape.sum() * 2
        taper = np.hanning(_POINTS + 1)[:-1]
        return cls(
            low=(low / low.sum()).astype(np.float32)[None, None], ring=ring.astype(np.float32)[:, None],
            turns=(np.outer(np.arange(_POINTS), np.arange(_BINS)) % _POINTS).astype(np.uint8),
            taper=(taper / taper.sum() * 2).astype(np.float32)[:, None], bands=_bands(),
        )  # fmt: skip

    def features(self, windows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return spectra [N, 4, BANDS] and levels [N, LEVELS] of windows [N, SAMPLES, 2]; `nodes` does the same."""
        signal = windows.permute(0, 2, 1).reshape(-1, 1, SAMPLES)
        signal = signal - signal.mean(2, keepdim=True)
        low = nn.functional.conv1d(signal, torch.from_numpy(self.low), stride=_DECIMATED, padding=_LOW_PAD)
        rung = nn.functional.conv1d(signal, torch.from_numpy(self.ring), padding=_RING_TAPS // 2)
        power = nn.functional.avg_pool1d((rung * rung).sum(1, keepdim=True), _DECIMATED)
        both = torch.cat([low, (power + float(_FLOOR)).sqrt()], 1)
        pieces = both[:, :, torch.from_numpy(_PIECES)]
        pieces = pieces - pieces.mean(3, keepdim=True)
        angles, taper = torch.from_numpy(self.turns).float() * float(_TURN), torch.from_numpy(self.taper)
        bins = (pieces @ (angles.cos() * taper)) ** 2 + (pieces @ (angles.sin() * taper)) ** 2
        spectra = (bins.mean(2) @ torch.from_numpy(self.bands) + float(_FLOOR)).log()
        mean, square = power.mean(2), (power * power).mean(2)
        levels = torch.cat([(signal * signal).mean(2), mean, square / (mean * mean + float(_FLOOR))], 1)
        return spectra.reshape(len(windows), -1, BANDS), (levels + float(_FLOOR)).log().reshape(len(windows), -1)

    def weights(self) -> dict[str, NDArray[np.generic]]:
        """Return what `nodes` needs, by name."""
        return {
            "low_taps": self.low, "ring_taps": self.ring, "turns": self.turns, "taper": self.taper,
            "band_weights": self.bands, "turn": np.array(_TURN), "floor": np.array(_FLOOR),
            "as_signals": np.array([-1, 1, SAMPLES]), "as_spectra": np.array([-1, 2 * len(AXES), BANDS]),
            "as_levels": np.array([-1, LEVELS]), "piece_places": _PIECES, "second_axis": np.array([1]),
        }  # fmt: skip

    def nodes(self, window: str) -> list[NodeProto]:
        """Return the part of the graph that turns `window` into `spectra` and `levels`."""
        return [*_filter_nodes(window), *_fourier_nodes(), *_level_nodes()]


def _filter_nodes(window: str) -> list[NodeProto]:
    """From the window to `signal`, the envelope's `power`, and the `pieces` of both."""
    node = helper.make_node
    return [
        node("Transpose", [window], ["planes"], perm=[0, 2, 1]),
        node("Reshape", ["planes", "as_signals"], ["raw"]),
        node("ReduceMean", ["raw"], ["rest"], axes=[2], keepdims=1),
        node("Sub", ["raw", "rest"], ["signal"]),
        node("Conv", ["signal", "low_taps"], ["low"], kernel_shape=[_LOW_TAPS], strides=[_DECIMATED],
             pads=[_LOW_PAD] * 2),
        node("Conv", ["signal", "ring_taps"], ["rung"], kernel_shape=[_RING_TAPS], pads=[_RING_TAPS // 2] * 2),
        node("Mul", ["rung", "rung"], ["rung_squared"]),
        node("ReduceSum", ["rung_squared", "second_axis"], ["momentary"], keepdims=1),
        node("AveragePool", ["momentary"], ["power"], kernel_shape=[_DECIMATED], strides=[_DECIMATED]),
        node("Add", ["power", "floor"], ["power_floored"]),
        node("Sqrt", ["power_floored"], ["envelope"]),
        node("Concat", ["low", "envelope"], ["courses"], axis=1),
        node("Gather", ["courses", "piece_places"], ["plain_pieces"], axis=2),
        node("ReduceMean", ["plain_pieces"], ["piece_mean"], axes=[3], keepdims=1),
        node("Sub", ["plain_pieces", "piece_mean"], ["pieces"]),
    ]  # fmt: skip


def _fourier_nodes() -> list[NodeProto]:
    """From `pieces` to `spectra`. What hangs on constants alone is computed once, when an engine loads the graph."""
    node = helper.make_node
    found = [
        node("Cast", ["turns"], ["turns_float"], to=TensorProto.FLOAT),
        node("Mul", ["turns_float", "turn"], ["angles"]),
    ]
    for name, kind in (("cos", "Cos"), ("sin", "Sin")):
        found += [
            node(kind, ["angles"], [f"{name}_plain"]),
            node("Mul", [f"{name}_plain", "taper"], [f"{name}_matrix"]),
            node("MatMul", ["pieces", f"{name}_matrix"], [f"{name}_sums"]),
            node("Mul", [f"{name}_sums", f"{name}_sums"], [f"{name}_power"]),
        ]
    return [
        *found,
        node("Add", ["cos_power", "sin_power"], ["piece_bins"]),
        node("ReduceMean", ["piece_bins"], ["bins"], axes=[2], keepdims=0),
        node("MatMul", ["bins", "band_weights"], ["banded"]),
        node("Add", ["banded", "floor"], ["banded_floored"]),
        node("Log", ["banded_floored"], ["banded_log"]),
        node("Reshape", ["banded_log", "as_spectra"], ["spectra"]),
    ]


def _level_nodes() -> list[NodeProto]:
    """From `signal` and `power` to `levels`."""
    node = helper.make_node
    return [
        node("Mul", ["signal", "signal"], ["signal_squared"]),
        node("ReduceMean", ["signal_squared"], ["signal_level"], axes=[2], keepdims=0),
        node("ReduceMean", ["power"], ["power_level"], axes=[2], keepdims=0),
        node("Mul", ["power", "power"], ["power_squared"]),
        node("ReduceMean", ["power_squared"], ["square_level"], axes=[2], keepdims=0),
        node("Mul", ["power_level", "power_level"], ["level_squared"]),
        node("Add", ["level_squared", "floor"], ["level_floored"]),
        node("Div", ["square_level", "level_floored"], ["spiky"]),
        node("Concat", ["signal_level", "power_level", "spiky"], ["levels_plain"], axis=1),
        node("Add", ["levels_plain", "floor"], ["levels_floored"]),
        node("Log", ["levels_floored"], ["levels_log"]),
        node("Reshape", ["levels_log", "as_levels"], ["levels"]),
    ]


def _bands() -> NDArray[np.float32]:
    """Triangles over the bins [_BINS, BANDS], equally spaced in log frequency; none is narrower than one bin."""
    step_hz = RATE_HZ / _DECIMATED / _POINTS
    centres = np.geomspace(_LOWEST_HZ, (_BINS - 2) * step_hz, BANDS) / step_hz
    widths = np.maximum(np.gradient(centres), 1.0)
    bins = np.arange(_BINS)[:, None]
    return np.clip(1.0 - np.abs(bins - centres) / widths, 0.0, None).astype(np.float32)

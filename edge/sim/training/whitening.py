"""A small anomaly model: how far a sensor window lies from clean ones.

Each tag's window is split into its slow course (the first cosines: level, slope, bend, ...) and the roughness that is
left. The courses of all tags together are made white (principal axes of clean windows, so that a motor may be warmer
when the line runs faster). Every axis and every roughness has a limit: the largest value in other clean windows, times
a margin. The score is the worst ratio to its limit, so under 1.0 means "no odder than what was seen clean". Limits per
axis keep a rare but normal event in one direction, like a recipe change, from hiding a fault in another.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Iterable

    import onnx
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_OPSET: Final = 17


@dataclass(frozen=True)
class Whitening:
    """Centre and scale per tag [C]; `axes` [W*C, K*C] give the white courses, `rough` [W*C, W*C] the remainder."""

    centre: Array
    scale: Array
    axes: Array
    rough: Array
    axis_limits: Array
    rough_limits: Array

    @classmethod
    def fit(cls, clean: Array, cosines: int, ridge: float) -> Whitening:
        """Learn from clean windows [M, W, C]; all limits are 1 until `calibrated`.

        `ridge` is the least variance believed in any direction, in units of a tag's own variance.
        """
        _, window, tags = clean.shape
        centre, scale = clean.mean((0, 1)), clean.std((0, 1))
        flat = ((clean - centre) / scale).reshape(len(clean), window * tags)
        basis = np.kron(_cosines(window, cosines), np.eye(tags))
        courses = flat @ basis
        covariance = courses.T @ courses / len(courses) + ridge * np.eye(cosines * tags)
        variances, directions = np.linalg.eigh(covariance)
        rough = np.eye(window * tags) - basis @ basis.T
        axes = basis @ directions / np.sqrt(variances)
        return cls(centre, scale, axes, rough, np.ones(cosines * tags), np.ones(tags))

    def calibrated(self, clean: Iterable[Array], margin: float) -> Whitening:
        """Return this model with its limits at `margin` times the extremes of clean windows that it did not fit."""
        extremes = [[part.max(0) for part in self._parts(windows)] for windows in clean]
        axis, rough = (np.max(part, axis=0) for part in zip(*extremes, strict=True))
        return replace(self, axis_limits=margin * axis, rough_limits=margin * rough)

    def score(self, windows: Array) -> Array:
        """Return the scores [N] of windows [N, W, C]; the ONNX graph computes the same in float32."""
        axis, rough = self._parts(windows)
        return np.asarray(np.maximum((axis / self.axis_limits).max(1), (rough / self.rough_limits).max(1)))

    def _parts(self, windows: Array) -> tuple[Array, Array]:
        """Return |white course| [N, K*C] and roughness [N, C]."""
        normal = (windows - self.centre) / self.scale
        flat = normal.reshape(len(windows), -1)
        return np.abs(flat @ self.axes), np.sqrt(((flat @ self.rough).reshape(normal.shape) ** 2).sum(1))

    def to_onnx(self, name: str) -> onnx.ModelProto:
        """Write the model with its normalisation: `window` float32 [N, W, C] in, `score` float32 [N] out."""
        tags = len(self.centre)
        window = len(self.rough) // tags
        nodes = [
            helper.make_node("Sub", ["window", "centre"], ["centred"]),
            helper.make_node("Mul", ["centred", "gain"], ["normal"]),
            helper.make_node("Flatten", ["normal"], ["flat"]),
            helper.make_node("MatMul", ["flat", "axes"], ["white"]),
            helper.make_node("Abs", ["white"], ["courses"]),
            helper.make_node("MatMul", ["flat", "rough"], ["rest"]),
            helper.make_node("Reshape", ["rest", "shape"], ["rest_per_tag"]),
            helper.make_node("ReduceL2", ["rest_per_tag"], ["roughness"], axes=[1], keepdims=0),
            helper.make_node("Mul", ["roughness", "rough_gain"], ["rough_ratio"]),
            helper.make_node("Concat", ["courses", "rough_ratio"], ["ratios"], axis=1),
            helper.make_node("ReduceMax", ["ratios"], ["score"], axes=[1], keepdims=0),
        ]
        stored = [numpy_helper.from_array(array.astype(np.float32), key) for key, array in self._weights().items()]
        stored.append(numpy_helper.from_array(np.array([-1, window, tags], dtype=np.int64), "shape"))
        inputs = [helper.make_tensor_value_info("window", TensorProto.FLOAT, ["N", window, tags])]
        outputs = [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"])]
        graph = helper.make_graph(nodes, name, inputs, outputs, stored)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=9)

    def _weights(self) -> dict[str, Array]:
        return {
            "centre": self.centre,
            "gain": 1.0 / self.scale,
            "axes": self.axes / self.axis_limits,
            "rough": self.rough,
            "rough_gain": 1.0 / self.rough_limits,
        }


def _cosines(window: int, count: int) -> Array:
    """The first `count` orthonormal cosines (DCT-II) over a window, as columns."""
    place = (np.arange(window) + 0.5) / window
    basis = np.cos(np.pi * place[:, None] * np.arange(count))
    return np.asarray(basis / np.linalg.norm(basis, axis=0))


def windows_of(series: Array, window: int, stride: int = 1) -> Array:
    """Cut a series [T, C] into windows [M, W, C]; the last sample of window m is sample `window - 1 + m * stride`."""
    view = np.lib.stride_tricks.sliding_window_view(series, window, axis=0)
    return np.ascontiguousarray(view[::stride].transpose(0, 2, 1))


def episodes(alarmed: NDArray[np.bool_], gap: int) -> list[tuple[int, int]]:
    """Join alarms that lie at most `gap` samples apart; return first and last index of each episode."""
    found: list[tuple[int, int]] = []
    for index in np.flatnonzero(alarmed).tolist():
        if found and index - found[-1][1] <= gap:
            found[-1] = (found[-1][0], index)
        else:
            found.append((index, index))
    return found

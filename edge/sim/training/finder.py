"""Trains `cap_finder`: a small detector of the bottles on the pictures of `edge.sim.tray`.

Anchor-free, after CenterNet (Zhou et al. 2019): each cell of 8 pixels says how sure a bottle's centre lies in it, and
how the outline differs from the usual one there. Suppressing what overlaps is no part of the graph but a step of the
pipeline. Bottles that the picture's edge cuts are no bottles here. Needs torch (the `train` extra).
"""

from __future__ import annotations

import logging
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from edge.sim.bottle import SHOULDER_PX
from edge.sim.training.dataset import BALANCED
from edge.sim.training.layers import as_array, folded
from edge.sim.tray import HIGH, WIDE, TrayStream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge.sim.tray import Tray

_log = logging.getLogger(__name__)

CELL_PX: Final = 8
ROWS: Final = HIGH // CELL_PX
COLUMNS: Final = WIDE // CELL_PX
TRAIN_SEEDS: Final = range(21_000_000, 21_000_600)
_PER_SEED: Final = 4

_OPSET: Final = 17
_CHANNELS: Final = (3, 12, 24, 32, 32, 32)
_STRIDES: Final = (2, 2, 1, 1, 1)
_DILATIONS: Final = (1, 1, 1, 2, 2)
_RAW: Final = 5  # of a cell: its score, and how its four edges differ from the usual box, in cells
_SPREAD: Final = 0.9  # of the target around a centre, in cells
_BATCH: Final = 16
_PEAK_RATE: Final = 4e-3
_BOX_WEIGHT: Final = 2.0


@dataclass(frozen=True)
class Targets:
    """What the net shall say: sureness [N, cells], edges [N, cells, 4], and where the edges count [N, cells]."""

    sure: torch.Tensor
    edges: torch.Tensor
    counts: torch.Tensor


@dataclass(frozen=True)
class FinderNet:
    """Five convolutions on the picture at half size, and one answer per cell."""

    features: nn.Sequential
    head: nn.Conv2d

    @classmethod
    def untrained(cls) -> FinderNet:
        """Return a net with torch's random start weights, sure of nothing."""
        blocks: list[nn.Module] = []
        for index, (stride, dilation) in enumerate(zip(_STRIDES, _DILATIONS, strict=True)):
            wide, out = _CHANNELS[index], _CHANNELS[index + 1]
            conv = nn.Conv2d(wide, out, 3, stride, dilation, dilation, bias=False)
            blocks += [conv, nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
        head = nn.Conv2d(_CHANNELS[-1], _RAW, 1)
        if head.bias is not None:
            nn.init.constant_(head.bias[:1], -4.0)
        return cls(nn.Sequential(*blocks), head)

    def parameters(self) -> list[nn.Parameter]:
        """Every trainable array."""
        return [*self.features.parameters(), *self.head.parameters()]

    def raw(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return [N, cells, 5] for pictures uint8 [N, HIGH, WIDE, 3]."""
        planes = pictures.permute(0, 3, 1, 2).float().mul(1.0 / 255.0)
        maps: torch.Tensor = self.head(self.features(nn.functional.avg_pool2d(planes, 2)))
        return maps.flatten(2).transpose(1, 2)


def usual_boxes() -> NDArray[np.float32]:
    """Return the box [cells, 4] of a bottle of nominal size in the middle of each cell."""
    y, x = np.mgrid[:ROWS, :COLUMNS].reshape(2, -1) * CELL_PX + (CELL_PX - 1) / 2
    return np.stack([x - SHOULDER_PX, y - SHOULDER_PX, x + SHOULDER_PX, y + SHOULDER_PX], axis=-1).astype(np.float32)


def _targets(trays: list[Tray]) -> Targets:
    usual = usual_boxes()
    centres = (usual[:, :2] + usual[:, 2:]) / 2
    sure = np.zeros((len(trays), len(usual)), np.float32)
    edges = np.zeros((len(trays), len(usual), 4), np.float32)
    for number, tray in enumerate(trays):
        for one in tray.whole:
            cells = np.hypot(*((centres - (one.x, one.y)) / CELL_PX).T)
            near = np.exp(-(cells**2) / (2 * _SPREAD**2))
            near[cells.argmin()] = 1.0
            nearer = near > sure[number]
            sure[number][nearer] = near[nearer]
            edges[number][nearer] = (np.array(one.box, np.float32) - usual[nearer]) / CELL_PX
    return Targets(torch.from_numpy(sure), torch.from_numpy(edges), torch.from_numpy(sure > 0.3).float())


def _draw(seed: int) -> tuple[NDArray[np.uint8], list[Tray]]:
    stream = TrayStream(seed, BALANCED)
    return np.stack([stream.image(number) for number in range(_PER_SEED)]), [*map(stream.tray, range(_PER_SEED))]


def train(seed: int, epochs: int) -> FinderNet:
    """Train on `TRAIN_SEEDS`; log the loss of each epoch."""
    torch.manual_seed(seed)
    with ProcessPoolExecutor(2) as pool:
        drawn = list(pool.map(_draw, TRAIN_SEEDS, chunksize=10))
    pictures = torch.from_numpy(np.concatenate([one for one, _ in drawn]))
    targets = _targets([tray for _, trays in drawn for tray in trays])
    net = FinderNet.untrained()
    optimizer = torch.optim.AdamW(net.parameters(), lr=_PEAK_RATE, weight_decay=1e-3)
    steps = epochs * (len(pictures) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _PEAK_RATE, total_steps=steps, pct_start=0.15)
    for epoch in range(epochs):
        net.features.train()
        batches, total = torch.randperm(len(pictures))[: steps // epochs * _BATCH].reshape(-1, _BATCH), 0.0
        for chosen in batches:
            loss = _loss(net.raw(pictures[chosen]), targets, chosen)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            total += loss.item()
        _log.info("epoch %d of %d: loss %.4f", epoch + 1, epochs, total / len(batches))
    return net


def _loss(raw: torch.Tensor, targets: Targets, chosen: torch.Tensor) -> torch.Tensor:
    """CenterNet's focal loss of the sureness, and the edges' error in cells near a centre."""
    sure, wanted, counts = raw[..., 0].sigmoid().clamp(1e-5, 1 - 1e-5), targets.sure[chosen], targets.counts[chosen]
    at = wanted == 1.0
    hit = torch.where(at, (1 - sure) ** 2 * sure.log(), (1 - wanted) ** 4 * sure**2 * (1 - sure).log())
    off = (raw[..., 1:] - targets.edges[chosen]).abs().mean(2) * counts
    return -hit.sum() / at.sum().clamp(min=1) + _BOX_WEIGHT * off.sum() / counts.sum().clamp(min=1)


def to_onnx(net: FinderNet) -> onnx.ModelProto:
    """Write the net with its preprocessing; `boxes` in pixels and `scores` of every cell."""
    net.features.eval()
    weights: dict[str, NDArray[np.generic]] = {
        "scale": np.array(1.0 / 255.0, np.float32), "usual": usual_boxes(), "cell": np.array(CELL_PX, np.float32),
        "as_cells": np.array([0, _RAW, -1]), "as_scores": np.array([0, -1]), "parts": np.array([1, 4]),
    }  # fmt: skip
    layers = list(net.features)
    for index in range(len(_STRIDES)):
        weights[f"w{index}"], weights[f"b{index}"] = folded(layers[3 * index], layers[3 * index + 1])
    if net.head.bias is None:
        raise TypeError("the head has a bias")
    weights |= {"head_w": as_array(net.head.weight), "head_b": as_array(net.head.bias)}
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", HIGH, WIDE, 3])
    cells = ROWS * COLUMNS
    outputs = [
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["N", cells, 4]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", cells]),
    ]
    stored = [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
    graph = helper.make_graph(_nodes(), "cap_finder", [image], outputs, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=9)


def _nodes() -> list[onnx.NodeProto]:
    node = helper.make_node
    found = [
        node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2]),
        node("Cast", ["planes"], ["floats"], to=TensorProto.FLOAT),
        node("AveragePool", ["floats"], ["half"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Mul", ["half", "scale"], ["x0"]),
    ]
    for index, (stride, dilation) in enumerate(zip(_STRIDES, _DILATIONS, strict=True)):
        found += [
            node("Conv", [f"x{index}", f"w{index}", f"b{index}"], [f"c{index}"], kernel_shape=[3, 3],
                 strides=[stride] * 2, dilations=[dilation] * 2, pads=[dilation] * 4),
            node("Relu", [f"c{index}"], [f"x{index + 1}"]),
        ]  # fmt: skip
    return [
        *found,
        node("Conv", [f"x{len(_STRIDES)}", "head_w", "head_b"], ["maps"], kernel_shape=[1, 1]),
        node("Reshape", ["maps", "as_cells"], ["rows"]),
        node("Transpose", ["rows"], ["cells"], perm=[0, 2, 1]),
        node("Split", ["cells", "parts"], ["sure", "edges"], axis=2),
        node("Reshape", ["sure", "as_scores"], ["logits"]),
        node("Sigmoid", ["logits"], ["scores"]),
        node("Mul", ["edges", "cell"], ["moved"]),
        node("Add", ["moved", "usual"], ["boxes"]),
    ]

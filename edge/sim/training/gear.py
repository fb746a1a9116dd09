"""Trains `gear_condition`: a small net on the spectra of a gearbox's vibration that sorts out what is wrong with it.

All features are part of the graph (edge/sim/training/spectra.py). Their bands are equally wide in log frequency: at
another speed the same pattern stands elsewhere, and convolutions with a global maximum find it there, so the model
needs no speed. Needs torch (the `train` extra); the graph is written with onnx directly, so that no exporter's habits
get into it.
"""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from edge.sim.training.layers import as_array
from edge.sim.training.snapshots import DEV_MACHINES, TRAIN_MACHINES, training
from edge.sim.training.spectra import LEVELS, Front
from edge.sim.vibration import AXES, CONDITIONS, SAMPLES

if TYPE_CHECKING:
    from numpy.typing import NDArray

_log = logging.getLogger(__name__)

_OPSET: Final = 17
_CHANNELS: Final = (2 * len(AXES), 24, 32, 32)
_KERNEL: Final = 9
_HIDDEN: Final = 32
_BATCH: Final = 128
_PEAK_RATE: Final = 4e-3


@dataclass(frozen=True)
class GearNet:
    """Three convolutions over log frequency, strongest and mean response, two layers; the scale of its features."""

    front: Front
    features: nn.Sequential
    head: nn.Sequential
    centre: tuple[float, float]
    gain: tuple[float, float]

    @classmethod
    def untrained(cls, front: Front, spectra: torch.Tensor, levels: torch.Tensor) -> GearNet:
        """Return a net with torch's random start weights, scaled to these features."""
        blocks: list[nn.Module] = []
        for wide, out in itertools.pairwise(_CHANNELS):
            blocks += [nn.Conv1d(wide, out, _KERNEL, padding=_KERNEL // 2), nn.ReLU(inplace=True)]
        head = nn.Sequential(
            nn.Linear(2 * _CHANNELS[-1] + LEVELS, _HIDDEN), nn.ReLU(inplace=True), nn.Linear(_HIDDEN, len(CONDITIONS))
        )
        centre = (spectra.mean().item(), levels.mean().item())
        gain = (1.0 / spectra.std().item(), 1.0 / levels.std().item())
        return cls(front, nn.Sequential(*blocks), head, centre, gain)

    def parameters(self) -> list[nn.Parameter]:
        """Every trainable array."""
        return [*self.features.parameters(), *self.head.parameters()]

    def logits(self, spectra: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        """Return [N, 4]."""
        maps: torch.Tensor = self.features((spectra - self.centre[0]) * self.gain[0])
        pooled = torch.cat([maps.amax(2), maps.mean(2), (levels - self.centre[1]) * self.gain[1]], 1)
        answers: torch.Tensor = self.head(pooled)
        return answers


@dataclass(frozen=True)
class _Features:
    """Snapshots after the fixed part."""

    spectra: torch.Tensor
    levels: torch.Tensor
    labels: torch.Tensor


def _seen(front: Front, machines: range) -> _Features:
    """Take features piece by piece: all windows together would fill the memory of a small machine."""
    found: list[_Features] = []
    with torch.no_grad():
        for data in training(machines):
            found.append(_Features(*front.features(torch.from_numpy(data.windows)), torch.from_numpy(data.labels)))
    return _Features(*(torch.cat([getattr(one, key) for one in found]) for key in ("spectra", "levels", "labels")))


def train(seed: int, epochs: int) -> GearNet:
    """Train on `TRAIN_MACHINES`; log the accuracy on `DEV_MACHINES` after each epoch."""
    torch.manual_seed(seed)
    front = Front.designed()
    data, dev = (_seen(front, machines) for machines in (TRAIN_MACHINES, DEV_MACHINES))
    net = GearNet.untrained(front, data.spectra, data.levels)
    optimizer = torch.optim.AdamW(net.parameters(), lr=_PEAK_RATE, weight_decay=1e-3)
    steps = epochs * (len(data.labels) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _PEAK_RATE, total_steps=steps, pct_start=0.15)
    for epoch in range(epochs):
        loss = _run_epoch(net, data, optimizer, schedule)
        _log.info("epoch %d of %d: loss %.4f, accuracy on dev %.4f", epoch + 1, epochs, loss, _accuracy(net, dev))
    return net


def _run_epoch(
    net: GearNet, data: _Features, optimizer: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler
) -> float:
    order = torch.randperm(len(data.labels))
    batches = len(order) // _BATCH
    total = 0.0
    for chosen in order[: batches * _BATCH].reshape(batches, _BATCH):
        logits = net.logits(data.spectra[chosen], data.levels[chosen])
        loss = nn.functional.cross_entropy(logits, data.labels[chosen])
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        total += loss.item()
    return total / batches


def _accuracy(net: GearNet, data: _Features) -> float:
    with torch.no_grad():
        return float((net.logits(data.spectra, data.levels).argmax(1) == data.labels).float().mean())


def to_onnx(net: GearNet) -> onnx.ModelProto:
    """Write the net with its features and softmax."""
    weights: dict[str, NDArray[np.generic]] = dict(net.front.weights())
    weights |= {
        "spectra_centre": np.array(net.centre[0], np.float32), "spectra_gain": np.array(net.gain[0], np.float32),
        "levels_centre": np.array(net.centre[1], np.float32), "levels_gain": np.array(net.gain[1], np.float32),
    }  # fmt: skip
    for index, layer in enumerate(list(net.features)[::2]):
        weights |= _layer(layer, f"conv{index}")
    for index, layer in enumerate(list(net.head)[::2]):
        weights |= _layer(layer, f"full{index}")
    window = helper.make_tensor_value_info("window", TensorProto.FLOAT, ["N", SAMPLES, len(AXES)])
    result = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", len(CONDITIONS)])
    stored = [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
    graph = helper.make_graph([*net.front.nodes("window"), *_net_nodes()], "gear_condition", [window], [result], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=9)


def _net_nodes() -> list[onnx.NodeProto]:
    """From `spectra` and `levels` to `probabilities`."""
    node = helper.make_node
    nodes = [node("Sub", ["spectra", "spectra_centre"], ["centred"]), node("Mul", ["centred", "spectra_gain"], ["m0"])]
    last = len(_CHANNELS) - 1
    for index in range(last):
        names = [f"m{index}", f"conv{index}_w", f"conv{index}_b"]
        nodes.append(node("Conv", names, [f"c{index}"], kernel_shape=[_KERNEL], pads=[_KERNEL // 2] * 2))
        nodes.append(node("Relu", [f"c{index}"], [f"m{index + 1}"]))
    return [
        *nodes,
        node("ReduceMax", [f"m{last}"], ["peak"], axes=[2], keepdims=0),
        node("ReduceMean", [f"m{last}"], ["mean"], axes=[2], keepdims=0),
        node("Sub", ["levels", "levels_centre"], ["levels_centred"]),
        node("Mul", ["levels_centred", "levels_gain"], ["levels_scaled"]),
        node("Concat", ["peak", "mean", "levels_scaled"], ["pooled"], axis=1),
        node("Gemm", ["pooled", "full0_w", "full0_b"], ["hidden"], transB=1),
        node("Relu", ["hidden"], ["active"]),
        node("Gemm", ["active", "full1_w", "full1_b"], ["logits"], transB=1),
        node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]


def _layer(layer: nn.Module, name: str) -> dict[str, NDArray[np.float32]]:
    if not isinstance(layer, nn.Conv1d | nn.Linear) or layer.bias is None:
        raise TypeError("every second layer has weights and a bias")
    parts = (("w", layer.weight), ("b", layer.bias))
    return {f"{name}_{key}": as_array(part) for key, part in parts}

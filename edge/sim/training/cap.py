"""Trains `cap_inspection`: a small CNN that sorts pictures of `edge.sim.parts` into ok, scratch, blob, missing_cap.

Training, choosing and testing use parts of different batches (seeds): the test's seeds are read once, at the end.
Needs torch (the `train` extra); the graph is written with onnx directly, so that no exporter's habits get into it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from edge.sim.optics import SIZE
from edge.sim.parts import LABELS
from edge.sim.training.dataset import DEV_SEEDS, TRAIN_SEEDS, Pictures, pictures
from edge.sim.training.layers import as_array, folded

_log = logging.getLogger(__name__)

_OPSET: Final = 17

_CHANNELS: Final = (3, 16, 32, 48, 80)
_KERNELS: Final = (5, 3, 3, 3)
_STRIDES: Final = (2, 1, 2, 2)
_BATCH: Final = 128
_PEAK_RATE: Final = 4e-3


@dataclass(frozen=True)
class CapNet:
    """Four convolutions, then the strongest and the mean response of each channel, then one linear layer."""

    features: nn.Sequential
    head: nn.Linear

    @classmethod
    def untrained(cls) -> CapNet:
        """Return a net with torch's random start weights."""
        blocks: list[nn.Module] = []
        for index, (kernel, stride) in enumerate(zip(_KERNELS, _STRIDES, strict=True)):
            wide, out = _CHANNELS[index], _CHANNELS[index + 1]
            conv = nn.Conv2d(wide, out, kernel, stride, kernel // 2, bias=False)
            blocks += [conv, nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
        return cls(nn.Sequential(*blocks), nn.Linear(2 * _CHANNELS[-1], len(LABELS)))

    def parameters(self) -> list[nn.Parameter]:
        """Every trainable array."""
        return [*self.features.parameters(), *self.head.parameters()]

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Return [N, 4] for pictures uint8 [N, 64, 64, 3]."""
        maps: torch.Tensor = self.features(images.permute(0, 3, 1, 2).float().mul_(1.0 / 255.0))
        answers: torch.Tensor = self.head(torch.cat([maps.amax((2, 3)), maps.mean((2, 3))], 1))
        return answers


def train(seed: int, epochs: int) -> CapNet:
    """Train on `TRAIN_SEEDS`; log the accuracy on `DEV_SEEDS` after each epoch."""
    torch.manual_seed(seed)
    data, dev = pictures(TRAIN_SEEDS), pictures(DEV_SEEDS)
    net = CapNet.untrained()
    optimizer = torch.optim.AdamW(net.parameters(), lr=_PEAK_RATE, weight_decay=1e-3)
    steps = epochs * (len(data.labels) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _PEAK_RATE, total_steps=steps, pct_start=0.15)
    rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        loss = _run_epoch(net, data, optimizer, schedule, rng)
        _log.info("epoch %d of %d: loss %.4f, accuracy on dev %.4f", epoch + 1, epochs, loss, _accuracy(net, dev))
    return net


def _run_epoch(
    net: CapNet,
    data: Pictures,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    rng: np.random.Generator,
) -> float:
    net.features.train()
    order = rng.permutation(len(data.labels))
    total, batches = 0.0, len(order) // _BATCH
    for chosen in order[: batches * _BATCH].reshape(batches, _BATCH):
        images = _mirror(torch.from_numpy(data.images[chosen]), rng)
        loss = nn.functional.cross_entropy(net.logits(images), torch.from_numpy(data.labels[chosen]))
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        total += loss.item()
    return total / batches


def _mirror(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Mirror a batch [N, H, W, 3] at random: the scene has no handedness."""
    axes = [axis for axis in (1, 2) if rng.random() < 0.5]
    return images.flip(axes) if axes else images


def _accuracy(net: CapNet, data: Pictures) -> float:
    net.features.eval()
    with torch.no_grad():
        chunks = [torch.from_numpy(data.images[at : at + 500]) for at in range(0, len(data.images), 500)]
        guesses = torch.cat([net.logits(chunk).argmax(1) for chunk in chunks])
    return float((guesses.numpy() == data.labels).mean())


def to_onnx(net: CapNet) -> onnx.ModelProto:
    """Write the net with its preprocessing and softmax; batch norms are folded into the convolutions."""
    net.features.eval()
    nodes = [
        helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "scale"], ["x0"]),
        *(node for index in range(len(_KERNELS)) for node in _conv_nodes(index)),
        *_head_nodes(f"x{len(_KERNELS)}"),
    ]
    weights = {"scale": np.array(1.0 / 255.0, dtype=np.float32)}
    weights["head_w"], weights["head_b"] = as_array(net.head.weight), as_array(net.head.bias)
    layers = list(net.features)
    for index in range(len(_KERNELS)):
        weights[f"w{index}"], weights[f"b{index}"] = folded(layers[3 * index], layers[3 * index + 1])
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", SIZE, SIZE, 3])
    result = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", len(LABELS)])
    initializers = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "cap_inspection", [image], [result], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=9)


def _conv_nodes(index: int) -> list[onnx.NodeProto]:
    kernel, stride = _KERNELS[index], _STRIDES[index]
    names = [f"x{index}", f"w{index}", f"b{index}"]
    pads = [kernel // 2] * 4
    return [
        helper.make_node("Conv", names, [f"c{index}"], kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads),
        helper.make_node("Relu", [f"c{index}"], [f"x{index + 1}"]),
    ]


def _head_nodes(maps: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("GlobalMaxPool", [maps], ["peak"]),
        helper.make_node("GlobalAveragePool", [maps], ["mean"]),
        helper.make_node("Concat", ["peak", "mean"], ["pooled"], axis=1),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "head_w", "head_b"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]

"""From torch's layers to the arrays of an ONNX graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import nn

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray


def as_array(tensor: torch.Tensor) -> NDArray[np.float32]:
    """Return a tensor's values."""
    return np.ascontiguousarray(tensor.detach().numpy(), dtype=np.float32)


def folded(conv: nn.Module, norm: nn.Module) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weights and bias of a convolution with the batch norm after it folded in."""
    if not isinstance(conv, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d):
        raise TypeError("a block is a convolution followed by its batch norm")
    if norm.running_mean is None or norm.running_var is None:
        raise TypeError("the batch norm keeps no running statistics")
    gain = norm.weight / (norm.running_var + norm.eps).sqrt()
    return as_array(conv.weight * gain[:, None, None, None]), as_array(norm.bias - norm.running_mean * gain)

"""Whether a loaded graph is what its contract says: tensor by tensor, the same for every engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from edge.models.contract import Contract, Input, Output


class Node(NamedTuple):
    """An input or output of a graph; an axis is a number, a name, or None where nothing is said."""

    name: str
    dtype: str
    shape: Sequence[int | str | None]


def graph_problems(contract: Contract, inputs: Sequence[Node], outputs: Sequence[Node]) -> list[str]:
    """Say how the graph's tensors differ from the contract's; nothing when they agree."""
    path, named = contract.model_path, {tensor.name for tensor in contract.inputs}
    found = [f"{path}: input {node.name} is not in its contract" for node in inputs if node.name not in named]
    for tensor in contract.inputs:
        found += _differences(f"{path}: input {tensor.name}", tensor, inputs)
    for output in contract.outputs:
        found += _differences(f"{path}: output {output.name}", output, outputs)
    return found


def _differences(where: str, tensor: Input | Output, nodes: Sequence[Node]) -> list[str]:
    node = next((node for node in nodes if node.name == tensor.name), None)
    if node is None:
        return [f"{where} is not in the graph, which has {', '.join(node.name for node in nodes)}"]
    if node.dtype == tensor.dtype and _fits(node.shape, tensor.shape):
        return []
    graph = f"{node.dtype} {list(node.shape)}"
    return [f"{where} is {graph} in the graph, {tensor.dtype} {list(tensor.shape)} in its contract"]


def _fits(graph: Sequence[int | str | None], wanted: tuple[int | str, ...]) -> bool:
    """Whether every axis that the graph fixes is the contract's; its named and unknown axes fit any size."""
    return len(graph) == len(wanted) and all(
        not isinstance(axis, int) or axis == size for axis, size in zip(graph, wanted, strict=True)
    )

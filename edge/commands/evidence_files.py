"""Kept evidence as files: tensors as .npz, pictures as .png. They hold pixels: they are written when a person asks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from edge.inference.replay import Replayed

_MODES: Final = {1: "L", 3: "RGB", 4: "RGBA"}


def write_files(folder: Path, replayed: Replayed) -> Iterator[Path]:
    """Write what went in and came out, then and now; yield each file. They are readable by their owner alone.

    Raises:
        OSError: the folder can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    stem = replayed.evidence.result_id
    arrays = {f"in_{name}": array for name, array in replayed.inputs.items()}
    arrays |= {f"then_{output.name}": output.then for output in replayed.outputs}
    arrays |= {f"now_{output.name}": output.now for output in replayed.outputs if output.now is not None}
    path = folder / f"{stem}.npz"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    yield path
    for name, array in replayed.inputs.items():
        if _is_picture(array):
            path = folder / f"{stem}-{name}.png"
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                _picture(array).save(file, "PNG")
            yield path


def _is_picture(array: NDArray[Any]) -> bool:
    return array.dtype == np.uint8 and array.ndim == 4 and array.shape[0] == 1 and array.shape[3] in _MODES


def _picture(array: NDArray[Any]) -> Image.Image:
    pixels = array[0, :, :, 0] if array.shape[3] == 1 else array[0]
    return Image.fromarray(np.ascontiguousarray(pixels))

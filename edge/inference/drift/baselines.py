"""What a pipeline's watch has learned, as it is kept: the clean windows themselves, from which limits are made.

Keeping windows and not limits, a change of the settings needs nothing to be learned again, and half of the learning
survives a restart. A model that comes back finds what was learned with it. Pure; `edge.inference.drift.keeper` writes.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

import msgspec

from edge.inference.drift.inputs import InputWindow
from edge.inference.drift.predictions import PredictionWindow

MAX_KEYS: Final = 16  # baselines of one pipeline: its recipes and the models before; the oldest goes first
SCHEMA: Final = "drift_baseline/1"

W = TypeVar("W", InputWindow, PredictionWindow)
_Raw = dict[str, tuple[msgspec.Raw, ...]]  # a window is encoded once, when it is added


class BaselineFile(msgspec.Struct, frozen=True, kw_only=True):
    """`state/drift/<pipeline>.json`."""

    schema: str
    inputs: _Raw
    predictions: _Raw

    def encode(self) -> bytes:
        """Return the file's bytes."""
        return msgspec.json.encode(self)


class Shelf(Generic[W]):
    """Clean windows of one kind, by key."""

    def __init__(self, kind: type[W], raw: _Raw) -> None:
        """Take what was kept.

        Raises:
            msgspec.DecodeError: a window can't be read.
        """
        self._decoder: msgspec.json.Decoder[W] = msgspec.json.Decoder(kind)
        self._raw = raw
        for key in raw:
            self.windows(key)

    @property
    def raw(self) -> _Raw:
        """What is to be kept; later changes don't show in it."""
        return dict(self._raw)

    def count(self, key: str) -> int:
        """Return how many windows there are."""
        return len(self._raw.get(key, ()))

    def windows(self, key: str) -> list[W]:
        """Return the windows of a key."""
        return [self._decoder.decode(window) for window in self._raw.get(key, ())]

    def add(self, key: str, window: W) -> int:
        """Keep a clean window, as the youngest key's; return how many there are now."""
        windows = (*self._raw.pop(key, ()), msgspec.Raw(msgspec.json.encode(window)))
        while len(self._raw) >= MAX_KEYS:
            del self._raw[next(iter(self._raw))]
        self._raw[key] = windows
        return len(windows)

    def forget(self, key: str) -> None:
        """Throw the windows of a key away."""
        self._raw.pop(key, None)


class Baselines:
    """Both kinds of windows of one pipeline: by `Subject.inputs_key` and by `Subject.predictions_key`."""

    def __init__(self, data: bytes = b"") -> None:
        """Read what was kept.

        Raises:
            ValueError: it can't be read.
        """
        file = BaselineFile(schema=SCHEMA, inputs={}, predictions={})
        try:
            if data:
                file = msgspec.json.decode(data, type=BaselineFile)
            if file.schema != SCHEMA:
                raise ValueError(f"its schema is {file.schema}, not {SCHEMA}")
            self.inputs = Shelf(InputWindow, file.inputs)
            self.predictions = Shelf(PredictionWindow, file.predictions)
        except msgspec.DecodeError as error:
            raise ValueError(str(error)) from error

    def file(self) -> BaselineFile:
        """Return what is to be written."""
        return BaselineFile(schema=SCHEMA, inputs=self.inputs.raw, predictions=self.predictions.raw)

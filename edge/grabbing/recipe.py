"""Which exposure and gain a PLC's tag asks for. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.inference.recipe_key import key_of
from schemas.messages import Quality

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge.settings import CameraRecipe
    from schemas.messages import Reading


class RecipeWatch:
    """Follows one tag. What is not Good changes nothing: the camera stays as it is."""

    def __init__(self, settings: CameraRecipe) -> None:
        """Start without a choice: the camera is as its options say."""
        self.values: Mapping[str, float] = {}  # of the choice that holds
        self.problem = ""  # why there is no choice for the tag's value, "" where there is one
        self.source = settings.source
        self._tag, self._choices = settings.tag, settings.choices
        self._key: str = ""

    def read(self, reading: Reading) -> bool:
        """Return whether a reading changed `values`."""
        sample = reading.tags.get(self._tag)
        if reading.source != self.source or sample is None or sample.quality is not Quality.GOOD:
            return False
        key = key_of(sample.value)
        if key == self._key:
            return False
        self._key = key
        if key not in self._choices:
            self.problem = f"{self._tag} is {key}; there are {', '.join(self._choices)}: exposure and gain stay"
            return False
        self.values, self.problem = self._choices[key], ""
        return True

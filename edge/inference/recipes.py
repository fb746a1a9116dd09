"""Which recipe a part runs under, by a tag's value at its trigger. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.inference.reasons import NO_RECIPE
from edge.inference.recipe_key import key_of
from edge.inference.tag_history import TagHistory

if TYPE_CHECKING:
    from edge.config.pipeline import Recipe


class RecipeChooser:
    """Chooses by the values of one tag."""

    def __init__(self, settings: Recipe) -> None:
        """Start without a value."""
        self.settings = settings
        self.history = TagHistory([settings.tag])

    def at(self, trigger_ns: int) -> tuple[str, str]:
        """Return the choice at a time ("" for the pipeline as it is written), or the reason why there is none."""
        settings = self.settings
        past = self.history.good_at(settings.tag, trigger_ns)
        if past.sample is None:
            newest = self.history.at(settings.tag, trigger_ns).sample
            why = "no value yet" if newest is None else newest.reason or newest.quality.value
            return self._otherwise(f"{settings.tag} is not Good ({why})")
        age_ns = trigger_ns - past.scan_ns
        if age_ns > settings.max_age_ms * 1e6:
            return self._otherwise(f"{settings.tag} was last Good {age_ns / 1e6:.0f} ms before the trigger")
        key = key_of(past.sample.value)
        if key in settings.choices:
            return key, ""
        return self._otherwise(f"{settings.tag} is {key}; there are {', '.join(settings.choices)}")

    def _otherwise(self, why: str) -> tuple[str, str]:
        return ("", "") if self.settings.otherwise == "default" else ("", f"{NO_RECIPE}: {why}")

"""Why an input was given up: the first word of a dropped result's reason, and the name of its counter."""

from __future__ import annotations

from typing import Final

EXPIRED: Final = "expired"
OVERLOAD: Final = "overload"
SAMPLED: Final = "sampled"
BAD_QUALITY: Final = "bad_quality"
BAD_INPUT: Final = "bad_input"
NO_MODEL: Final = "no_model"
NO_RECIPE: Final = "no_recipe"
LATE: Final = "late"
ENGINE_FAILED: Final = "engine_failed"
SELFTEST: Final = "selftest"
OTHER: Final = "other"
REASONS: Final = (EXPIRED, OVERLOAD, SAMPLED, BAD_QUALITY, BAD_INPUT, NO_MODEL, NO_RECIPE)

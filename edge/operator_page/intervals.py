"""How sure a share is that was counted. Pure.

Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927); it holds its
level for small counts and shares near 0 and 1, where the textbook interval is too short.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

Z_95: Final = 1.959964
Z_97_5: Final = 2.241403  # two of these at once hold with 95 % at least (Bonferroni)
LEAST: Final = 10  # judgements below which a share is not told


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A share with its 95 % interval: `counted` of `of`. None: not enough was counted to say it."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    counted: int = 0
    of: int = 0


def wilson(counted: int, of: int, z: float = Z_95) -> tuple[float, float]:
    """Return the interval of a share of which `counted` of `of` were seen; (0, 1) without any."""
    if of <= 0:
        return 0.0, 1.0
    share, spread = counted / of, z * z / of
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / of + spread / (4 * of))
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return (0.0 if counted == 0 else low), (1.0 if counted == of else high)


def estimate(counted: int, of: int, least: int = 1) -> Estimate:
    """Return a share with its interval, without values if it was counted over fewer than `least`."""
    if of < least or of == 0:
        return Estimate(counted=counted, of=of)
    low, high = wilson(counted, of)
    return Estimate(value=counted / of, low=low, high=high, counted=counted, of=of)


def recall(
    rejects: int, goods: int, right: int, rejects_judged: int, missed: int, goods_judged: int, least: int = LEAST
) -> Estimate:
    """Return which share of the bad parts was rejected.

    Of `rejects` rejected parts `rejects_judged` were judged, `right` of them bad; of `goods` accepted ones
    `goods_judged`, `missed` of them bad. Both shares are carried over to all parts; the interval takes both of them at
    97.5 %, so that it holds with 95 % at least whatever the two have to do with each other. `counted` and `of` are the
    bad parts among those that were judged.
    """
    bad = right + missed
    if rejects_judged < least or goods_judged < least:
        return Estimate(counted=right, of=bad)
    right_low, right_high = wilson(right, rejects_judged, Z_97_5)
    missed_low, missed_high = wilson(missed, goods_judged, Z_97_5)
    value = _caught(rejects * right / rejects_judged, goods * missed / goods_judged)
    if value is None:  # no bad part was found at all
        return Estimate(counted=right, of=bad)
    low, high = _caught(rejects * right_low, goods * missed_high), _caught(rejects * right_high, goods * missed_low)
    return Estimate(value=value, low=low or 0.0, high=1.0 if high is None else high, counted=right, of=bad)


def _caught(caught: float, missed: float) -> float | None:
    return caught / (caught + missed) if caught + missed else None

"""The messages of a model's self-test: who asks for one, and what came of it."""

from __future__ import annotations

from enum import StrEnum

from schemas.fields import Duration, Number, Slug, Whole
from schemas.messages import Message


class SelfTest(Message, frozen=True, kw_only=True):
    """A request that a runtime checks a model that it serves: loaded once more, does it answer as it must?"""

    schema: str = "self_test/1"
    request_id: str
    model: Slug


class SelfTestCode(StrEnum):
    """What became of a request for a self-test."""

    DONE = "done"
    BUSY = "busy"  # another one is under way
    LOADING = "loading"  # a model is being loaded
    NOT_SERVED = "not_served"  # the runtime serves no version of it


class SelfTestReport(Message, frozen=True, kw_only=True):
    """What a self-test found, or with another `code` than `done` the `reason` why there was none.

    `deviation` is the largest of all answers to the golden vectors, None where they can't be compared; `passed`: none
    is over `tolerance`, and the model in memory has not failed its own tests since.
    """

    schema: str = "self_test_report/1"
    request_id: str
    model: Slug
    process: str
    code: SelfTestCode
    passed: bool = False
    reason: str = ""
    version: str = ""
    digest: str = ""
    vectors: Whole = 0
    deviation: Number | None = None
    tolerance: Number = 0.0
    took_ms: Duration = 0.0

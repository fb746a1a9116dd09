"""Bodies that are none, and clients that go away in the midst of one, are no fault of the pages."""

import logging
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from starlette.requests import Request
from starlette.responses import Response

from cloud import guard as fleet
from cloud import problems
from edge.operator_page import guard as operators

Answer = Callable[[Request, Exception], Response]
BODY_OF = {"operators": operators.body_of, "fleet": fleet.body_of}
ANSWER: dict[str, Answer] = {"operators": operators.answer, "fleet": problems.answer}
SCOPE = {
    "type": "http", "method": "POST", "path": "/api/v1/login", "query_string": b"",
    "headers": [(b"content-type", b"application/json")],
}  # fmt: skip


async def answered(page: str, *messages: dict[str, Any]) -> Response:
    left = list(messages)

    async def receive() -> dict[str, Any]:
        return left.pop(0)

    request = Request(SCOPE, receive)
    try:
        msgspec.json.decode(await BODY_OF[page](request), type=dict[str, str])
    except Exception as error:  # noqa: BLE001 - as the guards do
        return ANSWER[page](request, error)
    raise AssertionError("it was read")


@pytest.mark.parametrize("page", ANSWER)
@pytest.mark.parametrize("body", [b'{"a\xef": "b"}', b'{"a": "\xff"}', b"{", b"[]", b""])
async def test_a_body_that_is_none_is_told_so_and_not_logged(
    page: str, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    response = await answered(page, {"type": "http.request", "body": body, "more_body": False})
    assert response.status_code == 400
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


@pytest.mark.parametrize("page", ANSWER)
async def test_who_goes_away_in_the_midst_of_a_body_is_not_logged(page: str, caplog: pytest.LogCaptureFixture) -> None:
    parts = {"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}
    assert (await answered(page, *parts)).status_code == 400
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]

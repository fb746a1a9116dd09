import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.device import DeviceRow, DeviceState
from cloud.filter import FilterError, parse

NOW_MS = 1_790_000_000_000
ROW = DeviceRow(
    node="press-7", site="berlin", line="press", hardware="jetson_orin", software="0.1.0", versions={"caps": "1.2.0"},
    state=DeviceState.ALARM, reason="A PLC or camera does not answer", seen_ms=NOW_MS - 5_000, p50_ms=1.0, p99_ms=7.5,
    misses=3, rate_hz=50, cpu=0.42, certificate_ms=NOW_MS + 10 * 86_400_000, upstream_bytes=51_000_000, unacked=2,
)  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "", "   ", "site:berlin", "SITE:Berlin", "site:ber*", "site:paris,berlin", "state:alarm p99>5 press",
        "p99>=7.5", "p99:7.5", "p99<8", "misses=3", "cpu>40", "certificate<14", "seen<10", "mb>50", "alerts>0",
        "model:caps", "model:caps@1.2.0", "version:1.2.0", "jetson", "-site:paris", "-state:ok,degraded",
        'reason:"*plc or*"',
        '"does not answer"', "id:press-7", "-offline", "line=press",
    ],
)  # fmt: skip
def test_a_row_is_found_by(text: str) -> None:
    assert parse(text).matches(ROW, NOW_MS)


@pytest.mark.parametrize(
    "text",
    ["site:ber", "site:paris", "state:ok", "p99>7.5", "-press", "state:alarm -site:berlin", "temperature>0", "id:press",
     "certificate<5", "paris"],
)  # fmt: skip
def test_a_row_is_not_found_by(text: str) -> None:
    assert not parse(text).matches(ROW, NOW_MS)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("sit:berlin", "did you mean site"), ("p99>fast", "write p99>5"), ("site>3", "write site:3"),
        ('"open', "not closed"), ("xyzzy:1", "there are id, site"), ("site:", "lacks a value"),
        ("p99>", "lacks a value"), ("-", "lacks a value"), ("a" * 513, "at most 512"),
    ],
)  # fmt: skip
def test_a_filter_that_cannot_be_read_says_what_to_write(text: str, hint: str) -> None:
    with pytest.raises(FilterError, match=hint):
        parse(text)


@given(st.text(max_size=80))
def test_any_text_is_a_filter_or_an_error_with_a_reason(text: str) -> None:
    try:
        parse(text).matches(ROW, NOW_MS)
    except FilterError as error:
        assert str(error)


@given(st.text(alphabet="*?[]!a-", min_size=1, max_size=40))
def test_a_pattern_of_stars_and_brackets_is_only_stars(text: str) -> None:
    parse(f"site:{text}").matches(ROW, NOW_MS)
    assert parse(f"site:{text}*").matches(DeviceRow(node="x", site=text), NOW_MS)

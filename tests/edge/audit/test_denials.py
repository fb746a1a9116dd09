from typing import Any, cast

from edge.audit.deeds import ACCESS_DENIED, DEEDS, is_for_auditors
from edge.audit.denials import Denials
from edge.process import Process


class Speaker:
    """A process that only speaks."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []

    def event(self, code: str, phase: object, severity: object, text: str, **arguments: Any) -> None:
        self.said.append({"code": code, "text": text} | arguments)


def test_who_is_refused_too_often_is_counted() -> None:
    speaker = Speaker()
    denials = Denials(cast(Process, speaker))
    for _ in range(500):
        denials.tell("a login", "mallory" * 100)
    assert 20 <= len(speaker.said) < 25
    assert speaker.said[0] == {
        "code": ACCESS_DENIED, "text": f"{'mallory' * 9}m was refused a login", "wanted": "a login",
        "by": f"{'mallory' * 9}m", "untold": 0, "key": speaker.said[0]["key"],
    }  # fmt: skip
    denials._limit._tokens = 1.0
    denials.tell("a login", "")
    assert (speaker.said[-1]["by"], speaker.said[-1]["untold"]) == ("anonymous", 501 - len(speaker.said))
    assert len({one["key"] for one in speaker.said}) == len(speaker.said)


def test_a_mes_hears_what_it_counts_by_alone() -> None:
    assert [code for code in DEEDS if not is_for_auditors(code)] == ["judged"]
    assert not is_for_auditors("plc_lost")

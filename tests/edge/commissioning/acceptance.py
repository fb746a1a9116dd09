"""An acceptance made by hand, for the tests of its report."""

from edge.commissioning.record import (
    Acceptance,
    Lane,
    Latency,
    Mark,
    Model,
    Plc,
    Program,
    Row,
    Scans,
    Subject,
    Trace,
    at_most,
    found,
    holds,
    overall,
    skipped,
    told,
)

SIX = "ab" * 32
TRACE = Trace(
    from_s=-0.1, to_s=4.0, passed=[0.02, 3.9], marks=[Mark(at_s=0.6, text="limit"), Mark(at_s=0.7, text="reset")],
    lanes=[Lane(name="fault", spans=[(0.0, 2.5)]), Lane(name="PLC at fail-safe", spans=[(0.4, 3.6)])],
)  # fmt: skip


def good_row(key: str = "cut") -> Row:
    figures = [
        at_most("PLC at its fail-safe after", 412.34, 600),
        told("value there", "reject true"),
        holds("stayed", True),
    ]
    return found(
        key, "Cable cut", "pulled", "fail-safe within 600 ms", figures, trace=TRACE, events=["+0.3 s  plc_lost"]
    )


def acceptance(*rows: Row, text: str = "plain") -> Acceptance:
    """A report in which every text that comes from elsewhere holds `text`."""
    held = list(rows) or [good_row(), skipped("stop", "PLC in STOP", text)]
    return Acceptance(
        simulated=False, begun="2026-01-02T03:04:05Z", ended="2026-01-02T03:09:05Z", verdict=overall(held), rows=held,
        subject=Subject(
            site="s", line="l", node="n", hardware=text, by=text, versions={"plantedge": text}, settings_sha256=SIX,
            plcs=[Plc(source=text, driver=text, address=text, options={text: "1"}, tag_list=text, tag_list_sha256=SIX)],
            models=[Model(pipeline=text, model=text, version=text, digest=SIX)], notes=[text],
        ),
        latencies=[
            Latency(pipeline=text, deadline_ms=50, count=2000, late=1, failsafe=2, p50_ms=4.2, p99_ms=21.0,
                    p999_ms=48.0, max_ms=61.5, curve=[(3.0, 0.1), (4.2, 0.5), (21.0, 0.99), (61.5, 1.0)]),
        ],
        scans=[
            Scans(source=text, group=text, period_ms=20, count=50, scan_p50_ms=1.0, scan_p99_ms=None, scan_max_ms=3.0,
                  jitter_p50_ms=0.1, jitter_p99_ms=None, jitter_max_ms=2.0),
        ],
        programs=[Program(file=text, pipeline=text, language=text, sha256=SIX)],
    )  # fmt: skip

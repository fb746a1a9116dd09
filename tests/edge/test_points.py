from edge.history.points import PointMaker, key, value
from schemas.messages import Latency, Outcome, Quality, Reading, Result, Sample, Verdict
from schemas.topics import Place

PLACE = Place("s", "l", "n")


def reading(seq: int, **tags: Sample) -> Reading:
    return Reading(
        epoch=1, seq=seq, source="plc", group="fast", boot="b", scan_ns=0, scan_ms=0.1, time_ns=seq * 100, tags=tags
    )


def test_only_changed_tags_are_stored() -> None:
    make = PointMaker(PLACE, repeat_s=10.0)
    first = make.reading(reading(1, a=Sample(value=1), b=Sample(value=True)), 0.0)
    assert first is not None
    assert first.fields == "a=1.0,a.quality=2i,b=true,b.quality=2i"
    assert make.reading(reading(2, a=Sample(value=1), b=Sample(value=True)), 1.0) is None
    changed = make.reading(reading(3, a=Sample(value=1), b=Sample(value=False)), 2.0)
    assert changed is not None
    assert changed.fields == "b=false"


def test_an_unchanged_tag_is_stored_again_after_a_while() -> None:
    make = PointMaker(PLACE, repeat_s=10.0)
    make.reading(reading(1, a=Sample(value=1)), 0.0)
    assert make.reading(reading(2, a=Sample(value=1)), 9.9) is None
    assert make.reading(reading(3, a=Sample(value=1)), 10.0) is not None


def test_a_bad_tag_has_a_quality_and_no_value() -> None:
    make = PointMaker(PLACE)
    make.reading(reading(1, a=Sample(value=1)), 0.0)
    bad = make.reading(reading(2, a=Sample(value=1, quality=Quality.BAD, reason="link lost")), 1.0)
    assert bad is not None
    assert bad.fields == "a.quality=0i"


def test_a_result_is_one_line_with_few_series() -> None:
    result = Result(
        epoch=7, seq=9, result_id="p-7-9", pipeline="p", input="cam", source_epoch=7, source_seq=9, part_id=4,
        outcome=Outcome.LATE, verdict=Verdict.NOK, label="it's \"odd\"", score=0.5, scores={}, quality=Quality.GOOD,
        reason="", latency=Latency(ingest=1, queue=2, preprocess=0, infer=3, total=6), deadline_ms=5, model="m",
        version="1", digest="d", time_ns=12,
    )  # fmt: skip
    point = PointMaker(PLACE).result(result)
    assert point.series == "result,line=l,model=m,node=n,pipeline=p,site=s,version=1"
    assert 'result_id="p-7-9",part_id=4i,outcome="late",verdict="nok"' in point.fields
    assert 'label="it\'s \\"odd\\""' in point.fields
    assert (point.time_ns, point.epoch, point.seq) == (12, 7, 9)


def test_names_and_values_are_escaped_as_line_protocol_wants() -> None:
    assert key("a b,c=d") == "a\\ b\\,c\\=d"
    assert value("x\ny") == '"x y"'
    assert value(float("nan")) == '"nan"'
    assert value(2**70) == f'"{2**70}"'
    assert value(True) == "true"

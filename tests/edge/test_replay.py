"""Evidence of every kind of pipeline runs again to the same bits; what differs is found and named."""

import asyncio
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import Delivery
from bus.codec import decode, encode
from edge.commands.replay import list_kept, run_again
from edge.config.pipeline import DecisionRule, FrameInput, KeptEvidence, WindowInput
from edge.config.pipeline import Pipeline as PipelineSettings
from edge.engines import load_engine
from edge.history.evidence import EvidenceError, EvidenceReader, open_writer, to_item
from edge.history.keeper import EvidenceKeeper
from edge.host.machine import fingerprint
from edge.inference.pipeline import Pipeline
from edge.inference.replay import ReplayError, replay
from edge.inference.witness import Computer, Witness
from edge.models.engine_choice import machine
from edge.models.loaded import load_model
from edge.settings import Engine as EngineSettings
from edge.settings import Historian
from schemas.evidence import Evidence
from schemas.messages import Frame, Reading, Sample, Verdict
from schemas.topics import EVIDENCE
from tests.edge.small_models import LENGTH, SHAPE, TAGS, seal, write_anomaly, write_classifier, write_detector

MS = 1_000_000
BOOT = "thisboot"
TRAY = (24, 40, 3)
STEPS = [
    {"name": "find", "model": "finder"},
    {"name": "boxes", "op": "nms", "options": {"score": 0.3, "iou": 0.5, "max": 6}},
    {"name": "crops", "op": "crop", "takes": ["input", "boxes"], "options": {"size": [8, 8], "scale": "keep"}},
    {"name": "judge", "model": "caps", "takes": ["crops"]},
]


@pytest.fixture
def home(tmp_path):
    """A device folder with models and as little else as there may be."""
    folder = tmp_path / "device"
    for write in (write_classifier, write_anomaly, write_detector):
        write(folder / "models")
    (folder / "device.toml").write_text('[device]\nsite = "s"\nline = "l"\nnode = "n"\n')
    return folder


def pipeline(home, **settings):
    """A pipeline that runs, and who sees its answers."""
    rule = DecisionRule(reject=["bad"])
    defaults = {"model": "caps", "input": FrameInput(frames="cam1"), "deadline_ms": 50, "decision": rule}
    made = PipelineSettings.model_validate(defaults | settings)
    running = Pipeline("inspect", made, BOOT, lambda: 1_000 * MS)
    for model in made.models:
        running.use(load_model(home / "models" / model / "1", load_engine("cpu")))
    return running, Witness(made)


def computer():
    return Computer("cpu", load_engine("cpu").version(), "{}", machine())


def run_kept(evidence, home, engine=""):
    return replay(evidence, home, EngineSettings(), engine)


def frame(seq, pixels):
    return Frame(
        stream="cam1", part_id=seq, boot=BOOT, trigger_ns=999 * MS, time_ns=0, shape=pixels.shape, dtype="uint8",
        data=memoryview(pixels.tobytes()), epoch=7, seq=seq,
    )  # fmt: skip


def reading(seq, value):
    return Reading(
        source="plant", group="slow", boot=BOOT, scan_ns=(980 + seq) * MS, scan_ms=1.0, time_ns=0,
        tags={tag: Sample(value=value) for tag in TAGS}, epoch=7, seq=seq,
    )  # fmt: skip


def noise(seed, shape=SHAPE, low=130):
    return np.random.default_rng(seed).integers(low, 256, shape, np.uint8)


def evidence_of(running, witness):
    """Run all that waits; the evidence of it, as a reader of the bus sees it."""
    found = []
    while running.waiting:
        for answer in running.step():
            seen = witness.see(answer)
            evidence = witness.testify(seen, computer()) if seen else None
            if evidence:
                found.append(decode(EVIDENCE, Evidence, encode(EVIDENCE, evidence)))
    return found


def rejected(home, count=1):
    running, witness = pipeline(home)
    for seq in range(1, count + 1):
        running.offer_frame(frame(seq, noise(seq)), 1_000 * MS)
    return evidence_of(running, witness)


@pytest.mark.parametrize("count", [1, 2, 4, 7])
def test_every_row_of_a_batch_comes_back_to_the_bit(home, count):
    kept = rejected(home, count)
    assert [evidence.result_id for evidence in kept] == [f"inspect-7-{seq}" for seq in range(1, count + 1)]
    assert max(evidence.batch for evidence in kept) == min(4, 2 ** int(np.log2(count)))
    for evidence in kept:
        replayed = run_kept(evidence, home)
        assert replayed.same, [(output.name, output.then, output.now) for output in replayed.outputs]
        assert replayed.judgement.verdict is Verdict.NOK


def test_a_graph_of_models_comes_back_to_the_bit_in_every_step(home):
    running, witness = pipeline(home, model="", steps=STEPS)
    tray = noise(1, TRAY, low=0) // 8
    tray[8:16, 8:16], tray[0:8, 24:32] = 200, 255
    running.offer_frame(frame(1, tray), 1_000 * MS)
    (evidence,) = evidence_of(running, witness)
    assert [model.name for model in evidence.models] == ["finder", "caps"]
    replayed = run_kept(evidence, home)
    assert replayed.same
    assert {"find.boxes", "boxes.scores", "crops.crops", "judge.probabilities"} <= {o.name for o in replayed.outputs}


def test_a_recipe_s_own_model_and_rule_are_run(home):
    write_classifier(home / "models", name="dark", inverted=True)
    recipe = {
        "source": "plant", "tag": TAGS[0], "otherwise": "default",
        "choices": {"7": {"models": {"model": "dark"}, "decision": {"reject": ["bad"], "threshold": 0.2}}},
    }  # fmt: skip
    running, witness = pipeline(home, recipe=recipe)
    running.offer_reading(reading(1, 7), 999 * MS)
    running.offer_frame(frame(1, noise(1)), 1_000 * MS)
    (evidence,) = evidence_of(running, witness)
    assert (evidence.recipe, [model.name for model in evidence.models]) == ("7", ["dark"])
    assert run_kept(evidence, home).same


def test_a_window_comes_back_and_an_alarm_that_lasts_is_judged_as_one(home):
    spec = WindowInput(source="plant", group="slow", tags=list(TAGS), length=LENGTH)
    running, witness = pipeline(home, model="drift", input=spec, decision=DecisionRule(threshold=2.0, clear=0.5))
    kept = []
    for seq, value in enumerate([0.0, 0.0, 0.0, 9.0, 0.0, 0.0, 0.0, 0.0], 1):
        running.offer_reading(reading(seq, value), 999 * MS)
        kept += evidence_of(running, witness)
    assert [(evidence.before, evidence.verdict) for evidence in kept] == [("unknown", "nok")] + [("nok", "nok")] * 3
    assert [run_kept(evidence, home).same for evidence in kept] == [True] * 4


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, ["nok", "nok"]),
        ({"keep": []}, []),
        ({"sample_ok": 1}, ["nok", "nok", "sample", "sample", "sample"]),
        ({"keep": [], "sample_ok": 3}, ["sample"]),
    ],
)
def test_what_is_kept_is_what_the_settings_name(home, settings, kept):
    running, witness = pipeline(home, evidence=KeptEvidence.model_validate(settings))
    for seq, bright in enumerate([255, 0, 0, 255, 0], 1):
        running.offer_frame(frame(seq, np.full(SHAPE, bright, np.uint8)), 1_000 * MS)
    assert sorted(evidence.kept_for for evidence in evidence_of(running, witness)) == kept


def test_late_and_unknown_are_kept_where_asked_for_and_drops_have_nothing_to_keep(home):
    running, witness = pipeline(home, evidence=KeptEvidence(keep=["late", "unknown"]))
    running.offer_frame(frame(1, np.zeros(TRAY, np.uint8)), 1_000 * MS)  # of another shape: dropped
    running.unproven = "selftest: differs"
    running.offer_frame(frame(2, noise(2)), 1_000 * MS)
    (evidence,) = evidence_of(running, witness)
    assert (evidence.kept_for, evidence.verdict, evidence.reason) == ("unknown", "unknown", "selftest: differs")
    assert run_kept(evidence, home).same, "what was not believed is compared by its bits"


def test_a_burst_is_bounded_by_bytes_and_what_is_withheld_is_counted(home):
    now = [0]
    running, _ = pipeline(home, evidence=KeptEvidence(max_kb_per_s=100))
    witness = Witness(running.settings, lambda: now[0])
    kept, cost = 0, 200 + len(running.settings.model_dump_json())
    for seq in range(1, 2_001):
        now[0] = seq * MS  # 1,000 rejects a second
        running.offer_frame(frame(seq, np.full(SHAPE, 255, np.uint8)), 1_000 * MS)
        kept += len(evidence_of(running, witness))
    assert witness.withheld == 2_000 - kept > 0
    bound = 2 * 100_000 + EVIDENCE.max_bytes
    assert bound - 2 * cost < kept * cost <= bound, "a rate, and at first one message of any size"


def test_outputs_that_are_too_large_for_a_message_give_way_to_the_judged_one(home):
    running, _ = pipeline(home, model="", steps=STEPS)
    witness = Witness(running.settings)
    witness._limit = 3_000
    tray = np.zeros(TRAY, np.uint8)
    tray[8:16, 8:16] = 200
    running.offer_frame(frame(1, tray), 1_000 * MS)
    (evidence,) = evidence_of(running, witness)
    assert [tensor.name for tensor in evidence.outputs] == ["judge.probabilities"]
    assert run_kept(evidence, home).same
    witness._limit = 100
    running.offer_frame(frame(2, tray), 1_000 * MS)
    assert evidence_of(running, witness) == []
    assert witness.too_large == 1


def put(home, evidence):
    """Into the ring, as the historian does."""
    writer = open_writer(home, Historian())
    writer.add([to_item(evidence, encode(EVIDENCE, evidence))])
    writer.close()


def other_bits(evidence):
    """The same with the last bit of each output turned."""
    outputs = []
    for tensor in evidence.outputs:
        data = bytearray(tensor.data)
        data[0] ^= 1
        outputs.append(msgspec.structs.replace(tensor, data=bytes(data)))
    return msgspec.structs.replace(evidence, outputs=outputs)


def test_one_other_bit_is_a_difference_and_the_likely_cause_is_named(home, capsys):
    (evidence,) = rejected(home)
    put(home, msgspec.structs.replace(other_bits(evidence), engine_version="onnxruntime 0.1", machine="arm64 Other 00"))
    assert run_again(home, "inspect-7-1") == 1
    told = capsys.readouterr().out
    assert "It differs" in told
    assert "another version of the engine: onnxruntime" in told
    assert "then onnxruntime 0.1" in told
    assert "then arm64 Other 00" in told


def test_the_engine_s_options_of_then_are_used(home):
    (evidence,) = rejected(home)
    with pytest.raises(ReplayError, match="precise"):
        run_kept(msgspec.structs.replace(evidence, engine_options='{"precise": true}'), home)


def test_a_difference_without_a_known_cause_says_so(home):
    (evidence,) = rejected(home)
    replayed = run_kept(other_bits(evidence), home)
    assert not replayed.same
    assert replayed.causes() == ["nothing that is known: the same engine on the same machine gave other bits"]
    (output,) = replayed.outputs
    assert 0 < output.most < 1e-6


def test_another_verdict_is_a_difference_though_the_outputs_are_the_same(home):
    (evidence,) = rejected(home)
    replayed = run_kept(msgspec.structs.replace(evidence, verdict=Verdict.OK), home)
    assert all(output.same for output in replayed.outputs)
    assert not replayed.same


def test_what_can_t_be_run_says_why(home, capsys):
    (evidence,) = rejected(home)
    put(home, evidence)
    assert run_again(home, "inspect-7-1", engine="abacus") == 2
    assert "no engine 'abacus'" in capsys.readouterr().err
    with pytest.raises(ReplayError, match="another version of PlantEdge"):
        run_kept(msgspec.structs.replace(evidence, settings='{"model": "caps", "of_tomorrow": 1}'), home)
    for name in ("../../etc", ""):
        (used,) = evidence.models
        strange = msgspec.structs.replace(evidence, models=[msgspec.structs.replace(used, version=name)])
        with pytest.raises(ReplayError, match="no name of a model"):
            run_kept(strange, home)


def test_a_model_that_was_changed_or_removed_is_said(home, capsys):
    (evidence,) = rejected(home)
    put(home, evidence)

    def refused():
        assert run_again(home, "inspect-7-1") == 2
        return capsys.readouterr().err

    folder = home / "models" / "caps" / "1"
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"\0")
    assert "corrupt" in refused()
    seal(folder)
    assert "holds another model" in refused()
    shutil.rmtree(folder)
    assert "put its folder back" in refused()
    write_classifier(home / "models")
    assert run_again(home, "inspect-7-1") == 0
    assert run_again(home, "inspect-0-0") == 2
    assert "never kept, or gone" in capsys.readouterr().err
    assert list_kept(home, "inspect") == 0
    assert list_kept(home, "other") == 2
    assert "nothing is kept of pipeline other" in capsys.readouterr().err


def test_a_version_that_moved_is_found_by_its_digest(home):
    (evidence,) = rejected(home)
    folder = home / "models" / "caps"
    (folder / "1").rename(folder / "9")
    text = (folder / "9" / "model.toml").read_text().replace('version = "1"', 'version = "9"')
    (folder / "9" / "model.toml").write_text(text)
    write_classifier(home / "models", inverted=True)
    assert run_kept(evidence, home).same


def test_an_empty_ring_and_a_lost_key_are_told_apart(home, capsys):
    assert run_again(home, "inspect-7-1") == 2
    assert "holds nothing yet" in capsys.readouterr().err
    assert list_kept(home) == 2
    (evidence,) = rejected(home)
    put(home, evidence)
    (key,) = (home / "state" / "keys" / "evidence").iterdir()
    key.unlink()
    with pytest.raises(EvidenceError, match=key.name[7:23]):
        EvidenceReader(home).find("inspect-7-1")
    capsys.readouterr()
    assert list_kept(home) == 2
    assert key.name[7:23] in capsys.readouterr().err


async def test_a_keeper_that_can_t_write_says_so_and_goes_on_when_it_can(home):
    (evidence,) = rejected(home)
    payload = encode(EVIDENCE, evidence)
    (home / "state").write_text("in the way of the folder")
    with ThreadPoolExecutor(1) as thread:
        keeper = EvidenceKeeper(home, Historian(flush_ms=1), thread)
        keeper._retry_s = 0
        task = asyncio.create_task(keeper.flush())
        keeper.take(evidence, Delivery("t", memoryview(payload), 0))
        await _until(lambda: keeper.failed == 1)
        assert "evidence is not kept" in keeper.trouble
        (home / "state").unlink()
        keeper._retry_s = 0
        keeper.take(evidence, Delivery("t", memoryview(payload), 0))
        await _until(lambda: keeper.kept == 1)
        assert keeper.trouble == ""
        task.cancel()
        await asyncio.wait([task])
    assert EvidenceReader(home).find("inspect-7-1") == evidence


async def test_a_keeper_drops_what_comes_faster_than_the_disk(home):
    (evidence,) = rejected(home)
    large = memoryview(bytes(500_000))
    with ThreadPoolExecutor(1) as thread:
        keeper = EvidenceKeeper(home, Historian(), thread)
        for _ in range(50):
            keeper.take(evidence, Delivery("t", large, 0))
        assert keeper.dropped == 50 - 16_777_216 // 500_000


async def _until(holds):
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


@given(
    st.sampled_from(["uint8", "int32", "int64", "float32", "float64", "float16", "bool"]),
    st.lists(st.integers(0, 5), min_size=1, max_size=4),
    st.randoms(use_true_random=False),
)
def test_any_tensor_travels_as_it_is(dtype, shape, random):
    from edge.inference.replay import array_of
    from edge.inference.witness import _tensors

    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    array = np.frombuffer(bytes(random.getrandbits(8) for _ in range(count)), dtype).reshape(shape)
    (tensor,) = _tensors({"a": array})
    read = msgspec.msgpack.decode(msgspec.msgpack.encode(tensor), type=type(tensor))
    back = array_of(read)
    assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())
    (turned,) = _tensors({"a": array.T})
    assert array_of(turned).tobytes() == array.T.tobytes()


def test_the_machine_is_named_by_processor_and_what_it_can(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nmodel name\t: Fast CPU\nflags\t\t: sse avx\n")
    first = fingerprint(cpuinfo)
    assert "Fast CPU" in first
    cpuinfo.write_text("processor : 0\nmodel name\t: Fast CPU\nflags\t\t: avx sse\n")
    assert fingerprint(cpuinfo) == first
    cpuinfo.write_text("processor : 0\nmodel name\t: Fast CPU\nflags\t\t: avx sse avx512f\n")
    assert fingerprint(cpuinfo) != first
    assert "unknown processor" in fingerprint(tmp_path / "none")
